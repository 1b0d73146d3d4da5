"""cohorts.jsonl gives the cohort and the half of each speaker, or says which line is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asrlib.cohort_file import COHORTS_FILE, read_cohort_map
from asrlib.errors import DataError


def write(directory: Path, *lines: object) -> Path:
    path = directory / COHORTS_FILE
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def test_cohorts_and_splits_of_speakers_and_utterances(tmp_path):
    path = write(
        tmp_path,
        {"speaker": "a", "cohort": "top", "split": "discovery", "method": "tree", "zip": "123"},
        {"speaker": "b", "cohort": "bottom", "split": "confirmation"},
        {"speaker": "c", "cohort": "unknown", "reason": "no coordinates"},
        {"utterance": "c-1", "speaker": "c", "cohort": "top"},
    )
    found = read_cohort_map(tmp_path)
    assert (found.path, found.method) == (path, "tree")
    assert found.cohorts == {"a": "top", "b": "bottom", "c": "unknown", "c-1": "top"}
    splits = {"a": "discovery", "b": "confirmation", "c": "other", "c-1": "other"}
    assert found.splits == splits


def test_a_directory_names_the_method_where_the_file_does_not(tmp_path):
    write(tmp_path, {"speaker": "a", "cohort": "top"})
    assert read_cohort_map(tmp_path).method == tmp_path.name


A_TOP = {"speaker": "a", "cohort": "top"}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "names no speaker"),
        (['{"speaker": "a", "coh'], "line 1 does not name a speaker and a cohort"),
        ([A_TOP, {"speaker": "b"}], "line 2 does not name"),
        ([["a", "top"]], "line 1 does not name"),
        ([{"speaker": "a", "cohort": 3}], "line 1 does not name"),
        (["\xff\xfe"], "line 1 does not name"),
        ([{**A_TOP, "split": "train"}], "line 1: split 'train' is unknown"),
        ([{**A_TOP, "split": []}], "line 1: split .* is unknown"),
        ([A_TOP, {"speaker": "a", "cohort": "bottom"}], "line 2: a comes twice"),
        ([{**A_TOP, "split": s} for s in ("discovery", "confirmation")], "line 2: a comes twice"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path, lines, reason):
    path = write(tmp_path, *lines)
    with pytest.raises(DataError, match=reason) as caught:
        read_cohort_map(tmp_path)
    assert str(path) in caught.value.what
    assert caught.value.fix


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cohorts\.jsonl: missing"):
        read_cohort_map(tmp_path)
