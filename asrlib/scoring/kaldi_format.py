"""Writers of wer.txt, wer_details/ and alignments.txt, in Kaldi's formats.

Each word of a private utterance is written as `<private>`, so that the counts stay correct. An
absent word (at an insertion or a deletion) is written as `<eps>`, as in Kaldi's wer_details.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from asrlib.files import atomic_dir, atomic_write
from asrlib.scoring.speaker_sums import Interval
from asrlib.scoring.wer import Aligned, ErrorRate, Kind

EPS = "<eps>"
PRIVATE = "<private>"
_KINDS: dict[Kind, str] = {
    "C": "correct",
    "I": "insertion",
    "D": "deletion",
    "S": "substitution",
}


def word_pairs(a: Aligned) -> list[tuple[Kind, str, str]]:
    """List (kind, reference word, recognised word) for each step of an alignment.

    Absent and private words are replaced as the module docstring says.
    """
    utterance = a.utterance

    def show(words: tuple[str, ...], index: int | None) -> str:
        if index is None:
            return EPS
        return PRIVATE if utterance.private else words[index]

    return [(op.kind, show(utterance.ref, op.ref), show(utterance.hyp, op.hyp)) for op in a.ops]


@dataclass
class SentenceCounts:
    """Numbers of utterances and of those with an error, and the word error counts."""

    utterances: int = 0
    wrong: int = 0
    words: ErrorRate = field(default_factory=ErrorRate)

    def add(self, a: Aligned) -> None:
        """Add an utterance."""
        self.utterances += 1
        self.wrong += bool(a.words.errors)
        self.words += a.words


class SetCounts:
    """What the files of a set tell of it besides its utterances.

    Its size depends on the numbers of speakers and of different errors, not on the utterances.

    Attributes:
        speakers: counts by speaker.
        total: counts of the set.
        chars: character error counts.
        private: number of private utterances.
        pairs: how often each step of an alignment occurs; see `word_pairs`.
    """

    def __init__(self, aligned: Iterable[Aligned] = ()) -> None:
        self.speakers: dict[str, SentenceCounts] = {}
        self.total, self.chars, self.private = SentenceCounts(), ErrorRate(), 0
        self.pairs: Counter[tuple[Kind, str, str]] = Counter()
        for a in aligned:
            self.add(a)

    def add(self, a: Aligned) -> None:
        """Add an utterance."""
        self.total.add(a)
        self.speakers.setdefault(a.utterance.speaker, SentenceCounts()).add(a)
        self.chars += a.chars
        self.private += a.utterance.private
        self.pairs.update(word_pairs(a))

    def by_speaker(self) -> dict[str, ErrorRate]:
        """Return the word error counts of each speaker, sorted by speaker."""
        return {speaker: self.speakers[speaker].words for speaker in sorted(self.speakers)}


def per_utt(aligned: Iterable[Aligned]) -> str:
    """Format per_utt: four lines for each utterance: ref, hyp, op and #csid.

    The line #csid counts correct, substituted, inserted and deleted words.
    """
    lines = []
    for a in aligned:
        pairs = word_pairs(a)
        widths = [max(len(ref), len(hyp), 1) for _, ref, hyp in pairs]
        rows = {
            "ref": [ref for _, ref, _ in pairs],
            "hyp": [hyp for _, _, hyp in pairs],
            "op": [kind for kind, _, _ in pairs],
        }
        for name, cells in rows.items():
            padded = [c.center(w) for c, w in zip(cells, widths, strict=True)]
            lines.append(f"{a.utterance.id} {name:<4} {'  '.join(padded)}".rstrip())
        w = a.words
        lines.append(
            f"{a.utterance.id} #csid {w.correct} {w.substitutions} {w.insertions} {w.deletions}"
        )
    return _text(lines)


def per_spk(counts: SetCounts) -> str:
    """Format per_spk: a `raw` line (counts) and a `sys` line (per cent) for each speaker.

    The last two lines, SUM, are those of all speakers together.
    """
    width = max([15, *(len(s) for s in counts.speakers)])
    titles = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")
    lines = [f"{'SPEAKER':<{width}} id  " + " ".join(f"{t:>10}" for t in titles)]
    for speaker in sorted(counts.speakers):
        lines.extend(_speaker_lines(f"{speaker:<{width}}", counts.speakers[speaker]))
    lines.extend(_speaker_lines(f"{'SUM':<{width}}", counts.total))
    return _text(lines)


def _speaker_lines(label: str, counts: SentenceCounts) -> list[str]:
    total = counts.words
    kinds = [total.correct, total.substitutions, total.insertions, total.deletions, total.errors]
    head = f"{counts.utterances:>10} {total.words:>10}"
    raw = " ".join(f"{c:>10}" for c in [*kinds, counts.wrong])
    lines = [f"{label} raw {head} {raw}"]
    if total.words:
        shares = [100 * c / total.words for c in kinds] + [100 * counts.wrong / counts.utterances]
        lines.append(f"{label} sys {head} " + " ".join(f"{s:>10.2f}" for s in shares))
    return lines


def ops(counts: SetCounts) -> str:
    """Format ops: how often each word was correct, substituted, inserted or deleted."""
    # The kind is a part of the key because correct and substituted private words look the same.
    rows = sorted(counts.pairs.items(), key=lambda item: (item[0][1], item[0][2], item[0][0]))
    width = min(16, max((len(w) for (_, *pair), _ in rows for w in pair), default=1))
    digits = max((len(str(n)) for _, n in rows), default=1)
    lines = [
        f"{_KINDS[kind]:<13} {ref:>{width}}    {hyp:>{width}}    {count:>{digits}}"
        for (kind, ref, hyp), count in rows
    ]
    return _text(lines)


def wer_bootci(total: ErrorRate, interval: Interval | None, confidence: float) -> str:
    """Format wer_bootci as Kaldi does; here the interval is the log-t interval over speakers."""
    low, high = (100 * interval.low, 100 * interval.high) if interval else (math.nan, math.nan)
    return (
        f"Set1: %WER {100 * total.rate:.2f} {100 * confidence:.0f}% "
        f"Conf Interval [ {low:.2f}, {high:.2f} ]\n"
    )


def summary(counts: SetCounts, interval: Interval | None, confidence: float) -> str:
    """Format wer.txt: Kaldi's %WER line, then the CER, the sentence error rate and the interval."""
    total, wrong, utterances = counts.total.words, counts.total.wrong, counts.total.utterances
    ends = f"[ {100 * interval.low:.2f}, {100 * interval.high:.2f} ]" if interval else "none"
    lines = [
        total.line("WER"),
        counts.chars.line("CER"),
        f"%SER {100 * wrong / max(utterances, 1):.2f} [ {wrong} / {utterances} ]",
        f"%WER {100 * confidence:.0f}% interval {ends} ({len(counts.speakers)} speakers, log-t)",
    ]
    return _text(lines)


