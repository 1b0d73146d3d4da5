"""Run one function on many shards, as local processes or as a Slurm array, with submitit."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from tqdm import tqdm

from asrlib.errors import ConfigError, UserError
from asrlib.files import alone
from asrlib.jobs.follow import LogFollower
from asrlib.jobs.sigterm import ended_by_sigterm
from asrlib.jobs.slurm import QueueWatcher, cancel, cancel_leftovers
from asrlib.jobs.worker import GPUS, Result, Shard, Work, collect

logger = logging.getLogger(__name__)

ENGINES = ("local", "slurm")
RETRIES = "retries"  # the option that is ours, not submitit's
_POLL_SECONDS = {"local": 0.1, "slurm": 0.2}  # least interval between two looks for results
_LONGEST_POLL_SECONDS = 2.0
_WATCH_SECONDS = 30  # largest interval between two queries of Slurm's queue
_NO_TIME_LIMIT = 60 * 24 * 30  # minutes; submitit requires a limit for local jobs
# Since 22.05 srun does not take over what sbatch was told.
_SETUP = ['[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK']
_SLURM_GRACE_SECONDS = 60.0  # Slurm kills a cancelled job after KillWait, by default 30 s


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
        options: submitit's parameters for Slurm, such as `slurm_partition` or `mem_gb`; `retries`
            says how often a job that failed is run again.

    Returns:
        The results, in the order of the shards.

    Raises:
        ConfigError: no such engine, or it refuses the options.
        UserError: jobs failed; names them and the log of the first. The others were run.
    """
    logs = [log_dir / f"{name}.{i}.log" for i in range(1, len(shards) + 1)]
    work = run_each(function, shards, nj=nj, engine=engine, logs=logs, name=name, options=options)
    with contextlib.closing(work):
        outcomes = dict(work)
    results: list[Result] = []
    failed: dict[int, UserError] = {}
    for index in range(len(shards)):
        outcome = outcomes[index]
        if isinstance(outcome, UserError):
            failed[index + 1] = outcome
        else:
            results.append(outcome)
    if failed:
        first = next(iter(failed.values()))
        others = f"\n  failed: {', '.join(f'{name}.{number}' for number in failed)}"
        raise UserError(first.what + (others if len(failed) > 1 else ""), first.fix)
    return results


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
    followed: Sequence[str] = (),
) -> Generator[tuple[int, Result | UserError], None, None]:
    """As `run_array`, but outcomes and errors come one by one.

    A caller that stops early closes the iterator, which cancels the jobs; so do Ctrl-C and SIGTERM.

    Args:
        logs: one for each shard, all in one directory.
        name: of this set of jobs, in the progress bar and in Slurm's queue.
        grace_s: how long cancelled local jobs are waited for, in seconds, after SIGTERM; 0: they
            are ended at once.
        followed: names of the jobs, if the lines of their logs are to be shown as they come.

    Yields:
        The index of a shard that is done, with its result or error.

    Raises:
        ConfigError: no such engine, or it refuses the options.
        UserError: another process runs jobs of this name with logs in the same directory.
    """
    if not shards:
        return
    works = [
        Work(function, shard, log, os.environ.get(GPUS))
        for shard, log in zip(shards, logs, strict=True)
    ]
    log_dir = logs[0].parent
    log_dir.mkdir(parents=True, exist_ok=True)
    workplace = log_dir / f".{name}.jobs"
    options = dict(options or {})
    retries = _retries(options.pop(RETRIES, 0))
    told = f"{log_dir}: another run of {name} is at work there"
    with alone(log_dir / f".{name}.lock", told, "wait until it ends, or stop it, then run again"):
        if engine == "slurm":
            left = cancel_leftovers(workplace, name, _SLURM_GRACE_SECONDS)
            if left:
                logger.warning("%s: cancelled jobs of an earlier run: %s", name, ", ".join(left))
        for log in logs:
            log.unlink(missing_ok=True)
        executor = _executor(engine, workplace, name, nj, options)
        array = _Array(works, executor, engine, nj, name, retries, grace_s)
        if followed:
            array.followers = [LogFollower(*pair) for pair in zip(followed, logs, strict=True)]
        with ended_by_sigterm():
            try:
                yield from array.outcomes()
            finally:
                array.cancel()
        shutil.rmtree(workplace, ignore_errors=True)


def _retries(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ConfigError(f"retries={value}: not a number of retries", "give 0 or more")
    return value


def _executor(
    engine: str, workplace: Path, name: str, nj: int, options: Mapping[str, Any]
) -> submitit.AutoExecutor:
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine}: unknown", f"choose one of {', '.join(ENGINES)}")
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        executor = submitit.AutoExecutor(folder=workplace, cluster=engine)
        parameters: dict[str, Any] = {"timeout_min": _NO_TIME_LIMIT, "name": name, **options}
        parameters = {"slurm_array_parallelism": nj, "slurm_setup": _SETUP, **parameters}
        executor.update_parameters(**parameters)
    except (RuntimeError, NameError, AssertionError, ValueError) as e:
        raise ConfigError(
            f"engine {engine}: {e}", "check that it is installed, and the options given for it"
        ) from e
    return executor


