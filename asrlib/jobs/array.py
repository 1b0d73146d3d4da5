"""Run one function on many shards, as local processes or as a Slurm array, with submitit."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import submitit
from submitit.core.utils import UncompletedJobError
from tqdm import tqdm

from asrlib.errors import ConfigError, UserError
from asrlib.files import no_room
from asrlib.jobs.slurm import QueueWatcher

Shard = TypeVar("Shard")
Result = TypeVar("Result")

ENGINES = ("local", "slurm")
_POLL_SECONDS = {"local": 0.1, "slurm": 2.0}  # between two checks for results
_WATCH_SECONDS = 30  # largest interval between two queries of Slurm's queue
_NO_TIME_LIMIT = 60 * 24 * 30  # minutes; submitit requires a limit for local jobs


@dataclass(frozen=True)
class _Done(Generic[Result]):
    """The result of a job."""

    value: Result


@dataclass(frozen=True)
class _Failed:
    """The failure of a job, as text, since some exceptions cannot be pickled."""

    what: str
    fix: str


def run_array(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    *,
    nj: int,
    engine: str,
    log_dir: Path,
    name: str,
    options: Mapping[str, Any] | None = None,
) -> list[Result]:
    """Call `function` on every shard, each in a job of its own.

    Job i, counted from 1, writes all its output to `log_dir/<name>.<i>.log`.

    Args:
        function: function that can be imported by name; so can the classes of the shards.
        shards: arguments of `function`, one job each.
        nj: number of jobs that run at the same time.
        engine: `local` or `slurm`.
        log_dir: directory for the log files.
        name: name of the array.
        options: submitit's parameters for Slurm, such as `slurm_partition` or `mem_gb`.

    Returns:
        The results, in the order of the shards.

    Raises:
        ConfigError: the engine is unknown, or it refuses the options.
        UserError: a job failed; the message names its log. The other jobs are cancelled.
    """
    if not shards:
        return []
    log_dir.mkdir(parents=True, exist_ok=True)
    logs = [log_dir / f"{name}.{i}.log" for i in range(1, len(shards) + 1)]
    for log in logs:
        log.unlink(missing_ok=True)
    workplace = log_dir / f".{name}.jobs"
    executor = _executor(engine, workplace, name, nj, options or {})
    calls = list(zip([function] * len(shards), shards, logs, strict=True))
    results = _run(executor, engine, calls, nj, name)
    shutil.rmtree(workplace, ignore_errors=True)
    return results


def _executor(
    engine: str, workplace: Path, name: str, nj: int, options: Mapping[str, Any]
) -> submitit.AutoExecutor:
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine}: unknown", f"choose one of {', '.join(ENGINES)}")
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        executor = submitit.AutoExecutor(folder=workplace, cluster=engine)
        parameters: dict[str, Any] = {"timeout_min": _NO_TIME_LIMIT, "name": name, **options}
        executor.update_parameters(**{"slurm_array_parallelism": nj, **parameters})
    except (RuntimeError, NameError, AssertionError, ValueError) as e:
        raise ConfigError(
            f"engine {engine}: {e}", "check that the engine is installed, and correct its options"
        ) from e
    return executor


def _run(
    executor: submitit.AutoExecutor,
    engine: str,
    calls: Sequence[tuple[Callable[[Shard], Result], Shard, Path]],
    nj: int,
    name: str,
) -> list[Result]:
    results: dict[int, Result] = {}
    running: dict[int, submitit.Job] = {}
    # Slurm limits the running jobs of an array; locally, submitit would start all jobs at once.
    waiting = list(range(len(calls)))
    if engine == "slurm":
        running = dict(enumerate(executor.map_array(_logged, *zip(*calls, strict=True))))
        waiting = []
        watcher = QueueWatcher(delay_s=_WATCH_SECONDS)
        for job in running.values():
            job.watcher = watcher
    try:
        with tqdm(total=len(calls), desc=name, unit="job", disable=None) as progress:
            while running or waiting:
                while waiting and len(running) < nj:
                    index = waiting.pop(0)
                    # submitit's own process prints a traceback when its job is cancelled
                    with _stderr_to(calls[index][2]):
                        running[index] = executor.submit(_logged, *calls[index])
                done = [i for i, job in running.items() if job.done()]
                for index in done:
                    results[index] = _collect(running.pop(index), calls[index][2], name)
                    progress.update()
                if not done:
                    time.sleep(_POLL_SECONDS[engine])
    finally:
        for job in running.values():
            job.cancel(check=False)
    return [results[index] for index in range(len(calls))]


@contextlib.contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """Make processes that start inside write their standard error to `log`."""
    saved = os.dup(2)
    try:
        with open(log, "a") as f:
            os.dup2(f.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _collect(job: submitit.Job[_Done[Result] | _Failed], log: Path, name: str) -> Result:
    try:
        outcome = job.result()
    except UncompletedJobError as e:
        with open(log, "a") as f:
            f.write(job.stderr() or "")  # its output before `_logged` redirected it
        raise UserError(
            f"{name}: a job died without a result (killed, or out of memory); log: {log}",
            "see the log; give the job more memory or use fewer jobs, then run again",
        ) from e
    if isinstance(outcome, _Failed):
        raise UserError(f"{name}: {outcome.what}\n  log: {log}", outcome.fix)
    return outcome.value


def _logged(
    function: Callable[[Shard], Result], shard: Shard, log: Path
) -> _Done[Result] | _Failed:
    """Run `function` inside the job; all output, also of libraries, goes to `log`."""
    with open(log, "a") as f:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
        try:
            return _Done(function(shard))
        except UserError as e:
            traceback.print_exc()
            return _Failed(e.what, e.fix)
        except OSError as e:
            traceback.print_exc()
            fix = (
                "free some space there, then run again"
                if no_room(e)
                else "see the log, then run again"
            )
            return _Failed(f"{e.filename or 'a job'}: {e.strerror or e}", fix)
        except Exception as e:
            traceback.print_exc()
            reason = f"{type(e).__name__}: {e}".splitlines()[0]
            return _Failed(f"a job failed with {reason}", "see the log, then run again")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
