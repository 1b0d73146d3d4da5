"""The checkpoints of a run: write, find, delete and average them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from asrlib.checkpoint_file import CorruptCheckpoint, load, save
from asrlib.errors import CheckpointError
from asrlib.layers.growing_depth import depth_of
from asrlib.training.optim import average_states

logger = logging.getLogger(__name__)


def average(paths: Mapping[int, Path], kind: str) -> tuple[dict[str, Tensor], list[int]]:
    """Average the `model` weights of a run's checkpoints; the sums are in float64.

    Only checkpoints as deep as the latest one are averaged (`GrowingDepth`): while blocks are
    still missing, the weights belong to a different model.

    Args:
        paths: the checkpoint of each step.
        kind: kind of the checkpoints.

    Returns:
        The mean weights, and the steps that were averaged, in the order of `paths`.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
    """
    states = {step: load(path, kind)["model"] for step, path in paths.items()}
    latest = depth_of(states[max(states)])
    steps = [step for step, state in states.items() if depth_of(state) == latest]
    return average_states(states[step] for step in steps), steps


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of a run: `step-*.pt` to resume from, `best-*.pt` with weights to use.

    Attributes:
        dir: directory of the checkpoints.
        kind: kind of the `best-*.pt` checkpoints.
    """

    dir: Path
    kind: str

    @property
    def step_kind(self) -> str:
        """Kind of the checkpoints to resume from."""
        return f"{self.kind}-training"

    def step_path(self, step: int) -> Path:
        return self.dir / f"step-{step:08d}.pt"

    def best_path(self, step: int) -> Path:
        return self.dir / f"best-{step:08d}.pt"

    def save_step(self, step: int, content: Mapping[str, Any]) -> Path:
        """Save everything that resuming needs."""
        path = self.step_path(step)
        save(path, self.step_kind, content)
        return path

    def save_best(self, step: int, content: Mapping[str, Any]) -> Path:
        """Save the weights and the payload."""
        path = self.best_path(step)
        save(path, self.kind, content)
        return path

    def latest(self) -> tuple[Path, dict[str, Any]] | None:
        """Load the newest intact checkpoint; return None if there is no checkpoint.

        Raises:
            CheckpointError: all checkpoints are corrupt, or the newest intact one cannot be used.
        """
        self.remove_leftovers()
        paths = sorted(self.dir.glob("step-*.pt"), reverse=True)
        for path in paths:
            try:
                return path, load(path, self.step_kind)
            except CorruptCheckpoint as e:
                logger.warning("%s; falling back to the checkpoint before it", e.what)
        if paths:
            raise CheckpointError(
                f"{self.dir}: none of the {len(paths)} checkpoints is intact",
                "start over with --force",
            )
        return None

    def prune(self, steps: Collection[int], best: Collection[int]) -> None:
        """Delete all checkpoints except those of the given steps.

        Args:
            steps: steps whose `step-*.pt` are kept.
            best: steps whose `best-*.pt` are kept.
        """
        keep = {self.step_path(s) for s in steps} | {self.best_path(s) for s in best}
        for path in self.paths():
            if path not in keep:
                path.unlink(missing_ok=True)

    def paths(self) -> Iterator[Path]:
        """Return the paths of all checkpoints of the run."""
        yield from sorted(self.dir.glob("step-*.pt"))
        yield from sorted(self.dir.glob("best-*.pt"))

    def remove_leftovers(self) -> None:
        """Delete the temporary files of a run that was killed while it wrote a checkpoint."""
        for path in self.dir.glob(".*.pt"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