@dataclass
class _Array(Generic[Shard, Result]):
    """Jobs that wait, run, and are run again if they fail.

    Attributes:
        running, waiting: jobs by the index of their work, and indices.
    """

    works: Sequence[Work[Shard, Result]]
    executor: submitit.AutoExecutor
    engine: str
    nj: int
    name: str
    retries: int
    grace_s: float
    followers: Sequence[LogFollower] = ()
    running: dict[int, submitit.Job] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    watcher: QueueWatcher = field(default_factory=lambda: QueueWatcher(delay_s=_WATCH_SECONDS))

    def outcomes(self) -> Iterator[tuple[int, Result | UserError]]:
        """Run all jobs; yield the last outcome of each."""
        tries = dict.fromkeys(range(len(self.works)), 0)
        self.waiting = list(tries)
        pause = _POLL_SECONDS[self.engine]
        with tqdm(total=len(tries), desc=self.name, unit="job", disable=None) as progress:
            while self.running or self.waiting:
                self._submit()
                done = [i for i, job in self.running.items() if job.done()]
                self._show(done, progress)
                for index in done:
                    outcome = collect(self.running.pop(index), self.works[index].log, self.name)
                    if isinstance(outcome, UserError) and tries[index] < self.retries:
                        tries[index] += 1
                        self.waiting.append(index)
                        self._tell_of_retry(index, tries[index], outcome)
                        continue
                    progress.update()
                    yield index, outcome
                if done:
                    pause = _POLL_SECONDS[self.engine]
                else:
                    time.sleep(pause)
                    pause = min(1.1 * pause, max(_LONGEST_POLL_SECONDS, pause))

    def _tell_of_retry(self, index: int, number: int, outcome: UserError) -> None:
        reason = outcome.what.splitlines()[0]
        log = self.works[index].log
        logger.warning("%s; retry %d of %d of %s", reason, number, self.retries, log.stem)

    def _submit(self) -> None:
        """Submit what waits: to Slurm, which holds it back itself, all; locally, up to `nj`."""
        if self.engine == "slurm":
            indices, self.waiting = self.waiting, []
            if indices:
                self._submit_array(indices)
            return
        while self.waiting and len(self.running) < self.nj:
            index = self.waiting.pop(0)
            # submitit's own process prints a traceback when its job is cancelled
            with _stderr_to(self.works[index].log), _deaf_to_keys(self.grace_s > 0):
                self.running[index] = self.executor.submit(self.works[index])

    def _submit_array(self, indices: Sequence[int]) -> None:
        try:
            with _undisturbed():  # jobs that nobody knows of would run on
                jobs = self.executor.submit_array([self.works[i] for i in indices])
                self.running |= dict(zip(indices, jobs, strict=True))
        except (FailedJobError, FailedSubmissionError) as e:
            raise ConfigError(
                f"engine slurm: {self.name}: {e}", "check the options for this stage in cmd.sh"
            ) from e
        self._watch(jobs)

    def _watch(self, jobs: Sequence[submitit.Job]) -> None:
        for job in jobs:
            for part in (job, *job._sub_jobs):
                part.watcher = self.watcher
            self.watcher.register_job(job.job_id)
        ids = f"{jobs[0].job_id} to {jobs[-1].job_id}" if len(jobs) > 1 else jobs[0].job_id
        log_dir = self.works[0].log.parent
        logger.info("%s: %d Slurm jobs, %s; logs in %s", self.name, len(jobs), ids, log_dir)

    def _show(self, done: Sequence[int], progress: tqdm) -> None:
        if self.engine == "slurm":
            progress.set_postfix(running=self.watcher.count("RUNNING"), refresh=False)
        for index in self.running if self.followers else ():
            self.followers[index].show(ended=index in done)

    def cancel(self) -> None:
        """End the jobs that run, or ask them to and wait."""
        if not self.running:
            return
        if self.engine == "slurm":
            logger.warning("%s: cancelling %d Slurm jobs", self.name, len(self.running))
            grace_s = max(self.grace_s, _SLURM_GRACE_SECONDS)
            cancel([job.job_id for job in self.running.values()], grace_s)
            return
        for job in self.running.values():
            if self.grace_s > 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(job.job_id), signal.SIGTERM)
            else:
                job.cancel(check=False)
        until = time.monotonic() + self.grace_s
        while time.monotonic() < until and not all(job.done() for job in self.running.values()):
            time.sleep(_POLL_SECONDS["local"])


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals back that would end the process."""
    numbers = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
