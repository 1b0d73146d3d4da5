"""The table of speakers that comes with a corpus: read, checked and joined."""

from __future__ import annotations

import pytest

from asrlib.data.raw import RawUtterance
from asrlib.data.speaker_facts import add_speaker_facts, read_speaker_facts
from asrlib.errors import DataError


def utterance(speaker: str, **more) -> RawUtterance:
    return RawUtterance(id=f"u-{speaker}", audio="a.wav", text="A", speaker=speaker, **more)


def write(path, *lines: str):
    path = path / "speakers.tsv"
    path.write_text("".join(line.replace("|", "\t") + "\n" for line in lines), encoding="utf-8")
    return path


def test_facts_are_joined_and_zip_codes_keep_their_zeros(tmp_path):
    path = write(
        tmp_path,
        "\ufeffzip|speaker|gender|age|latitude|longitude|dialect|set",
        "02134|a|F|31|42.4|-71.1|north  east|train",
        "|b|||||x|test",
        "",
        "|b|||||x|dev",
    )
    facts = read_speaker_facts(path)
    assert facts["a"]["zip"] == "02134"
    assert facts["b"] == {"dialect": "x"}
    rows = {"train": [utterance("a", speaker_meta={"corpus": "c"})], "test": [utterance("b")]}
    joined = add_speaker_facts(rows, facts, path)
    place = {"zip": "02134", "latitude": 42.4, "longitude": -71.1}
    expected = utterance(
        "a", gender="f", age=31.0, speaker_meta={"corpus": "c", **place, "dialect": "north east"}
    )
    assert joined["train"] == [expected]
    assert joined["test"] == [utterance("b", speaker_meta={"dialect": "x"})]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([], "line 1: not a header"),
        (["spk|zip", "a|1"], "line 1: not a header"),
        (["speaker|zip|zip", "a|1|2"], "line 1: not a header"),
        (["speaker|zip", "a|1|2"], "line 2: 3 cells"),
        (["speaker|zip", "|1"], "line 2: no speaker"),
        (["speaker|age", "a|twenties"], "line 2: age 'twenties' is not a number"),
        (
            ["speaker|latitude|longitude", "a|91|0"],
            "line 2: latitude '91' is not a number from -90",
        ),
        (["speaker|latitude|longitude", "a|nan|0"], "line 2: latitude 'nan' is not"),
        (["speaker|latitude|longitude", "a|45|"], "line 2: only one of latitude and longitude"),
        (["speaker|zip|x", "a|1|y", "a|2|y"], "line 3: speaker a disagrees .* on zip"),
    ],
)
def test_a_faulty_table_names_the_line(tmp_path, lines, named):
    with pytest.raises(DataError, match=rf"speakers\.tsv: {named}"):
        read_speaker_facts(write(tmp_path, *lines))


@pytest.mark.parametrize(("column", "value"), [("gender", "m"), ("age", "30"), ("accent", "us")])
def test_a_contradiction_names_the_speaker(tmp_path, column, value):
    path = write(tmp_path, f"speaker|{column}", f"a|{value}")
    row = utterance("a", gender="f", age=31.0, speaker_meta={"accent": "scottish"})
    with pytest.raises(DataError, match=f"speaker a: {column} is "):
        add_speaker_facts({"test": [row]}, read_speaker_facts(path), path)


def test_unknown_speakers_are_named(tmp_path, caplog):
    path = write(tmp_path, "speaker|zip", *(f"{s}|1" for s in "abcdefgh"))
    sets = {"train": [utterance("a"), utterance("z")]}
    add_speaker_facts(sets, read_speaker_facts(path), path)
    assert "without an utterance: b, c, d, e, f, ... (7 in all)" in caplog.text
    assert "nothing about these speakers: z" in caplog.text
    with pytest.raises(DataError, match=r"none of its 8 speakers .* they are a, b"):
        add_speaker_facts({"train": [utterance("z")]}, read_speaker_facts(path), path)
