"""Turns as SegLST, and back."""

import meeteval
import pytest

from asrlib.errors import DataError
from asrlib.text.turns import Turn, read_turns, write_turns
from asrlib.text.words import TimedWord

TURNS = [
    Turn("m2", 1, 0.5, 1.25, "PLAY MUSIC", sot_time=0.46, eot_time=1.25),
    Turn("m1", 0, 2.0, 2.0, ""),
    Turn("m1", 0, 0.0, 1.0, "YES", (TimedWord("YES", 0.25, 0.5),), speaker="ann"),
]


def test_written_turns_are_read_again(tmp_path):
    write_turns(tmp_path / "t.json", TURNS)
    assert read_turns(tmp_path / "t.json", "") == [TURNS[2], TURNS[1], TURNS[0]]


def test_meeteval_reads_them(tmp_path):
    write_turns(tmp_path / "t.json", TURNS)
    segments = meeteval.io.SegLST.load(tmp_path / "t.json")
    assert segments.unique("session_id") == {"m1", "m2"}
    assert segments.unique("speaker") == {"ann", "channel0", "channel1"}


def test_nothing_recognised(tmp_path):
    write_turns(tmp_path / "t.json", [])
    assert read_turns(tmp_path / "t.json", "") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        ("[{", "not readable as JSON"),
        ("{}", "no list of segments"),
        ('[{"session_id": "a"}]', "segment 1 is not a turn"),
        ("[3]", "segment 1 is not a turn"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, reason):
    path = tmp_path / "t.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=reason) as error:
        read_turns(path, "decode again")
    assert str(path) in error.value.what
