"""Writers of wer.txt, wer_details/ and alignments.txt, in Kaldi's formats.

Each word of a private utterance is written as `<private>`, so that the counts stay correct. An
absent word (at an insertion or a deletion) is written as `<eps>`, as in Kaldi's wer_details.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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


def per_utt(aligned: Sequence[Aligned]) -> str:
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


def per_spk(aligned: Sequence[Aligned]) -> str:
    """Format per_spk: a `raw` line (counts) and a `sys` line (per cent) for each speaker.

    The last two lines, SUM, are those of all speakers together.
    """
    speakers = sorted({a.utterance.speaker for a in aligned})
    width = max([15, *(len(s) for s in speakers)])
    titles = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")
    lines = [f"{'SPEAKER':<{width}} id  " + " ".join(f"{t:>10}" for t in titles)]
    for speaker in speakers:
        rows = [a for a in aligned if a.utterance.speaker == speaker]
        lines.extend(_speaker_lines(f"{speaker:<{width}}", rows))
    lines.extend(_speaker_lines(f"{'SUM':<{width}}", aligned))
    return _text(lines)


def _speaker_lines(label: str, aligned: Sequence[Aligned]) -> list[str]:
    total = ErrorRate.sum(a.words for a in aligned)
    wrong = sum(1 for a in aligned if a.words.errors)
    counts = [total.correct, total.substitutions, total.insertions, total.deletions, total.errors]
    head = f"{len(aligned):>10} {total.words:>10}"
    raw = " ".join(f"{c:>10}" for c in [*counts, wrong])
    lines = [f"{label} raw {head} {raw}"]
    if total.words:
        shares = [100 * c / total.words for c in counts] + [100 * wrong / len(aligned)]
        lines.append(f"{label} sys {head} " + " ".join(f"{s:>10.2f}" for s in shares))
    return lines


def ops(aligned: Sequence[Aligned]) -> str:
    """Format ops: how often each word was correct, substituted, inserted or deleted."""
    counts = Counter(pair for a in aligned for pair in word_pairs(a))
    # The kind is a part of the key because correct and substituted private words look the same.
    rows = sorted(counts.items(), key=lambda item: (item[0][1], item[0][2], item[0][0]))
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


def summary(aligned: Sequence[Aligned], interval: Interval | None, confidence: float) -> str:
    """Format wer.txt: Kaldi's %WER line, then the CER, the sentence error rate and the interval."""
    total = ErrorRate.sum(a.words for a in aligned)
    chars = ErrorRate.sum(a.chars for a in aligned)
    wrong = sum(1 for a in aligned if a.words.errors)
    speakers = len({a.utterance.speaker for a in aligned})
    ends = f"[ {100 * interval.low:.2f}, {100 * interval.high:.2f} ]" if interval else "none"
    lines = [
        total.line("WER"),
        chars.line("CER"),
        f"%SER {100 * wrong / max(len(aligned), 1):.2f} [ {wrong} / {len(aligned)} ]",
        f"%WER {100 * confidence:.0f}% interval {ends} ({speakers} speakers, log-t)",
    ]
    return _text(lines)


def alignments(aligned: Sequence[Aligned]) -> str:
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


def write_details(
    out: Path, aligned: Sequence[Aligned], interval: Interval | None, confidence: float
) -> None:
    """Write wer_details/, alignments.txt and wer.txt to the directory `out`, each atomically."""
    total = ErrorRate.sum(a.words for a in aligned)
    with atomic_dir(out / "wer_details") as folder:
        contents = {
            "per_utt": per_utt(aligned),
            "per_spk": per_spk(aligned),
            "ops": ops(aligned),
            "wer_bootci": wer_bootci(total, interval, confidence),
        }
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    with atomic_write(out / "alignments.txt") as f:
        f.write(alignments(aligned))
    with atomic_write(out / "wer.txt") as f:
        f.write(summary(aligned, interval, confidence))


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
