"""Tables of what goes wrong: by class of word, the worst words, confusions, the worst speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asrlib.experiments.runs import Run, representatives
from asrlib.report.document import Block, Table, Text
from asrlib.report.format import BY_SPEAKER, DASH, number, speaker_cells
from asrlib.scoring.confusions import (
    CLASSES,
    class_errors,
    confusions,
    worst_speakers,
    worst_words,
)
from asrlib.scoring.wer import Aligned, ErrorRate, sum_by_speaker

_SPEAKERS = 10  # rows of the table of speakers
_CONFUSIONS = 5  # rows of each class


def error_kinds(runs: Sequence[Run]) -> tuple[Block, ...]:
    """Tables of one test set: a row for each system, and details of the most accurate one."""
    chosen = representatives(runs)
    if not chosen:
        return ()
    best = min(chosen, key=lambda name: chosen[name].scores.wer.rate)
    aligned = chosen[best].decoding.aligned
    private = sum(a.utterance.private for a in aligned)
    told = f"Details of {best}, which has the lowest WER."
    if private:
        told += f" The words of {private:,} private utterances count, but are not named."
    blocks = (
        _summary(chosen),
        Text(told),
        _worst_words(aligned),
        _confusions(aligned),
        _speakers(aligned),
    )
    return tuple(block for block in blocks if block is not None)


def _summary(chosen: Mapping[str, Run]) -> Table:
    rows = []
    for name, run in chosen.items():
        cells = speaker_cells(sum_by_speaker(run.decoding.aligned))
        kinds = class_errors(run.decoding.aligned)
        rows.append((name, *cells, *(_rate(kinds[kind]) for kind in CLASSES)))
    kinds = class_errors(next(iter(chosen.values())).decoding.aligned)
    header = (
        "model",
        *BY_SPEAKER,
        *(f"{kind} ({kinds[kind].words:,}), WER %" for kind in CLASSES),
    )
    return Table(header, tuple(rows), 1)


def _rate(errors: ErrorRate) -> str:
    return number(errors.percent, 2) if errors.words else DASH


def _worst_words(aligned: Sequence[Aligned]) -> Table | None:
    rows = [
        (w.word, str(w.occurrences), str(w.missed), number(100 * w.missed / w.occurrences, 1))
        for w in worst_words(aligned)
    ]
    header = ("worst words", "occurrences", "missed", "missed %")
    return Table(header, tuple(rows), 1) if rows else None


def _confusions(aligned: Sequence[Aligned]) -> Table | None:
    rows = [(c.kind, c.ref, c.hyp, str(c.count)) for c in confusions(aligned, _CONFUSIONS)]
    return Table(("class", "said", "recognised", "times"), tuple(rows), 3) if rows else None


def _speakers(aligned: Sequence[Aligned]) -> Table | None:
    """The worst speakers, without their names, which may be private."""
    by_speaker = sum_by_speaker(aligned)
    rows = []
    for place, name in enumerate(worst_speakers(by_speaker, 1.0)[:_SPEAKERS], start=1):
        kinds = class_errors(a for a in aligned if a.utterance.speaker == name)
        errors = by_speaker[name]
        cells = (_rate(kinds[kind]) for kind in CLASSES)
        rows.append((str(place), f"{errors.words:,}", number(errors.percent, 2), *cells))
    header = ("worst speakers", "words", "WER %", *(f"{kind}, WER %" for kind in CLASSES))
    return Table(header, tuple(rows), 1) if rows else None
