"""A run that was killed and continued ends in the very bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_task import train

from asrlib.training.checkpoint import CheckpointStore
from asrlib.training.config import TrainConfig

PLAIN = TrainConfig(num_threads=1, epochs=3, warmup_steps=4, valid_interval=5, log_interval=1000)
VARIANTS = {
    "interval": PLAIN,
    "epochs": TrainConfig(num_threads=1, epochs=3, warmup_steps=4, average_of="last"),
    "ema": TrainConfig(
        num_threads=1, max_steps=23, valid_interval=5, ema_decay=0.9, average_of="last"
    ),
    "window": TrainConfig(num_threads=1, max_steps=23, valid_interval=5, average_window=13),
}


def struck(directory: Path, config: TrainConfig, name: str, step: int, workers: int = 0) -> int:
    """Exit code of a child that trains until a signal strikes it in the midst of a step."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            outcome = train(directory, config, strike=(name, step), workers=workers)
            code = 128 + outcome.signal if outcome.signal else 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["KILL", "TERM", "INT"])
def test_struck_and_continued_equals_uninterrupted(tmp_path, variant, name):
    config = VARIANTS[variant]
    train(tmp_path / "whole", config)
    code = -signal.SIGKILL if name == "KILL" else 128 + getattr(signal, f"SIG{name}")
    for step in (2, 12, 13, 22):  # before any checkpoint, mid-epoch, twice running, near the end
        assert struck(tmp_path / "pieces", config, name, step) == code
        assert not (tmp_path / "pieces" / "final.pt").exists()
    train(tmp_path / "pieces", config)
    for file in ("final.pt", *(f"checkpoints/{p.name}" for p in checkpoints(tmp_path / "whole"))):
        whole, pieces = tmp_path / "whole" / file, tmp_path / "pieces" / file
        assert whole.read_bytes() == pieces.read_bytes(), file
    assert names(tmp_path / "whole") == names(tmp_path / "pieces")


def checkpoints(directory: Path) -> list[Path]:
    return list(CheckpointStore(directory / "checkpoints", "tiny").paths())


def names(directory: Path) -> list[str]:
    return [p.name for p in checkpoints(directory)]


def test_terminated_run_saves_the_step_at_hand(tmp_path):
    struck(tmp_path, PLAIN, "TERM", 6)
    assert "step-00000007.pt" in names(tmp_path)  # step 6, counted from 0, was finished


@pytest.mark.parametrize("name", ["GROUPTERM", "GROUPINT"])
def test_signal_to_the_whole_process_group(tmp_path, name):
    """Ctrl-C and schedulers strike the loader workers too; the step at hand must still be kept."""
    train(tmp_path / "whole", PLAIN)
    number = getattr(signal, f"SIG{name.removeprefix('GROUP')}")
    for step in (3, 11):
        assert struck(tmp_path / "pieces", PLAIN, name, step, workers=1) == 128 + number
        assert f"step-{step + 1:08d}.pt" in names(tmp_path / "pieces")
    train(tmp_path / "pieces", PLAIN)
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()


def test_corrupt_last_checkpoint_costs_steps_but_no_bits(tmp_path, caplog):
    train(tmp_path / "whole", PLAIN)
    struck(tmp_path / "pieces", PLAIN, "KILL", 12)
    last = tmp_path / "pieces" / "checkpoints" / "step-00000010.pt"
    last.write_bytes(last.read_bytes()[:1000])
    train(tmp_path / "pieces", PLAIN)
    assert f"{last}: corrupt" in caplog.text
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()


def test_across_processes_and_exit_codes(tmp_path, repo):
    """The same with interpreters of their own, as a user meets it."""
    script = Path(__file__).with_name("tiny_task.py")
    pairs = ["num_threads=1", "epochs=2", "warmup_steps=4", "valid_interval=5"]

    def run(*more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(script), str(tmp_path / "pieces"), *pairs, *more],
            env={**os.environ, "PYTHONPATH": str(repo)},
            check=False,
        )

    config = TrainConfig(num_threads=1, epochs=2, warmup_steps=4, valid_interval=5)
    train(tmp_path / "whole", config)
    assert run("signal=KILL", "at=7").returncode == -signal.SIGKILL
    assert run("signal=TERM", "at=11").returncode == 143
    assert run().returncode == 0
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()
