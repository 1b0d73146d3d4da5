"""Array jobs on a real Slurm cluster of this machine; skipped where Slurm is missing, not in CI."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_fakes import call
from plan_fakes import TWO, prepare, write_plan
from speech_fakes import make_cuts
from test_array import die, double, fail, fail_once

import asrlib.jobs.array
from asrlib.errors import ConfigError, UserError
from asrlib.experiments.store import read_plan
from asrlib.jobs import run_array
from asrlib.jobs.slurm import QueueWatcher

REPO = Path(__file__).resolve().parents[2]
DAEMONS = ("munged", "slurmctld", "slurmd")
MISSING = [d for d in DAEMONS if not shutil.which(d, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]


def cluster(action: str, *options: object) -> subprocess.CompletedProcess[str]:
    command = [str(REPO / "tools" / "slurm_cluster.sh"), action, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def free_port() -> int:
    """A port that nobody has; very likely so are the next two."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(probe.getsockname()[1], 65000)


@pytest.fixture(scope="module")
def slurm_conf(tmp_path_factory) -> Iterator[Path]:
    """The configuration of a running cluster of two nodes."""
    if MISSING:
        reason = f"no {', '.join(MISSING)} here: apt-get install slurm-wlm munge"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    try:
        done = cluster("start", "--dir", folder, "--port", free_port())
        assert done.returncode == 0, done.stderr
        yield folder / "slurm.conf"
    finally:
        cluster("stop", "--dir", folder)
    assert not list(folder.glob("*.pid"))


@pytest.fixture
def on_cluster(slurm_conf, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm_conf))
    monkeypatch.setenv("PYTHONPATH", f"{REPO}:{Path(__file__).parent}")  # jobs import by name
    monkeypatch.setitem(asrlib.jobs.array._POLL_SECONDS, "slurm", 0.2)
    monkeypatch.setattr(asrlib.jobs.array, "_WATCH_SECONDS", 1)


def run(function, shards, folder):
    return run_array(function, shards, nj=2, engine="slurm", log_dir=folder, name="work")


@pytest.mark.slow
@pytest.mark.parametrize("shards", [[3, 1, 2], [5]], ids=["array", "one job"])
def test_results_in_order_and_a_log_each(on_cluster, tmp_path, shards):
    assert run(double, shards, tmp_path) == [2 * shard for shard in shards]
    for number, shard in enumerate(shards, 1):
        assert f"shard {shard}\n" in (tmp_path / f"work.{number}.log").read_text()


@pytest.mark.slow
def test_a_failure_names_its_log(on_cluster, tmp_path):
    with pytest.raises(UserError, match=r"ValueError: no shard 1\n\s+log: .*work\.2\.log"):
        run(fail, [0, 1], tmp_path)


@pytest.mark.slow
def test_a_killed_job_is_noticed_without_an_accounting_database(on_cluster, tmp_path):
    with pytest.raises(UserError, match=r"died.*work\.[12]\.log"):
        run(die, [0, 1], tmp_path)


@pytest.mark.slow
def test_stage_2_leaves_what_it_leaves_locally(on_cluster, tmp_path):
    for engine in ("local", "slurm"):
        recipe = tmp_path / engine
        for name in ("train", "dev"):
            folder = recipe / "data" / name
            folder.mkdir(parents=True)
            make_cuts(tmp_path / "wav" / name, 3).to_file(folder / "cuts.jsonl.gz")
        options = ("--set", "augment.noise_probability=0", "--engine", engine)
        done = call("fbank", "--recipe-dir", recipe, *options)
        assert done.code == 0, done.err
    names = ["fbank/cmvn.json", *(f"fbank/{name}/*.f16" for name in ("train", "dev"))]
    for name in names:
        (local,), (remote,) = (list((tmp_path / e / "data").glob(name)) for e in ("local", "slurm"))
        assert local.read_bytes() == remote.read_bytes()


