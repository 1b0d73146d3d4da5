"""Number types for configurations; pydantic checks their bounds when a YAML value is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]  # below 1, so that dropout keeps something
Share = Annotated[float, Field(ge=0.0, le=1.0)]
