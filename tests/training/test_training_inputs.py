"""The names of a training's files do not depend on where the recipe or its cohorts lie."""

from __future__ import annotations

from pathlib import Path

from asrlib.experiments.run_record import data_names
from asrlib.training.training_inputs import input_names


def files(data: Path, first: Path, second: Path) -> list[Path]:
    own = [data / "train/cuts_fbank.jsonl.gz", data / "lang/bpe.model"]
    return [*own, first / "cohorts.jsonl", second / "cohorts.jsonl", first / "hyp.jsonl"]


def test_files_outside_data_are_named_without_their_directory():
    here, there = Path("/a/egs/mini/data"), Path("/b/egs/other/data")
    found = input_names(here, files(here, here.parent / "exp/x", Path("/y")))
    cuts = "data/train/cuts_fbank.jsonl.gz"
    names = [cuts, "data/lang/bpe.model", "cohorts.jsonl", "cohorts.jsonl (2)", "hyp.jsonl"]
    assert list(found.values()) == names
    moved = input_names(there, files(there, there.parent / "exp/z", Path("/x")))
    assert list(moved.values()) == names


def test_one_file_that_is_read_twice_has_one_name():
    data = Path("/a/data")
    found = input_names(data, files(data, Path("/x"), Path("/x")))
    assert list(found.values())[2:] == ["cohorts.jsonl", "hyp.jsonl"]


def test_records_name_cuts_by_their_set():
    data = Path("/a/data")
    found = data_names(data, files(data, Path("/x"), Path("/x")))
    assert list(found.values()) == ["train", "lang/bpe.model", "cohorts.jsonl", "hyp.jsonl"]
