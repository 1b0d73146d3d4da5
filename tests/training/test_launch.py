"""Ranks as processes of this machine: their places, their end, and what launchers tell them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from small_transducer import write_recipe

from asrlib.errors import ConfigError, UserError
from asrlib.training.launch import start_ranks
from asrlib.training.place import Place, first_node, place_of

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "gpu1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RESTART_COUNT": "2",
}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_JOB_ID": "70001",
    "SLURM_STEP_ID": "0",
}


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", f"import os, sys, time, signal, pathlib\n{code}"]


def test_torchrun_tells_the_place():
    assert place_of(TORCHRUN) == Place(3, 4, 1, "gpu1", 29500, hosted=False, attempt=2)
    hosted = place_of({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert hosted == Place(3, 4, 1, "gpu1", 29500, hosted=True, attempt=2)
    assert place_of(hosted.variables()) == hosted


def test_a_slurm_step_of_several_tasks_tells_the_place():
    place = place_of(SLURM)
    assert (place.rank, place.size, place.local_rank) == (3, 4, 1)
    assert (place.address, place.hosted) == ("localhost", False)
    assert 20000 <= place.port < 40000
    other = place_of({**SLURM, "SLURM_STEP_ID": "1"})
    assert other.port != place.port
    chosen = place_of({**SLURM, "MASTER_ADDR": "head", "MASTER_PORT": "1234"})
    assert (chosen.address, chosen.port) == ("head", 1234)


def test_a_node_without_an_address_is_the_machine_that_started_the_step():
    nowhere = {**SLURM, "SLURM_STEP_NODELIST": "no-such-node.invalid"}
    assert place_of({**nowhere, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}).address == "10.0.0.7"


@pytest.mark.parametrize(
    "alone",
    [{}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}],
)
def test_a_process_without_others_has_no_place(alone):
    assert place_of(alone) is None


def test_a_missing_or_broken_variable_is_named():
    with pytest.raises(ConfigError, match="MASTER_ADDR is not set"):
        place_of({**TORCHRUN, "MASTER_ADDR": ""})
    with pytest.raises(ConfigError, match="SLURM_PROCID: 'x' is not a number"):
        place_of({**SLURM, "SLURM_PROCID": "x"})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[01-03,7],m2", "n01"),
        ("gpu[7]", "gpu7"),
        ("r[1-2]n[3-4],x", "r1n3"),
        ("a-b.c,d", "a-b.c"),
    ],
)
def test_first_node(nodes, first):
    assert first_node(nodes) == first


def test_every_rank_runs_the_command_in_its_place(tmp_path):
    code = f"pathlib.Path({str(tmp_path)!r}, os.environ['RANK']).write_text(os.environ['A'])"
    assert start_ranks(3, python(code), {"A": "b"}) == 0
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys("012", "b")


def test_the_status_of_a_rank_that_fails_ends_the_others():
    code = "time.sleep(100) if os.environ['RANK'] == '0' else sys.exit(3)"
    start = time.monotonic()
    assert start_ranks(2, python(code), {}) == 3
    assert time.monotonic() - start < 50


def test_a_rank_that_is_killed_is_named():
    code = "os.kill(os.getpid(), signal.SIGKILL) if os.environ['RANK'] == '1' else time.sleep(100)"
    with pytest.raises(UserError, match="rank 1 of 2 was ended by SIGKILL"):
        start_ranks(2, python(code), {})


def test_signals_are_passed_on_and_all_ranks_may_save(tmp_path):
    """Rank 1 takes its time to save; it is not disturbed by the end of rank 0."""
    code = f"""
def save(number, frame):
    time.sleep(1.5 * int(os.environ["RANK"]))
    pathlib.Path({str(tmp_path)!r}, os.environ["RANK"]).touch()
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
pathlib.Path({str(tmp_path)!r}, "ready" + os.environ["RANK"]).touch()
time.sleep(100)
"""

    def strike() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=strike).start()
    assert start_ranks(2, python(code), {}) == 128 + signal.SIGTERM
    assert (tmp_path / "0").exists()
    assert (tmp_path / "1").exists()


def test_ranks_do_not_outlive_the_process_that_started_them(tmp_path, repo):
    code = f"""
def note(number, frame):
    pathlib.Path({str(tmp_path)!r}, "told").touch()
    sys.exit(1)
signal.signal(signal.SIGTERM, note)
pathlib.Path({str(tmp_path)!r}, "ready").touch()
time.sleep(100)
"""
    starter = f"""
import asrlib
from asrlib.training.launch import start_ranks
start_ranks(1, {python(code)!r}, {{}})
"""
    environ = {**os.environ, "PYTHONPATH": str(repo)}
    parent = subprocess.Popen([sys.executable, "-c", starter], env=environ)
    _wait_for(tmp_path / "ready")
    parent.kill()
    parent.wait()
    _wait_for(tmp_path / "told")


def test_the_command_trains_by_ranks(tmp_path, repo):
    recipe = write_recipe(tmp_path / "egs")
    done = subprocess.run(
        [sys.executable, "-m", "asrlib", "train", "--recipe-dir", str(recipe)]
        + ["--model", "tiny", "--ranks", "2"],
        env={**os.environ, "PYTHONPATH": str(repo)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = (recipe / "exp" / "tiny" / "log" / "train.log").read_text()
    assert log.count("2 ranks train together") == 1
    assert log.count("wrote ") == 1
    assert (recipe / "exp" / "tiny" / "final.pt").exists()
    assert (recipe / "exp" / "tiny" / ".train.stamp").exists()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < deadline, path.name
        time.sleep(0.1)
