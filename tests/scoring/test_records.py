import json

import pytest
from scoring_fakes import entry

from asrlib.errors import DataError
from asrlib.scoring.records import (
    DecodeMeta,
    decode_dir_name,
    read_speakers,
    read_utterances,
    row_commands,
)


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_read_in_order_of_id(tmp_path):
    rows = [json.dumps(entry(i, "s", "A", "")) for i in ("b", "a")]
    assert [u.id for u in read_utterances(write(tmp_path / "hyp.jsonl", *rows))] == ["a", "b"]


def test_utterance_without_speaker_is_its_own(tmp_path):
    path = write(tmp_path / "hyp.jsonl", json.dumps(entry("a", "", "A", "A")))
    assert read_utterances(path)[0].speaker == "a"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no utterance"),
        (['{"id": "a"}'], "line 1"),
        ([json.dumps(entry("a", "s", "SECRET", "B")), '{"id": "b", "ref": "SECRET"'], "line 2"),
        (["[1]"], "line 1"),
        ([json.dumps({**entry("a", "s", "A", "A"), "hyp_words": [["A", 1]]})], "line 1"),
        ([json.dumps(entry("a", "s", "A", "A"))] * 2, "a comes twice"),
    ],
)
def test_broken_files_are_named_without_quoting_them(tmp_path, lines, says):
    path = write(tmp_path / "hyp.jsonl", *lines)
    with pytest.raises(DataError, match=says) as e:
        read_utterances(path)
    assert str(path) in str(e.value)
    assert "SECRET" not in str(e.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"hyp\.jsonl: missing"):
        read_utterances(tmp_path / "hyp.jsonl")
    with pytest.raises(DataError, match=r"meta\.json: missing"):
        DecodeMeta.from_file(tmp_path / "meta.json", "decode")
    with pytest.raises(DataError, match="not readable"):
        DecodeMeta.from_file(write(tmp_path / "meta.json", "{"), "decode")


def test_what_was_told_of_cohorts_is_written_only_where_something_was(tmp_path):
    untold = DecodeMeta("m", "test", "greedy")
    told = DecodeMeta("m", "test", "greedy", membership="true", cohorts="exp/cohorts/geo")
    assert not {"membership", "cohorts"} & set(untold.to_json())
    for meta in (untold, told):
        meta.to_file(tmp_path / "meta.json")
        assert DecodeMeta.from_file(tmp_path / "meta.json", "decode") == meta
    assert (untold.way, told.way) == ("greedy", "greedy, true cohorts")
    assert decode_dir_name("test", "greedy") == "decode_test_greedy"
    assert decode_dir_name("test", "greedy", told.membership) == "decode_test_greedy_true_cohorts"
    decode, score = row_commands("egs/mini", "m", told, "score")
    assert decode.endswith("--search greedy --membership true --cohorts exp/cohorts/geo")
    assert score.endswith("--search greedy --membership true")
    assert not any("membership" in c for c in row_commands("egs/mini", "m", untold, "score"))


def test_speaker_table_prefers_the_row_of_the_set(tmp_path):
    path = write(
        tmp_path / "speakers.tsv", "speaker\tset\tage", "a\ttest\t30", "a\ttrain\t29", "b\ttrain\t"
    )
    table = read_speakers(path, "test")
    assert table["a"]["age"] == "30"
    assert table["b"]["age"] == ""
    assert read_speakers(tmp_path / "none.tsv", "test") == {}


def test_speaker_table_without_speakers_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no column 'speaker'"):
        read_speakers(write(tmp_path / "speakers.tsv", "id\tage", "a\t3"), "test")


def test_a_tag_names_the_directory_the_row_and_the_commands():
    lm = {"path": "data/lm/a.arpa", "scale": 0.3, "lodr_path": "", "lodr_scale": 0.1}
    config = {"lm": lm, "hotwords": {"path": "", "phrases": [], "boost": 1.5}, "n_best": 1}
    meta = DecodeMeta("m", "test", "modified_beam", config, tag="lm")
    assert meta.way == "modified_beam, lm"
    assert decode_dir_name("test", "modified_beam", None, "lm") == "decode_test_modified_beam_lm"
    decode, score = row_commands("egs/mini", "m", meta, "score")
    assert "--tag lm" in decode
    assert "decode.lm.path=" in decode
    assert "decode.lm.scale=0.3" in decode
    assert "hotwords" not in decode
    assert score.endswith("--search modified_beam --tag lm")
