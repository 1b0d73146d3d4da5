"""TextGrid and CTM."""

from __future__ import annotations

import re

from asrlib.text.alignment_files import ctm_lines, textgrid
from asrlib.text.words import TimedWord

WORDS = [TimedWord('SO "CALLED"', 0.5, 0.9), TimedWord("YES", 0.9, 1.25)]


def intervals(text: str) -> list[tuple[str, float, float]]:
    pattern = r'xmin = ([\d.]+)\n\s+xmax = ([\d.]+)\n\s+text = "(.*)"\n'
    return [(word, float(a), float(b)) for a, b, word in re.findall(pattern, text)]


def test_intervals_cover_the_audio_without_gap():
    found = intervals(textgrid(WORDS, 2.0))
    assert found == [
        ("", 0.0, 0.5),
        ('SO ""CALLED""', 0.5, 0.9),
        ("YES", 0.9, 1.25),
        ("", 1.25, 2.0),
    ]
    assert "intervals: size = 4" in textgrid(WORDS, 2.0)
    words = [TimedWord("NO", 0.0, 0.0), TimedWord("YES", 0.0, 0.5)]
    assert intervals(textgrid(words, 0.5)) == [("NO", 0.0, 0.001), ("YES", 0.001, 0.5)]
    assert intervals(textgrid([], 1.5)) == [("", 0.0, 1.5)]
    assert intervals(textgrid(WORDS, 1.25))[-1] == ("YES", 0.9, 1.25)


def test_ctm_has_start_and_duration():
    assert ctm_lines("u1", WORDS[1:]) == ["u1 1 0.900 0.350 YES"]
