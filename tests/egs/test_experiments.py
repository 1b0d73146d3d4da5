"""steps/compare_models.sh whole, and a plan that is stopped, with jobs of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plan_fakes import prepare, write_plan

from asrlib.experiments.store import read_plan

# A dozen processes, which take their time on a machine that does something else too.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def house(repo, tmp_path_factory) -> Path:
    """The repository with a recipe of its own, `small`, ready for training."""
    folder = tmp_path_factory.mktemp("house")
    for entry in repo.iterdir():
        if entry.name not in ("egs", ".git"):
            (folder / entry.name).symlink_to(entry)
    (prepare(folder / "egs" / "small") / "local").mkdir()
    return folder


def test_encoders_are_compared_and_their_speed_measured(house):
    recipe = house / "egs" / "small"
    overlay = {"models": ["tiny"], "equal_size": ["tiny", "twin"], "reference": "tiny"}
    overlay |= {"factors": {"train.seed": [1]}, "tune": None}
    write_plan(recipe, "encoders", overlay)
    command = [house / "steps/compare_models.sh", "--recipe", "small", "--nj", "2"]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = read_plan(recipe, "encoders").runs
    assert (run.record.name, run.record.plan) == ("encoders-tiny-seed1", "encoders")
    assert run.sets[0].rtf_1 is not None
    log = recipe / "exp/plans/encoders/log/encoders-tiny-seed1.log"
    assert "$ python -m asrlib train --model tiny" in log.read_text()
    again = subprocess.run([*command, "--dry-run"], cwd=house, capture_output=True, text=True)
    assert again.stdout.startswith("nothing to do"), again.stdout + again.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_plan_that_is_stopped_stops_its_jobs_which_save(house, repo, number):
    recipe, name = house / "egs" / "small", f"long{number.value}"
    content = {"title": "Long", "models": ["tiny"]}
    endless = {"train.max_steps": 0, "train.epochs": 10**6}
    write_plan(recipe, name, {**content, "set": endless})
    command = [sys.executable, "-m", "asrlib", "plan", name, "--recipe-dir", str(recipe)]
    run = recipe / "exp" / f"{name}-tiny"
    process = subprocess.Popen(
        command,
        cwd=repo,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # A shell lets the processes that it runs in the background ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list((run / "checkpoints").glob("*.pt")):
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 128 + number
    # Ctrl-C reaches the training itself, and as the plan's SIGTERM; either may be first.
    heard = {signal.SIGTERM, number}
    log = (run / "log" / "train.log").read_text()
    assert any(f"stopped by {one.name};" in log for one in heard)
    found = subprocess.run(["pgrep", "-f", str(run.name)], capture_output=True, text=True)
    assert found.stdout == ""


def test_a_plan_is_not_run_twice_at_a_time(house, repo):
    import fcntl

    recipe = house / "egs" / "small"
    write_plan(recipe, "busy", {"title": "Busy", "models": ["tiny"]})
    lock = recipe / "exp/plans/busy/.lock"
    lock.parent.mkdir(parents=True)
    with open(lock, "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "asrlib", "plan", "busy", "--recipe-dir", str(recipe)]
        done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is being run by another process" in done.stderr
