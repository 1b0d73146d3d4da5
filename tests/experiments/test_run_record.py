"""What a run is: its identity changes with what decides its weights, and with nothing else."""

from __future__ import annotations

import gzip
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.errors import DataError
from asrlib.experiments.run_record import (
    GitState,
    RunRecord,
    git_state,
    hash_data,
    make_record,
    read_record,
    start_of,
)
from asrlib.scoring.records import Machine

CONFIG = {
    "model": {"encoder": {"name": "lstm"}, "loss": {"fast_emit": 0.0}},
    "train": {"seed": 1, "peak_lr": 0.004, "device": "cpu", "num_threads": 1, "num_workers": 1},
    "data": {"max_frames": 4000},
    "decode": {"search": "greedy", "chunk_seconds": 0.3, "modified_beam": {"beam": 4}},
}


def record(**changes) -> RunRecord:
    """One whose configuration has other values at `section__key`."""
    config = {section: dict(values) for section, values in CONFIG.items()}
    for key in [k for k in changes if "__" in k]:
        section, _, name = key.partition("__")
        config[section][name] = changes.pop(key)
    made = RunRecord(
        name="lstm",
        model="lstm",
        plan=None,
        factors={},
        argv=("python", "-m", "asrlib", "train"),
        git=GitState("0" * 40, False),
        config=config,
        data={"train": "a", "dev": "b"},
        start=None,
        processor=Machine("a processor", 4, "AVX2"),
        device="cpu",
        versions={"python": "3.10"},
        started="2026-01-01T00:00:00+00:00",
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"train__seed": 2},
        {"data__max_frames": 3000},
        {"model__loss": {"fast_emit": 0.01}},
        {"decode__search": "modified_beam"},
        {"data": {"train": "c", "dev": "b"}},
        {"start": "another"},
    ],
)
def test_what_decides_the_weights_is_part_of_the_identity(changes):
    assert record(**changes).identity != record().identity


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other", "plan": "a plan", "factors": {"train.seed": 1}},
        {"git": None, "versions": {}, "started": "2027-01-01T00:00:00+00:00"},
        {"processor": Machine("another", 64), "device": "NVIDIA H200"},
        {"train__device": "cuda"},
        {"train__num_threads": 8, "train__num_workers": 0},
        {"decode__chunk_seconds": 1.0},
        {"decode__modified_beam": {"beam": 8}},
    ],
)
def test_names_code_and_machine_are_no_part_of_it(changes):
    assert record(**changes).identity == record().identity


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # JSON holds no lone surrogates.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner),
    max_leaves=5,
)


@given(
    factors=st.dictionaries(st.text("abc.", min_size=1), plain, max_size=3),
    values=st.dictionaries(st.text("abc", min_size=1), plain, max_size=3),
    start=st.none() | st.text("0123456789abcdef", min_size=1),
)
def test_a_record_comes_back_equal_with_its_identity(tmp_path_factory, factors, values, start):
    made = replace(record(), factors=factors, config={"train": values}, start=start)
    directory = tmp_path_factory.mktemp("run")
    made.to_file(directory / "run.json")
    found = read_record(directory)
    assert found == made
    assert found.identity == made.identity


def manifest(path: Path, cuts: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as f:
        f.writelines(json.dumps(cut) + "\n" for cut in cuts)
    return path


def cut(id: str = "u", text: str = "ONE", place: str = "/here", duration: float = 1.0) -> dict:
    said = {"text": text, "speaker": "s", "start": 0.0, "duration": duration}
    stored = {"features": {"storage_path": f"{place}/x.f16"}}
    return {"id": id, "start": 0.0, "duration": duration, "channel": 0, "supervisions": [said]} | (
        stored
    )


def hashes(data: Path, cuts: list[dict]) -> dict[str, str]:
    path = manifest(data / "train" / "cuts_fbank.jsonl.gz", cuts)
    tokens, stats = data / "lang" / "bpe.model", data / "fbank" / "cmvn.json"
    for file in (tokens, stats):
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(data) if file is stats else "tokens")
    return hash_data(data, (path, tokens, stats))


def test_data_are_the_same_wherever_they_lie_and_in_whatever_order(tmp_path):
    one = hashes(tmp_path / "one", [cut("u"), cut("v")])
    two = hashes(tmp_path / "two", [cut("v", place="/there"), cut("u", place="/there")])
    assert one == two
    assert set(one) == {"train", "lang/bpe.model"}


@pytest.mark.parametrize("other", [{"text": "TWO"}, {"id": "w"}, {"duration": 1.001}])
def test_other_data_have_another_hash(tmp_path, other):
    one, two = hashes(tmp_path / "one", [cut()]), hashes(tmp_path / "two", [cut(**other)])
    assert one["train"] != two["train"]
    assert one["lang/bpe.model"] == two["lang/bpe.model"]


def test_a_half_written_manifest_is_named(tmp_path):
    path = manifest(tmp_path / "train" / "cuts_fbank.jsonl.gz", [cut() for _ in range(50)])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"train/cuts_fbank\.jsonl\.gz: unreadable"):
        hash_data(tmp_path, [path])


def test_a_start_is_known_by_its_record_else_by_its_bytes(tmp_path):
    final = tmp_path / "final.pt"
    final.write_bytes(b"weights")
    by_bytes = start_of(final)
    record().to_file(tmp_path / "run.json")
    assert start_of(final) == record().identity != by_bytes
    assert start_of(None) is None


def test_the_commit_is_told_and_whether_code_differs_but_for_results(tmp_path):
    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    assert git_state(tmp_path / "nowhere") is None
    git("init")
    assert git_state(tmp_path) is None
    demo, code = tmp_path / "egs" / "demo", tmp_path / "code.py"
    pages = [demo / "RESULTS.md", demo / "results" / "main" / "README.md"]
    pages[1].parent.mkdir(parents=True)
    for path in (*pages, code):
        path.write_text("old")
    git("add", ".")
    git("commit", "-m", "first")
    for page in pages:
        page.write_text("new")
    clean = git_state(tmp_path)
    assert not clean.dirty
    code.write_text("new")
    assert git_state(tmp_path) == replace(clean, dirty=True)


def test_a_record_made_here_knows_this_machine():
    made = make_record(
        name="n", model="m", plan=None, factors={}, argv=(), config=CONFIG, data={}, start=None
    )
    assert made.processor.cores >= 1
    assert made.device == "cpu"
    assert {"python", "torch", "asrlib"} <= set(made.versions)
    assert made.started.endswith("+00:00")


def test_a_language_model_of_the_data_counts(tmp_path):
    """It decides the dev WER that ranks checkpoints; statistics of the sets do not count."""
    files = [tmp_path / "lm/a.arpa", tmp_path / "fbank/cmvn.json"]
    for path in files:
        path.parent.mkdir()
        path.write_text("1")
    before = hash_data(tmp_path, files)
    assert list(before) == ["lm/a.arpa"]
    files[0].write_text("2")
    assert hash_data(tmp_path, files) != before
