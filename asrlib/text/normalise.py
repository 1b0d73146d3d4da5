"""One spelling for every transcript."""

from __future__ import annotations

import unicodedata

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u0060\u00b4\uff07"), "'")


def normalise(text: str) -> str:
    """Upper case; letters, digits and apostrophes only; single spaces.

    Unicode form NFKC. Letters keep their combining marks. All else separates words. A word of
    apostrophes alone is dropped.
    """
    # Capitals first: some have only a decomposed form, which NFKC then composes.
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).upper()
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    kept = "".join(c if _belongs(c) else " " for c in text)
    return " ".join(word for word in kept.split() if word.strip("'"))


def _belongs(char: str) -> bool:
    return char == "'" or unicodedata.category(char)[0] in "LMN"
