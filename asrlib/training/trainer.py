"""The training loop of every task: steps, validations, checkpoints, resuming.

A run that was killed and resumed ends in the same weights as an uninterrupted run, bit for bit on
the CPU. This holds because a run depends only on task, configuration and seed: all random numbers
of step n come from a generator with the seed (seed, n), and a batch depends only on its epoch and
its number.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from asrlib.checkpoint_file import save
from asrlib.errors import CheckpointError, ConfigError, DataError, UserError
from asrlib.training.checkpoint import CheckpointStore, average
from asrlib.training.config import TrainConfig
from asrlib.training.meter import Board, Meter, line
from asrlib.training.ranks import ALONE, Ranks
from asrlib.training.signals import StopFlag
from asrlib.training.stepper import Stepper
from asrlib.training.task import BatchT, Task

logger = logging.getLogger(__name__)

TRAIN_VERSION = 1  # raised when the output of `train` changes; see asrlib/stamps.py


@dataclass(frozen=True)
class Position:
    """Progress of a run, which checkpoints hold besides weights and optimiser moments.

    Attributes:
        step: number of training steps made, including skipped ones.
        epoch, batch: epoch and number of the next batch.
        bad_steps: number of steps that met a non-finite loss or gradient.
        history: (step, dev metric) of every validation.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    bad_steps: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: number of training steps made.
        final: path of the finished model; None if a signal stopped the run.
        signal: the signal that stopped the run; None if it finished.
    """

    step: int
    final: Path | None
    signal: signal.Signals | None


class Trainer(Generic[BatchT]):
    """Trains the model of a task, and resumes an earlier run in the same directory.

    Args:
        task: model, data and loss.
        config: settings of training.
        directory: directory for checkpoints/, tensorboard/ and, at the end, final.pt.
        identity: nested plain values that decide the weights (configuration, hashes of the
            data). Checkpoints with another identity are not resumed.
        upgrade: function that converts the identity of a checkpoint of an older version to that
            of the present version.
        ranks: this process as one of several that train together. Each has a trainer, rank 0 writes
            all files, and its state is that of the others at the start.

    Raises:
        CheckpointError: raised by `resume` if the checkpoints in the directory have another
            identity, belong to another model, or are all corrupt; raised by `run` if a
            checkpoint cannot be written.
        DataError: raised by `run` if an epoch has no batches or too many losses are not finite.
    """

    def __init__(
        self,
        task: Task[BatchT],
        config: TrainConfig,
        directory: Path,
        identity: Mapping[str, Any],
        upgrade: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        ranks: Ranks = ALONE,
    ) -> None:
        self.task, self.config, self.dir, self.ranks = task, config, directory, ranks
        self.identity, self.upgrade = dict(identity), upgrade
        self.payload = task.payload()
        self.store = CheckpointStore(directory / "checkpoints", self.payload["kind"])
        self.stepper = Stepper(task, config, ranks)
        self.at = Position()
        self.stopped: signal.Signals | None = None  # by what, as all ranks agree

    def run(self) -> Outcome:
        """Train to the end. After SIGTERM or SIGINT, finish the step, save and return."""
        self.meter = Meter()
        self.total_steps = self._count_steps()
        self.task.begin(self.total_steps)
        first = self.ranks.is_first
        self.board = Board(self.dir / "tensorboard" if first else None, self.at.step)
        with (
            torch_settings(self.config),
            StopFlag() as self.stop,
            contextlib.closing(self.board),
            logging_redirect_tqdm(),
        ):
            with tqdm(
                total=self.total_steps,
                initial=self.at.step,
                unit="step",
                disable=None if first else True,
            ) as self.bar:
                while not self._is_done() and self.stopped is None:
                    self._run_epoch()
            if self.stopped is None:
                self._agree(None)
            if self.stopped is not None:
                self._save()
                logger.info("stopped by %s; run the same command to go on", self.stopped.name)
                return Outcome(self.at.step, None, self.stopped)
            if not self.at.history or self.at.history[-1][0] != self.at.step:
                self._validate()
            return Outcome(self.at.step, self._finish(), None)

    def _count_steps(self) -> int:
        steps = self.config.epochs * self.task.batches_per_epoch()
        return min(steps, self.config.max_steps) if self.config.max_steps else steps

    def _is_done(self) -> bool:
        bound = self.config.max_steps
        return self.at.epoch >= self.config.epochs or bool(bound and self.at.step >= bound)

    # ---- epochs and steps

    def _run_epoch(self) -> None:
        self.task.model.train()
        for batch, idle in self._batches():
            self._step(batch, idle)
            if self.config.valid_interval and self.at.step % self.config.valid_interval == 0:
                self._validate()
            if self._is_done():
                return
        if self.stopped is not None:
            return
        if self.at.batch == 0:
            raise DataError(
                "the training set gives no batches: none of its items is within the limits",
                "see the log for the items that were left out, or raise the limits (for utterances "
                "data.max_frames and data.max_tokens)",
            )
        self.at = replace(self.at, epoch=self.at.epoch + 1, batch=0)
        if not self.config.valid_interval:
            self._validate()

    def _batches(self) -> Iterator[tuple[Any, bool]]:
        """Yield this rank's shares of the remaining batches of the epoch, until a signal stops it.

        With each comes whether it is another rank's, because the batch has too few items.
        """
        batches = self._loaded()
        while True:
            with self.meter.waiting():
                batch = next(batches, None)
            idle = self._agree(batch)
            if batch is None or self.stopped is not None:
                return
            yield batch, idle

    def _loaded(self) -> Iterator[Any]:
        """Yield batches; end early if the signal that stops the run has ended loader workers."""
        try:
            share = self.ranks.share
            for batch in self.task.train_batches(self.at.epoch, self.at.batch, share):
                self.stop.guard_children()
                yield batch
        except RuntimeError:
            if self.stop.signal is None:
                raise

    def _agree(self, batch: Any) -> bool:
        """Agree with the other ranks on the next step; set `stopped` if one has had a signal.

        Args:
            batch: this rank's share of the next batch; None if there is none.

        Returns:
            Whether the items are those of another rank, because there are fewer items than ranks.

        Raises:
            DataError: there is a next batch for some ranks only.
        """
        number, ids = self.stop.signal, None if batch is None else list(batch.ids)
        plans = self.ranks.gather((number and int(number), ids))
        signals = [number for number, _ in plans if number]
        if signals:
            self.stopped = signal.Signals(max(signals))
            return False
        if len({ids is None for _, ids in plans}) > 1:
            raise DataError(
                f"step {self.at.step}: the ranks have different numbers of batches",
                "give all ranks the same data, configuration and version",
            )
        before = {item for _, ids in plans[: self.ranks.rank] for item in ids or ()}
        return batch is not None and not before.isdisjoint(batch.ids)

    def _step(self, batch: Any, idle: bool) -> None:
        report = self.stepper.step(batch, self.at.step, self.total_steps, idle)
        if report.sums is not None:
            self.meter.add(report.loss, report.sums, report.norm)
        bad = self.at.bad_steps + bool(report.bad_ids)
        self.at = replace(self.at, step=self.at.step + 1, batch=self.at.batch + 1, bad_steps=bad)
        if report.bad_ids and bad > self.config.bad_batch_budget:
            raise DataError(
                f"{bad} steps met a non-finite loss or gradient, more than "
                f"train.bad_batch_budget = {self.config.bad_batch_budget}; "
                f"last: {' '.join(report.bad_ids)}",
                "check these items, lower train.peak_lr, or raise the budget",
            )
        self._report(report.lr)

    def _report(self, lr: float) -> None:
        self.bar.update()
        if self.at.step % self.config.log_interval:
            return
        figures = self.meter.scalars() | {"lr": lr}
        self.bar.set_postfix_str(f"loss {figures.get('loss', math.nan):.4g}")
        where = f"epoch {self.at.epoch} step {self.at.step}/{self.total_steps}"
        logger.info("%s: %s", where, line(figures))
        self.board.write("train", figures, self.at.step)

    # ---- validation and checkpoints

    def _validate(self) -> None:
        with self.meter.paused():
            with self.stepper.averaged():
                figures = self.task.evaluate()
                logger.info("epoch %d step %d: dev: %s", self.at.epoch, self.at.step, line(figures))
                self.board.write("dev", figures, self.at.step)
                if self.config.best_by not in figures:
                    raise UserError(
                        f"train.best_by: {self.config.best_by} is not among the dev figures",
                        f"choose one of {', '.join(figures)}",
                    )
                metric = figures[self.config.best_by]
                self.at = replace(self.at, history=[*self.at.history, (self.at.step, metric)])
                if self.ranks.is_first and self.at.step in self._best_steps():
                    content = {"model": self.task.model.state_dict(), **self._facts()}
                    self.store.save_best(self.at.step, content)
            self._save()
            if self.ranks.is_first:
                last = [step for step, _ in self.at.history[-self.config.keep_last :]]
                self.store.prune({*last, self.at.step}, self._best_steps())
            self.task.model.train()

    def _best_steps(self) -> list[int]:
        """Return the steps of the best validations so far, best first; of equals, the later."""
        ranked = sorted(self.at.history, key=lambda v: (not math.isfinite(v[1]), v[1], -v[0]))
        return [step for step, _ in ranked[: self.config.keep_best]]

    def _facts(self) -> dict[str, Any]:
        facts = {"steps": self.at.step, "seed": self.config.seed, "history": self.at.history}
        return {"payload": self.payload, "facts": {**facts, "identity": self.identity}}

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        content = {**self.stepper.state(), "position": asdict(self.at), **self._facts()}
        path = self.store.save_step(self.at.step, content)
        logger.info("saved %s", path)

    def resume(self) -> None:
        """Resume from the newest intact checkpoint in the directory, if there is one.

        Rank 0 reads it; all other ranks take the state of rank 0, whether it resumes or not.
        """
        if self.ranks.is_first:
            self._load_latest()
        if self.ranks.size > 1:
            self._follow_first()

    def _follow_first(self) -> None:
        """Take the state of rank 0, with which all ranks begin.

        Raises:
            ConfigError: this rank has other settings or data than rank 0.
        """
        mine = (self.identity, asdict(self.at), self.stepper.state())
        identity, position, state = self.ranks.from_first(mine)
        different = differences(identity, self.identity)
        if different:
            raise ConfigError(
                f"rank {self.ranks.rank} has other settings or data than rank 0:"
                f" {'; '.join(different)}",
                "start all ranks with the same command, version and recipe directory",
            )
        if not self.ranks.is_first:
            self.stepper.load_state(state)
            self.at = Position(**position)

    def _load_latest(self) -> None:
        found = self.store.latest()
        if found is None:
            return
        path, content = found
        different = differences(self.upgrade(content["facts"]["identity"]), self.identity)
        if different:
            raise CheckpointError(
                f"{path}: was trained with other settings or data: {'; '.join(different)}",
                "give the same configuration to continue, another --name for a new run, "
                "or --force to start over",
            )
        try:
            self.stepper.load_state(content)
        except (RuntimeError, ValueError) as e:
            reason = " ".join(str(e).split())
            raise CheckpointError(
                f"{path}: does not fit the model that this version builds: {reason}",
                "continue with the version that wrote it, or start over with --force",
            ) from e
        self.at = Position(**content["position"])
        logger.info("continuing from %s (epoch %d)", path, self.at.epoch)

    def _finish(self) -> Path:
        """Write the mean of the chosen weights as final.pt, and log its dev metrics."""
        final = self.dir / "final.pt"
        if not self.ranks.is_first:
            return final
        window = self.stepper.window
        if window is not None and window.updates:
            mean, steps = window.state, [self.at.step]
            logger.info("mean over the last %d updates", window.updates)
        elif self.config.average_of == "best":
            steps = self._best_steps()[: self.config.average]
            mean, steps = average({s: self.store.best_path(s) for s in steps}, self.store.kind)
        else:
            steps = [step for step, _ in self.at.history[-self.config.average :]]
            paths = {s: self.store.step_path(s) for s in steps}
            mean, steps = average(paths, self.store.step_kind)
        self.task.model.load_state_dict(mean)
        figures = self.task.evaluate()
        logger.info("mean of steps %s: dev: %s", " ".join(map(str, steps)), line(figures))
        facts = self._facts()
        facts["facts"] |= {"averaged": steps, "dev": figures}
        save(final, self.store.kind, {"model": self.task.model.state_dict(), **facts})
        logger.info("wrote %s", final)
        return final


@contextlib.contextmanager
def torch_settings(config: TrainConfig) -> Iterator[None]:
    """Set the number of threads, and flush denormal numbers, to which LSTM states decay, to 0."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.num_threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(config.seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """List where two nested mappings differ, each as `section.key: old, now new`.

    None stands for a missing key.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for name in [*old, *(n for n in new if n not in old)]:
            inner = f"{key}.{name}" if key else str(name)
            found += differences(old.get(name), new.get(name), inner)
        return found
    return [] if old == new else [f"{key}: {old}, now {new}"]
