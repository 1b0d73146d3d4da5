"""Streaming encoders with one interface; the key `name` of a configuration selects one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrlib.encoders.amortized import AmortizedConfig, AmortizedEncoder
from asrlib.encoders.base import FrontConfig, StreamingEncoder
from asrlib.encoders.conformer import ConformerConfig, ConformerEncoder
from asrlib.encoders.contextnet import ContextNetConfig, ContextNetEncoder
from asrlib.encoders.conv_rnnt import ConvRnntConfig, ConvRnntEncoder
from asrlib.encoders.lstm import LstmConfig, LstmEncoder
from asrlib.encoders.separator import SeparatorConfig, SeparatorEncoder
from asrlib.encoders.state import (
    StreamState,
    flatten_state,
    map_state,
    stack_states,
    unflatten_state,
    unstack_state,
)
from asrlib.layers.lstm_stack import LstmStackConfig

EncoderConfig = Annotated[
    LstmConfig
    | ConvRnntConfig
    | ConformerConfig
    | ContextNetConfig
    | AmortizedConfig
    | SeparatorConfig,
    Field(discriminator="name"),
]

__all__ = [
    "AmortizedConfig",
    "AmortizedEncoder",
    "ConformerConfig",
    "ConformerEncoder",
    "ContextNetConfig",
    "ContextNetEncoder",
    "ConvRnntConfig",
    "ConvRnntEncoder",
    "EncoderConfig",
    "FrontConfig",
    "LstmConfig",
    "LstmEncoder",
    "LstmStackConfig",
    "SeparatorConfig",
    "SeparatorEncoder",
    "StreamState",
    "StreamingEncoder",
    "flatten_state",
    "map_state",
    "stack_states",
    "unflatten_state",
    "unstack_state",
]