def alignments(aligned: Iterable[Aligned]) -> str:
    """Format alignments.txt for human readers.

    `***` marks an absent word; the line below the words marks each error (S, I or D).
    """
    blocks = []
    for a in aligned:
        pairs = [
            (k, *("***" if w == EPS else w for w in (ref, hyp))) for k, ref, hyp in word_pairs(a)
        ]
        widths = [max(len(ref), len(hyp)) for _, ref, hyp in pairs]

        def row(cells: list[str], widths: list[int] = widths) -> str:
            return " ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True))

        marks = row(["" if kind == "C" else kind for kind, _, _ in pairs])
        blocks.append(
            f"{a.utterance.id} (speaker {a.utterance.speaker}): {a.words.line()}\n"
            + f"  ref: {row([ref for _, ref, _ in pairs])}".rstrip()
            + f"\n  hyp: {row([hyp for _, _, hyp in pairs])}".rstrip()
            + f"\n       {marks}".rstrip()
            + "\n"
        )
    return "\n".join(blocks)


@contextmanager
def details(out: Path) -> Iterator[DetailsWriter]:
    """Open wer_details/ and alignments.txt in the directory `out`, each of which appears whole."""
    with (
        atomic_dir(out / "wer_details") as folder,
        atomic_write(out / "alignments.txt") as alignments_file,
        open(folder / "per_utt", "w", encoding="utf-8") as utterances,
    ):
        yield DetailsWriter(folder, utterances, alignments_file)


class DetailsWriter:
    """Writes wer_details/ and alignments.txt, utterance by utterance.

    Args:
        folder: directory of the details.
        utterances: the open file per_utt.
        alignments: the open file alignments.txt.
    """

    def __init__(self, folder: Path, utterances: IO[str], alignments: IO[str]) -> None:
        self._folder, self._utterances, self._alignments = folder, utterances, alignments
        self._gap = ""

    def add(self, a: Aligned) -> None:
        """Write an utterance."""
        self._utterances.write(per_utt([a]))
        self._alignments.write(self._gap + alignments([a]))
        self._gap = "\n"

    def finish(self, counts: SetCounts, interval: Interval | None, confidence: float) -> None:
        """Write what concerns the whole set."""
        contents = {
            "per_spk": per_spk(counts),
            "ops": ops(counts),
            "wer_bootci": wer_bootci(counts.total.words, interval, confidence),
        }
        for name, content in contents.items():
            (self._folder / name).write_text(content, encoding="utf-8")


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
