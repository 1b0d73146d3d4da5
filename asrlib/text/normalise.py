"""Normalisation of transcripts, so that all have the same spelling."""

from __future__ import annotations

import unicodedata

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u0060\u00b4\uff07"), "'")


def normalise(text: str) -> str:
    """Normalise to upper-case letters, digits and apostrophes, with single spaces between words.

    The Unicode form is NFKC. Letters keep their combining marks. All other characters separate
    words. A word that consists only of apostrophes is dropped.
    """
    # Capitals come first: some exist only in decomposed form, which NFKC then composes.
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).upper()
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    kept = "".join(c if _belongs(c) else " " for c in text)
    return " ".join(word for word in kept.split() if word.strip("'"))


def _belongs(char: str) -> bool:
    return char == "'" or unicodedata.category(char)[0] in "LMN"
