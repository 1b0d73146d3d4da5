"""Compare two systems that decoded the same utterances: the difference and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from asrlib.errors import DataError
from asrlib.scoring.gaps import Comparison, compare_speakers
from asrlib.scoring.records import read_utterances
from asrlib.scoring.wer import Aligned, ErrorRate, align, sum_by_speaker

_SHOWN = 5


@dataclass(frozen=True)
class SystemDecoding:
    """A decode directory, whose hypotheses are read and aligned once, at first use."""

    directory: Path

    @cached_property
    def aligned(self) -> list[Aligned]:
        return align(read_utterances(self.directory / "hyp.jsonl"))


@dataclass(frozen=True)
class NamedComparison(Comparison):
    """Output of `python -m asrlib compare`: `other` (system B) against `baseline` (system A).

    Attributes:
        baseline, other: the two decode directories, as MODEL/DECODE.
    """

    baseline: str
    other: str


def check_same_utterances(
    a: Sequence[Aligned], b: Sequence[Aligned], name_a: str, name_b: str
) -> None:
    """Check that two systems decoded the same utterances with the same references and speakers.

    Args:
        name_a, name_b: names of the two systems for the error message.

    Raises:
        DataError: the utterances differ; the message names the first ids that are missing.
    """
    refs_a = {x.utterance.id: (x.utterance.ref, x.utterance.speaker) for x in a}
    refs_b = {x.utterance.id: (x.utterance.ref, x.utterance.speaker) for x in b}
    fix = "decode the same set with both systems"
    for missing, name in (
        (sorted(set(refs_a) - set(refs_b)), name_b),
        (sorted(set(refs_b) - set(refs_a)), name_a),
    ):
        if missing:
            more = "" if len(missing) <= _SHOWN else f" and {len(missing) - _SHOWN} more"
            raise DataError(f"{name}: lacks {', '.join(missing[:_SHOWN])}{more}", fix)
    changed = sorted(i for i in refs_a if refs_a[i] != refs_b[i])
    if changed:
        raise DataError(
            f"{name_a} and {name_b}: references or speakers differ, first at {changed[0]}", fix
        )


def compare_systems(
    a: Sequence[SystemDecoding], b: Sequence[SystemDecoding], confidence: float
) -> Comparison:
    """Compare the decodings `a` of one system with the decodings `b` of another.

    A system may have several decodings, one for each training seed. Their counts are added, so
    that the rate of the system is the mean over its seeds. The interval is over speakers, not over
    seeds.

    Raises:
        DataError: the utterances differ; the message names the first ids that are missing.
    """
    sums_a, sums_b = sum_over_seeds(a), sum_over_seeds(b)
    names = str(a[0].directory), str(b[0].directory)
    check_same_utterances(a[0].aligned, b[0].aligned, *names)
    return compare_speakers(sums_a, sums_b, confidence)


def compare_decodes(baseline: Path, other: Path, confidence: float) -> NamedComparison:
    """Compare two decode directories.

    Raises:
        DataError: a directory has no hypotheses, or the utterances of the two differ.
    """
    comparison = compare_systems([SystemDecoding(baseline)], [SystemDecoding(other)], confidence)
    return NamedComparison(**vars(comparison), baseline=_label(baseline), other=_label(other))


def _label(decode_dir: Path) -> str:
    return f"{decode_dir.parent.name}/{decode_dir.name}"


def sum_over_seeds(decodings: Sequence[SystemDecoding]) -> dict[str, ErrorRate]:
    """Add up the error counts of each speaker over the decodings of one system.

    Args:
        decodings: decodings of the same set, one for each training seed.

    Raises:
        DataError: the utterances differ; the message names the first ids that are missing.
    """
    first, total = decodings[0], dict[str, ErrorRate]()
    for decoding in decodings:
        names = str(first.directory), str(decoding.directory)
        check_same_utterances(first.aligned, decoding.aligned, *names)
        for speaker, errors in sum_by_speaker(decoding.aligned).items():
            total[speaker] = total.get(speaker, ErrorRate()) + errors
    return total


def comparison_text(found: NamedComparison) -> str:
    """Format a comparison as a small table for the terminal."""
    interval = "[{:+.2f}, {:+.2f}]".format(*found.interval) if found.interval else "no interval"
    relative = "" if found.relative is None else f"  ({found.relative:+.1f} %)"
    width = max(len(found.baseline), len(found.other), 10)
    return "\n".join(
        [
            f"{found.baseline:<{width}}  {found.a.line()}",
            f"{found.other:<{width}}  {found.b.line()}",
            f"{'difference':<{width}}  {found.difference:+.2f} {interval}{relative}",
            f"{'':<{width}}  p = {found.p_value:.4f}, {found.speakers} speakers",
        ]
    )
