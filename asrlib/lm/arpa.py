"""Read an n-gram model in ARPA format."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from asrlib.errors import DataError
from asrlib.lm.kneser_ney import BEGIN, END, UNKNOWN, Ngram, NgramTable

logger = logging.getLogger(__name__)

_COUNT = re.compile(r"ngram (\d{1,3})=(\d{1,18})")
_FIX = "write it with python -m asrlib train-lm, or with a toolkit that writes the ARPA format"


def read_arpa(path: Path, vocabulary: Collection[str]) -> NgramTable:
    """Read an ARPA file over the given symbols.

    Args:
        path: the file, in UTF-8.
        vocabulary: symbols that may occur besides `<s>`, `</s>` and `<unk>`.

    Returns:
        The model, with natural logarithms.

    Raises:
        DataError: the file is missing or broken, or has a symbol that is not in the vocabulary;
            the message names the line. A model with less than a tenth of the vocabulary is one of
            another vocabulary, which is an error, too.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such language model", _FIX)
    known = {*vocabulary, BEGIN, END, UNKNOWN}
    announced: dict[int, int] = {}
    log_probs: list[dict[Ngram, float]] = []
    back_offs: dict[Ngram, float] = {}
    section, ended = 0, False
    for number, line in _lines(path):
        if found := _COUNT.fullmatch(line):
            announced[int(found[1])] = int(found[2])
        elif line == "\\end\\":
            ended = True
            break
        elif line.endswith("-grams:") and line.startswith("\\"):
            section += 1
            if line != f"\\{section}-grams:":
                raise DataError(f"{path}, line {number}: {line} where order {section} begins", _FIX)
            log_probs.append({})
        elif section:
            gram, log_prob, back_off = _entry(path, number, line, section)
            strange = [symbol for symbol in gram if symbol not in known]
            if strange:
                raise DataError(
                    f"{path}, line {number}: {strange[0]} is no piece of the model's tokenizer",
                    "train the language model on this tokenizer's pieces with "
                    "python -m asrlib train-lm",
                )
            if gram in log_probs[-1]:
                raise DataError(f"{path}, line {number}: {' '.join(gram)} comes twice", _FIX)
            log_probs[-1][gram] = log_prob
            if back_off is not None:
                back_offs[gram] = back_off
    sizes = {n: len(probs) for n, probs in enumerate(log_probs, start=1)}
    if not sizes:
        raise DataError(f"{path}: is no ARPA file: it has no section \\1-grams:", _FIX)
    if not ended or not sizes.get(1) or sizes != announced:
        raise DataError(f"{path}: is incomplete: announces {announced}, has {sizes}", _FIX)
    _check_coverage(path, log_probs[0], vocabulary)
    return NgramTable(tuple(log_probs), back_offs)


def _check_coverage(path: Path, single: Collection[Ngram], vocabulary: Collection[str]) -> None:
    """Warn of symbols that the model lacks; a model that lacks nearly all is of another vocabulary.

    Raises:
        DataError: it has less than a tenth of the vocabulary (our choice).
    """
    lacking = sorted(symbol for symbol in vocabulary if (symbol,) not in single)
    if not lacking:
        return
    said = f"lacks {len(lacking)} of {len(vocabulary)} pieces, for example {lacking[0]}"
    if len(lacking) > 0.9 * len(vocabulary):
        raise DataError(
            f"{path}: {said}: it is a model of another vocabulary",
            "train the language model on this tokenizer's pieces with python -m asrlib train-lm",
        )
    logger.warning("%s: %s; they get the lowest probability", path, said)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, start=1):
                if line.strip() and line.strip() != "\\data\\":
                    yield number, line.strip("\r\n")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: is not a text in UTF-8: {e}", _FIX) from e


def _entry(path: Path, number: int, line: str, order: int) -> tuple[Ngram, float, float | None]:
    """Read `log10 probability, symbols, log10 back-off weight`, separated by tabs or spaces."""
    fields = line.split()
    symbols = tuple(fields[1 : order + 1])
    rest = fields[order + 1 :]
    try:
        if len(symbols) != order or len(rest) > 1:
            raise ValueError(f"{len(fields)} fields")
        log_prob, back_off = float(fields[0]), float(rest[0]) if rest else None
        if not all(math.isfinite(x) for x in (log_prob, back_off or 0.0)):
            raise ValueError("a value is not finite")
    except ValueError as e:
        raise DataError(f"{path}, line {number}: is no {order}-gram: {e}", _FIX) from e
    ln10 = math.log(10)
    return symbols, log_prob * ln10, None if back_off is None else back_off * ln10
