"""Files of words with times: praat's TextGrid, and NIST's CTM."""

from __future__ import annotations

from collections.abc import Sequence

from asrlib.text.words import TimedWord

_SHORTEST = 0.001  # seconds


def textgrid(words: Sequence[TimedWord], duration: float, tier: str = "words") -> str:
    """Return a TextGrid of one tier of intervals, in praat's long text format.

    Args:
        words: in order of time, without overlaps; the gaps between them become empty intervals.
            A word without length gets a millisecond, because praat refuses such an interval.
        duration: length of the audio in seconds; a word that ends later makes the tier longer.
    """
    intervals: list[TimedWord] = []
    at = 0.0
    for word in words:
        if word.start > at:
            intervals.append(TimedWord("", at, word.start))
        start = max(word.start, at)
        at = max(word.end, start + _SHORTEST)
        intervals.append(TimedWord(word.word, start, at))
    end = max(duration, at)
    if end > at or not intervals:
        intervals.append(TimedWord("", at, end))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:.4f}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        f'        name = "{tier}"',
        "        xmin = 0",
        f"        xmax = {end:.4f}",
        f"        intervals: size = {len(intervals)}",
    ]
    for number, (word, start, stop) in enumerate(intervals, start=1):
        quoted = word.replace('"', '""')
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start:.4f}",
            f"            xmax = {stop:.4f}",
            f'            text = "{quoted}"',
        ]
    return "\n".join(lines) + "\n"


def ctm_lines(name: str, words: Sequence[TimedWord]) -> list[str]:
    """Return a line `NAME 1 START DURATION WORD` for each word, with times in seconds."""
    return [f"{name} 1 {w.start:.3f} {w.end - w.start:.3f} {w.word}" for w in words]
