"""Array jobs on this machine: results in order, one log each, failures that name their log."""

import errno
import os
from pathlib import Path

import pytest

from asrlib.errors import ConfigError, DataError, UserError
from asrlib.files import alone
from asrlib.jobs import run_array, run_each


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Jobs import the functions below by name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def double(shard):
    print(f"shard {shard}")
    os.write(2, b"from below python\n")
    return 2 * shard


def fail(shard):
    if shard == 1:
        raise ValueError(f"no shard {shard}")
    return shard


def fail_politely(shard):
    raise DataError(f"file {shard} is empty", "fill it")


def fill_the_disk(shard):
    raise OSError(errno.ENOSPC, "No space left on device", f"file {shard}")


def fail_once(shard):
    folder, number = shard
    tries = folder / f"{number}.tries"
    tries.write_text((tries.read_text() if tries.exists() else "") + "x")
    if number == 1 and tries.read_text() == "x":
        raise ValueError(f"no shard {number}")
    return number


def die(shard):
    os._exit(9)


def run(function, shards, folder, **more):
    return run_array(
        function, shards, **{"nj": 2, "engine": "local", "log_dir": folder, "name": "work", **more}
    )


def test_results_in_order_and_a_log_each(tmp_path):
    assert run(double, [3, 1, 2], tmp_path) == [6, 2, 4]
    for number, shard in enumerate([3, 1, 2], 1):
        text = (tmp_path / f"work.{number}.log").read_text()
        assert f"shard {shard}\n" in text
        assert "from below python" in text
    logs = [f"work.{i}.log" for i in (1, 2, 3)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".work.lock", *logs]


def test_nothing_to_do(tmp_path):
    assert run(double, [], tmp_path) == []


def test_a_failure_names_its_log(tmp_path):
    with pytest.raises(UserError, match=r"ValueError: no shard 1\n\s+log: .*work\.2\.log"):
        run(fail, [0, 1], tmp_path)
    assert "Traceback" in (tmp_path / "work.2.log").read_text()


def test_a_users_error_keeps_its_mend(tmp_path):
    with pytest.raises(UserError, match=r"file 7 is empty") as error:
        run(fail_politely, [7], tmp_path)
    assert error.value.fix == "fill it"
    assert "work.1.log" in error.value.what


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"file 7: No space left on device") as error:
        run(fill_the_disk, [7], tmp_path)
    assert error.value.fix.startswith("free some space")


def test_a_killed_job_names_its_log(tmp_path):
    with pytest.raises(UserError, match=r"died.*work\.1\.log"):
        run(die, [0], tmp_path)


def test_a_job_that_cannot_start_says_why(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(UserError, match=r"died.*work\.1\.log"):
        run(double, [0], tmp_path)
    assert "No module named 'test_array'" in (tmp_path / "work.1.log").read_text()


def test_a_failed_shard_alone_is_tried_again(tmp_path, caplog):
    shards = [(tmp_path, number) for number in (1, 2)]
    assert run(fail_once, shards, tmp_path / "log", options={"retries": 1}) == [1, 2]
    assert [(tmp_path / f"{number}.tries").read_text() for number in (1, 2)] == ["xx", "x"]
    assert "no shard 1; retry 1 of 1 of work.1" in caplog.text
    assert "no shard 1" in (tmp_path / "log" / "work.1.log").read_text()


def test_all_failed_shards_are_named_and_the_others_run(tmp_path):
    with pytest.raises(UserError, match=r"no shard 1\n.*\n  failed: work\.1, work\.3"):
        run(fail, [1, 0, 1], tmp_path)
    assert (tmp_path / "work.2.log").exists()


def test_a_local_job_sees_the_gpus_that_its_caller_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert run(os.environ.get, ["CUDA_VISIBLE_DEVICES"], tmp_path) == ["3"]


def test_jobs_of_one_name_and_directory_run_once_at_a_time(tmp_path):
    with alone(tmp_path / ".work.lock", "", ""), pytest.raises(UserError, match="another run"):
        run(double, [1], tmp_path)
    assert run(double, [1], tmp_path) == [2]


@pytest.mark.parametrize("retries", ["one", -1, 1.5])
def test_retries_are_a_number(tmp_path, retries):
    with pytest.raises(ConfigError, match="not a number of retries"):
        run(double, [1], tmp_path, options={"retries": retries})


def test_unknown_engine(tmp_path):
    with pytest.raises(ConfigError, match="local, slurm"):
        run(double, [1], tmp_path, engine="cloud")


def test_slurm_takes_its_options_or_says_why_not(tmp_path):
    with pytest.raises(ConfigError, match="slurm"):
        run(double, [1], tmp_path, engine="slurm", options={"slurm_nonsense": 1})


def test_a_failed_job_leaves_the_others_alone(tmp_path):
    logs = [tmp_path / f"{name}.log" for name in "abc"]
    options = {"nj": 1, "engine": "local", "logs": logs, "name": "work"}
    outcomes = dict(run_each(fail, [0, 1, 2], **options))
    assert (outcomes[0], outcomes[2]) == (0, 2)
    assert isinstance(outcomes[1], UserError)
    assert "b.log" in outcomes[1].what
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == [".work.lock", "a.log", "b.log", "c.log"]
