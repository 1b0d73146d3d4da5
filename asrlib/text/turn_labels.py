"""Convert turns of speech to the labels of an output channel, and labels back to turns.

In style `sot_eot` (separator-transducer-segmenter, arXiv 2205.05199), each turn is wrapped in
`<sot> ... <eot>`; then the first `<sot>` and the last `<eot>` of the channel are dropped, since the
start and the end of the audio give the same information. In style `cot` (the paper's MT-RNN-T
baseline), one `<cot>` stands between turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from asrlib.text.tokenizer import SPECIALS

TurnStyle = Literal["sot_eot", "cot"]

SOT, EOT, COT = (SPECIALS.index(symbol) for symbol in ("<sot>", "<eot>", "<cot>"))
TURN_SYMBOLS = frozenset((SOT, EOT, COT))


@dataclass(frozen=True)
class TurnSpan:
    """Position of one turn among a channel's labels.

    Attributes:
        tokens: indices of the turn's word tokens, at least one.
        sot: index of the symbol that opened the turn (`<sot>`, or the `<cot>` before it), or None.
        eot: index of the symbol that closed the turn (`<eot>`, or the `<cot>` after it), or None.
    """

    tokens: tuple[int, ...]
    sot: int | None = None
    eot: int | None = None


def channel_labels(turn_tokens: Sequence[Sequence[int]], style: TurnStyle) -> list[int]:
    """Return the labels of an output channel.

    >>> channel_labels([[7, 8], [9]], "sot_eot") == [7, 8, EOT, SOT, 9]
    True
    >>> channel_labels([], "sot_eot"), channel_labels([[7]], "sot_eot")
    ([], [7])

    Args:
        turn_tokens: word tokens of each turn of the channel, in order of start; without a turn the
            channel is silent and has no labels.
        style: `sot_eot` or `cot`.

    Raises:
        ValueError: a turn has no token (its labels could not show it) or holds a turn symbol.
    """
    for tokens in turn_tokens:
        if not tokens or TURN_SYMBOLS.intersection(tokens):
            raise ValueError(f"a turn must consist of one or more word tokens, not {list(tokens)}")
    between = (EOT, SOT) if style == "sot_eot" else (COT,)
    labels: list[int] = []
    for tokens in turn_tokens:
        labels += [*between, *tokens] if labels else tokens
    return labels


def turn_label_ends(
    turn_tokens: Sequence[Sequence[int]], turn_ends: Sequence[float], style: TurnStyle
) -> list[float]:
    """Return for each label of `channel_labels`: at `<eot>` the end (s) of its turn, else inf."""
    inf = float("inf")
    ends: list[float] = []
    for i, tokens in enumerate(turn_tokens):
        if i:
            ends += [turn_ends[i - 1], inf] if style == "sot_eot" else [inf]
        ends += [inf] * len(tokens)
    return ends


def split_turns(labels: Sequence[int], style: TurnStyle) -> list[TurnSpan]:
    """Find the turns among a channel's labels; this is the inverse of `channel_labels`.

    A recogniser may emit symbols in any order. Words after `<eot>` without `<sot>` open a turn, and
    `<sot>` inside a turn closes it. Symbols of the other style are ignored, and symbols without
    words between them give no turn (our choice: the papers do not say).
    """
    return list(_spans(labels, style))


def _spans(labels: Sequence[int], style: TurnStyle) -> Iterator[TurnSpan]:
    tokens: list[int] = []
    sot: int | None = None
    for i, label in enumerate(labels):
        if label not in TURN_SYMBOLS:
            tokens.append(i)
        elif (label == COT) == (style == "cot"):
            if tokens:
                yield TurnSpan(tuple(tokens), sot, None if label == SOT else i)
            tokens = []
            sot = None if label == EOT else i
    if tokens:
        yield TurnSpan(tuple(tokens), sot)
