"""Table of results/memory/memory.json: peak memory of the stages by the size of the corpus."""

from __future__ import annotations

from collections.abc import Iterator

from asrlib.experiments.memory import BATCHES, PARTS, SPEAKERS, STORED, Memory, Peak
from asrlib.report.document import Section, Table, Text
from asrlib.report.format import DASH

_TITLES = {
    "manifests": "stage 1, all audio decoded",
    "fbank": "stage 2, features on the fly",
    "fbank, stored": f"stage 2, a shard of {STORED:,} cuts, stored",
    "decode": "stage 5, without the recogniser",
    "score": "stage 6",
    "loading": f"training data: start and {BATCHES} batches",
}


def memory_sections(found: Memory) -> Iterator[Section]:
    """The table, with what it is a table of."""
    text = (
        "Largest resident memory of a stage and its jobs, in MiB, and in brackets its CPU seconds. "
        f"The corpora are made up: segments of 0.5 s, of {SPEAKERS} speakers at every size. The "
        "last column is the growth from the first size to the last, in bytes a cut."
    )
    sizes = sorted({peak.cuts for peak in found.peaks})
    by_place = {(peak.part, peak.cuts): peak for peak in found.peaks}
    rows = []
    for part in PARTS:
        peaks = [by_place.get((part, size)) for size in sizes]
        rows.append((_TITLES[part], *map(_cell, peaks), _growth([p for p in peaks if p])))
    header = ("", *(f"{size:,} cuts" for size in sizes), "bytes a cut")
    yield Section("Peak memory", (Text(text), Table(header, tuple(rows), 1)))


def _cell(peak: Peak | None) -> str:
    return DASH if peak is None else f"{peak.memory_mb:.0f} ({peak.cpu_seconds:.0f} s)"


def _growth(peaks: list[Peak]) -> str:
    if len(peaks) < 2:
        return DASH
    first, last = peaks[0], peaks[-1]
    grown = (last.memory_mb - first.memory_mb) * 2**20 / (last.cuts - first.cuts)
    return f"{grown:.0f}"
