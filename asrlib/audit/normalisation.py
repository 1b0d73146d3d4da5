"""Named normalisations of transcripts, so that a report can say which one it applied."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import NamedTuple

from asrlib.text.normalise import normalise


class Way(NamedTuple):
    """A normalisation.

    Attributes:
        apply: the function; the result has single spaces between words.
        does: what it does, as the end of a sentence that begins with "Both sides".
    """

    apply: Callable[[str], str]
    does: str


def _case(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


NORMALISATIONS: Mapping[str, Way] = {
    "upper": Way(
        normalise,
        "were brought to Unicode NFKC and upper case; all characters but letters, digits and "
        "apostrophes separate words",
    ),
    "case": Way(
        _case, "were brought to Unicode NFKC and lower case; punctuation stayed a part of the words"
    ),
    "none": Way(
        lambda text: " ".join(text.split()), "were taken as they are, divided into words at spaces"
    ),
}