def jobs(folder, commands, *options):
    """`python -m asrlib jobs` on the cluster, started."""
    words = [part for job in commands.items() for part in ("--job", *job)]
    command = [sys.executable, "-m", "asrlib", "jobs", "work", "--engine", "slurm", *options]
    command += ["--log-dir", str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def queue(*states):
    """Ids of jobs in the queue."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--states={','.join(states)}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def until(condition, seconds=250):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_a_failed_shard_alone_is_tried_again(on_cluster, tmp_path):
    shards = [(tmp_path, number) for number in (1, 2)]
    options = {"nj": 2, "engine": "slurm", "log_dir": tmp_path, "name": "work"}
    assert run_array(fail_once, shards, **options, options={"retries": 1}) == [1, 2]
    assert [(tmp_path / f"{number}.tries").read_text() for number in (1, 2)] == ["xx", "x"]


@pytest.mark.slow
def test_what_was_submitted_is_cancelled_with_the_caller_and_after_its_death(on_cluster, tmp_path):
    sleepers = {"a": "sh -c 'echo here; exec sleep 500'", "b": "sleep 500"}
    stopped = jobs(tmp_path, sleepers)
    until(lambda: len(queue("RUNNING")) == 2)
    stopped.terminate()
    assert stopped.wait(200) == 143
    assert not queue("RUNNING", "PENDING")
    killed = jobs(tmp_path, sleepers)
    until(lambda: len(queue("RUNNING")) == 2)
    killed.kill()
    again = jobs(tmp_path, {"a": "echo there"})
    told, _ = again.communicate(timeout=280)
    assert again.returncode == 0
    assert "cancelled jobs of an earlier run" in told
    assert "a: there\n" in told
    assert not queue("RUNNING", "PENDING")


@pytest.mark.slow
def test_a_partition_that_does_not_exist_is_named(on_cluster, tmp_path):
    options = {"nj": 2, "engine": "slurm", "log_dir": tmp_path, "name": "work"}
    with pytest.raises(ConfigError, match=r"work: .*partition"):
        run_array(double, [1, 2], **options, options={"slurm_partition": "nowhere"})


SAVING = """
trap 'echo saved >{state}; exit 143' TERM INT
if [ -f {state} ]; then echo resumed; exit 0; fi
echo started
while :; do sleep 0.1; done
"""


@pytest.mark.slow
def test_a_preempted_job_saves_and_goes_on_from_the_queue(on_cluster, tmp_path):
    """SIGTERM is what preemption sends, SIGUSR1 what comes before the time limit."""
    for name in ("TERM", "USR1"):
        (tmp_path / f"{name}.sh").write_text(SAVING.format(state=tmp_path / f"{name}.state"))
    work = jobs(tmp_path / "log", {name: f"sh {tmp_path}/{name}.sh" for name in ("TERM", "USR1")})
    logs = {name: tmp_path / "log" / f"{name}.log" for name in ("TERM", "USR1")}
    until(lambda: all(p.exists() and "started" in p.read_text() for p in logs.values()))
    for job, name in zip(sorted(queue("RUNNING")), logs, strict=True):
        subprocess.run(["scancel", f"--signal={name}", job], check=True)
    told, _ = work.communicate(timeout=280)
    assert work.returncode == 0, told + "".join(p.read_text() for p in tmp_path.glob("*.state"))
    for name, log in logs.items():
        assert (tmp_path / f"{name}.state").read_text() == "saved\n"
        assert log.read_text().count("started") == log.read_text().count("resumed") == 1


@pytest.mark.slow
def test_a_job_with_several_tasks_runs_its_command_in_each(on_cluster, tmp_path):
    say = {"a": "sh -c 'echo task $SLURM_PROCID of $SLURM_NTASKS'"}
    work = jobs(tmp_path, say, "--engine-option", "tasks_per_node=1", "--engine-option", "nodes=2")
    told, _ = work.communicate(timeout=280)
    assert work.returncode == 0, told
    assert sorted(line for line in told.splitlines() if line.startswith("a: task")) == [
        "a: task 0 of 2",
        "a: task 1 of 2",
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_plan_trains_decodes_and_scores_on_the_cluster(on_cluster, tmp_path):
    recipe = prepare(tmp_path / "egs" / "small")
    write_plan(recipe, "two", TWO)
    done = call("plan", "two", "--recipe-dir", recipe, "--engine", "slurm")
    assert done.code == 0, done.err
    names = [run.record.name for run in read_plan(recipe, "two").runs]
    assert sorted(names) == ["two-tiny-seed1", "two-twin-seed1"]


def test_the_queue_tells_who_is_done():
    watcher = QueueWatcher()
    for job in ("7_0", "7_1", "8", "9"):
        watcher.register_job(job)
    info = watcher.read_info(b"7_0|RUNNING\n7_1|COMPLETED\n8|PENDING\n")
    assert {job: fields["State"] for job, fields in info.items()} == {
        "7_0": "RUNNING",
        "7_1": "COMPLETED",
        "8": "PENDING",
        "9": "GONE",
    }
    watcher._info_dict.update(info)
    done = {job for job in info if watcher.is_done(job, mode="cache")}
    assert done == {"7_1", "9"}


def test_the_cluster_script_explains_itself():
    assert "start|stop|status" in cluster("--help").stdout
    told = cluster("begin")
    assert told.returncode == 2
    assert "fix: " in told.stderr


@pytest.mark.parametrize(
    ("options", "named"), [(("--nodes", "0"), "--nodes '0'"), (("--port", "x"), "--port 'x'")]
)
def test_the_cluster_script_refuses_nonsense(tmp_path, options, named):
    told = cluster("start", "--dir", tmp_path, *options)
    assert told.returncode == 2
    assert named in told.stderr
    assert not list(tmp_path.iterdir())


def test_the_cluster_script_names_what_is_missing(tmp_path):
    bash, names = shutil.which("bash"), ("dirname", "awk")
    for name in names:
        (tmp_path / name).symlink_to(shutil.which(name))
    script = f"PATH={tmp_path}; . tools/slurm_cluster.sh start --dir {tmp_path}/slurm"
    missing = "command() { return 1; }; export -f command; "
    done = subprocess.run(
        [bash, "-c", missing + script], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "munged not found" in done.stderr
    assert "apt-get install slurm-wlm munge" in done.stderr
