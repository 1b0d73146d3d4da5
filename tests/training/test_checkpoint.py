"""Checkpoints: whole or not at all, verified, of the right kind, the right ones kept."""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import zipfile

import pytest
import torch

from asrlib import checkpoint_file
from asrlib.checkpoint_file import CorruptCheckpoint, load, save
from asrlib.errors import CheckpointError
from asrlib.training.checkpoint import CheckpointStore, average


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path, "tiny")


def weights(value: float) -> dict:
    return {"model": {"w": torch.full((3,), value)}}


def test_round_trip(tmp_path):
    path = tmp_path / "a.pt"
    save(path, "tiny", {**weights(1.5), "tokens": b"\x00\xff", "steps": 3})
    back = load(path, "tiny")
    assert torch.equal(back["model"]["w"], torch.full((3,), 1.5))
    assert back["tokens"] == b"\x00\xff"
    assert back["steps"] == 3
    assert os.listdir(tmp_path) == ["a.pt"]


def test_every_altered_byte_is_noticed_or_harmless(tmp_path):
    path, other = tmp_path / "a.pt", tmp_path / "b.pt"
    save(path, "tiny", {**weights(1.5), "steps": 3})
    data = path.read_bytes()
    noticed = 0
    for at in range(0, len(data), 3):
        other.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            back = load(other, "tiny")
        except CheckpointError:
            noticed += 1
            continue
        assert torch.equal(back["model"]["w"], torch.full((3,), 1.5))
        assert back["steps"] == 3
    assert noticed > len(data) / 3 / 4  # the rest is the zip's padding


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_truncated(tmp_path, part):
    path = tmp_path / "a.pt"
    save(path, "tiny", weights(1.0))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(CorruptCheckpoint, match=r"a\.pt.*corrupt") as e:
        load(path, "tiny")
    assert e.value.fix


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"b\.pt.*no such"):
        load(tmp_path / "b.pt", "tiny")


def test_other_kind(tmp_path):
    save(tmp_path / "a.pt", "speaker", weights(1.0))
    with pytest.raises(CheckpointError, match="holds a speaker model, not tiny"):
        load(tmp_path / "a.pt", "tiny")


@pytest.mark.parametrize(("version", "word"), [(0, "older"), (99, "newer")])
def test_other_format(tmp_path, monkeypatch, version, word):
    monkeypatch.setattr(checkpoint_file, "FORMAT", version)
    save(tmp_path / "a.pt", "tiny", weights(1.0))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=f"format {version} is {word}"):
        load(tmp_path / "a.pt", "tiny")


class Harmful:
    """Unpickling this runs code."""

    def __reduce__(self):
        return (sys.exit, ("code of a stranger was run",))


@pytest.mark.parametrize("content", [Harmful(), {"state_dict": {}}, [1]])
def test_files_of_others_are_refused_and_run_nothing(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this library"):
        load(tmp_path / "a.pt", "tiny")


def deep(tmp_path, depths):
    """Checkpoints of steps 1, 2, ...: weights as large as their step, blocks that count so much."""
    paths = {step: tmp_path / f"{step}.pt" for step in range(1, len(depths) + 1)}
    for (step, path), shares in zip(paths.items(), depths, strict=True):
        model = weights(float(step))["model"] | {"encoder.depth.shares_Z": torch.tensor(shares)}
        save(path, "tiny", {"model": model})
    return paths


def test_average_of_files(tmp_path):
    paths = {step: tmp_path / f"{step}.pt" for step in (6, 1, 2)}
    for step, path in paths.items():
        save(path, "tiny", weights(float(step)))
    mean, steps = average(paths, "tiny")
    assert torch.equal(mean["w"], torch.full((3,), 3.0))
    assert steps == [6, 1, 2]


def test_average_is_of_those_as_deep_as_the_latest(tmp_path):
    paths = deep(tmp_path, [[0.5, 0.0], [1.0, 0.5], [1.0, 1.0], [1.0, 1.0]])
    best_first = {step: paths[step] for step in (2, 4, 1, 3)}
    mean, steps = average(best_first, "tiny")
    assert steps == [4, 3]
    assert torch.equal(mean["w"], torch.full((3,), 3.5))
    assert mean["encoder.depth.shares_Z"].tolist() == [1.0, 1.0]


def test_average_of_a_training_that_never_came_to_its_depth_is_its_latest(tmp_path):
    mean, steps = average(deep(tmp_path, [[0.0], [0.25], [0.5]]), "tiny")
    assert steps == [3]
    assert mean["encoder.depth.shares_Z"].tolist() == [0.5]


def test_latest_is_the_newest(store):
    assert store.latest() is None
    for step in (5, 20, 100):
        store.save_step(step, weights(step))
    path, content = store.latest()
    assert path == store.step_path(100)
    assert content["model"]["w"][0] == 100


def test_corrupt_last_falls_back_with_a_warning_that_names_it(store, caplog):
    for step in (5, 20):
        store.save_step(step, weights(step))
    last = store.step_path(20)
    last.write_bytes(last.read_bytes()[:-100])
    path, _ = store.latest()
    assert path == store.step_path(5)
    assert str(last) in caplog.text


def test_all_corrupt_is_an_error_not_a_fresh_start(store):
    store.save_step(5, weights(5))
    store.step_path(5).write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints is intact"):
        store.latest()


def test_no_fallback_from_another_kind(store):
    store.save_step(5, weights(5))
    save(store.step_path(6), "speaker", weights(6))
    with pytest.raises(CheckpointError, match="holds a speaker model"):
        store.latest()


def test_prune_keeps_what_it_is_told(store):
    for step in range(1, 6):
        store.save_step(step, weights(step))
        store.save_best(step, weights(step))
    store.prune(steps={4, 5}, best={1, 5})
    names = sorted(p.name for p in store.paths())
    assert names == [
        "best-00000001.pt",
        "best-00000005.pt",
        "step-00000004.pt",
        "step-00000005.pt",
    ]


def test_leftovers_of_a_killed_writer_are_removed(store):
    store.save_step(1, weights(1))
    leftover = store.dir / ".step-00000002.pt.abc.pt"
    leftover.write_bytes(b"half")
    store.latest()
    assert [p.name for p in store.dir.iterdir()] == ["step-00000001.pt"]


def test_full_disk_leaves_the_previous_and_says_so(tmp_path):
    """A file-size limit makes the kernel refuse the write, as a full disk does."""
    path = tmp_path / "a.pt"
    save(path, "tiny", weights(1.0))
    before = path.read_bytes()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            save(path, "tiny", {"model": {"w": torch.zeros(10_000)}})
        except CheckpointError as e:
            code = 42 if str(path) in e.what and "free some space" in e.fix else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]


def test_checkpoint_is_a_zip_that_torch_reads_safely(tmp_path):
    save(tmp_path / "a.pt", "tiny", weights(1.0))
    assert zipfile.is_zipfile(tmp_path / "a.pt")
    box = torch.load(io.BytesIO((tmp_path / "a.pt").read_bytes()), weights_only=True)
    assert box["kind"] == "tiny"
