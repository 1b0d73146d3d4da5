"""Run one function on many shards, as local processes or as a Slurm array, with submitit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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

    Job i writes all its output to `log_dir/<name>.<i>.log`, i from 1.

    Args:
        function: importable by name, as are the shards' classes.
        shards: one job each.
        nj: jobs at a time.
        engine: `local` or `slurm`.
        options: submitit's parameters for Slurm, such as `slurm_partition` or `mem_gb`.

    Returns:
        The results, in the order of the shards.

    Raises:
        ConfigError: no such engine, or it refuses the options.
        UserError: a job failed; names its log. The other jobs are cancelled.
    """
    logs = [log_dir / f"{name}.{i}.log" for i in range(1, len(shards) + 1)]
    calls = _Calls(function, shards, logs, name)
    results: dict[int, Result] = {}
    with contextlib.closing(_run(calls, engine, nj, options or {}, 0.0)) as outcomes:
        for index, outcome in outcomes:
            if isinstance(outcome, UserError):
                raise outcome
            results[index] = outcome
    return [results[index] for index in range(len(shards))]


def run_each(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    *,
    nj: int,
    engine: str,
    logs: Sequence[Path],
    name: str,
    options: Mapping[str, Any] | None = None,
    grace_s: float = 0.0,
) -> Generator[tuple[int, Result | UserError], None, None]:
    """As `run_array`, but one job's failure leaves the others alone; outcomes as they come.

    A caller that stops early closes the iterator, which cancels the jobs.

    Args:
        logs: one for each shard, all in one directory.
        name: of this set of jobs, in the progress bar.
        grace_s: how long cancelled jobs are waited for, in seconds, after SIGTERM; 0: they are
            ended at once.

    Yields:
        The index of a shard that is done, with its result or error.

    Raises:
        ConfigError: no such engine, or it refuses the options.
    """
    yield from _run(_Calls(function, shards, logs, name), engine, nj, options or {}, grace_s)


@dataclass(frozen=True)
class _Calls(Generic[Shard, Result]):
    """One call for each shard."""

    function: Callable[[Shard], Result]
    shards: Sequence[Shard]
    logs: Sequence[Path]
    name: str

    def arguments(self, index: int) -> tuple[Callable[[Shard], Result], Shard, Path]:
        return self.function, self.shards[index], self.logs[index]


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
            f"engine {engine}: {e}", "check that it is installed, and the options given for it"
        ) from e
    return executor


def _run(
    calls: _Calls[Shard, Result],
    engine: str,
    nj: int,
    options: Mapping[str, Any],
    grace_s: float,
) -> Generator[tuple[int, Result | UserError], None, None]:
    if not calls.shards:
        return
    log_dir = calls.logs[0].parent
    log_dir.mkdir(parents=True, exist_ok=True)
    for log in calls.logs:
        log.unlink(missing_ok=True)
    workplace = log_dir / f".{calls.name}.jobs"
    executor = _executor(engine, workplace, calls.name, nj, options)
    running: dict[int, submitit.Job] = {}
    # Slurm holds the array back itself; locally submitit would start everything at once.
    waiting = list(range(len(calls.shards)))
    try:
        if engine == "slurm":
            arguments = zip(*map(calls.arguments, waiting), strict=True)
            running = dict(enumerate(executor.map_array(_logged, *arguments)))
            waiting = []
            watcher = QueueWatcher(delay_s=_WATCH_SECONDS)
            for job in running.values():
                job.watcher = watcher
        with tqdm(total=len(calls.shards), desc=calls.name, unit="job", disable=None) as progress:
            while running or waiting:
                while waiting and len(running) < nj:
                    index = waiting.pop(0)
                    # submitit's own process prints a traceback when its job is cancelled
                    with _stderr_to(calls.logs[index]), _deaf_to_keys(grace_s > 0):
                        running[index] = executor.submit(_logged, *calls.arguments(index))
                done = [i for i, job in running.items() if job.done()]
                for index in done:
                    outcome = _collect(running.pop(index), calls.logs[index], calls.name)
                    progress.update()
                    yield index, outcome
                if not done:
                    time.sleep(_POLL_SECONDS[engine])
    finally:
        _cancel(list(running.values()), engine, grace_s)
    shutil.rmtree(workplace, ignore_errors=True)


def _cancel(jobs: Sequence[submitit.Job], engine: str, grace_s: float) -> None:
    """End jobs, or ask them to and wait."""
    for job in jobs:
        if engine == "local" and grace_s > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)
        else:
            job.cancel(check=False)
    until = time.monotonic() + grace_s
    while time.monotonic() < until and not all(job.done() for job in jobs):
        time.sleep(_POLL_SECONDS[engine])


@contextlib.contextmanager
def _deaf_to_keys(wanted: bool) -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C: this one tells them to stop, and waits."""
    if not wanted:
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _collect(
    job: submitit.Job[_Done[Result] | _Failed], log: Path, name: str
) -> Result | UserError:
    try:
        outcome = job.result()
    except UncompletedJobError:
        with open(log, "a") as f:
            f.write(job.stderr() or "")  # its output before `_logged` redirected it
        return UserError(
            f"{name}: a job died without a result (killed, or out of memory); log: {log}",
            "see the log; give the job more memory or use fewer jobs, then run again",
        )
    if isinstance(outcome, _Failed):
        return UserError(f"{name}: {outcome.what}\n  log: {log}", outcome.fix)
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
