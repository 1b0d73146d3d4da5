"""A small real task for the trainer's tests: a noisy classifier of deterministic points.

`python tiny_task.py DIRECTORY KEY=VALUE...` trains it; the keys are those of `TrainConfig`, and
`signal=TERM|KILL at=STEP` lets the process strike itself while it works on that step (GROUPTERM:
its loader workers too).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asrlib  # noqa: F401  it comes before torch: see asrlib/mkl.py

# isort: split
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from asrlib.config import load_config, to_dict
from asrlib.data.share import WHOLE, RankShare
from asrlib.errors import UserError
from asrlib.training.config import TrainConfig
from asrlib.training.task import LossSums
from asrlib.training.trainer import Outcome, Trainer

BATCHES = 8
BATCH_SIZE = 4


@dataclass(frozen=True)
class Points:
    """`x_BF` are points, `y_B` their classes."""

    x_BF: Tensor
    y_B: Tensor
    ids: list[str]


def classifier(hidden_dim: int, dropout: float) -> nn.Module:
    """Of points with five coordinates into three classes."""
    return nn.Sequential(
        nn.Linear(5, hidden_dim),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden_dim, 3),
    )


class TinyTask:
    """Dropout, batch normalisation and a hidden layer: whatever may break an exact resume."""

    def __init__(
        self,
        poison: dict[str, float] | None = None,
        strike: tuple[str, int] | None = None,
        workers: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        if model is None:
            torch.manual_seed(0)
            model = classifier(16, 0.3)
        self.model = model
        self.poison = poison or {}
        self.strike = strike
        self.workers = workers
        self.seen: list[tuple[int, int]] = []
        self.mean_loss = 1.0  # of the steps so far; it sharpens the loss, and checkpoints hold it

    def batches_per_epoch(self) -> int:
        return BATCHES

    def begin(self, total_steps: int) -> None:
        self.total_steps = total_steps

    def points(self, seed: int, name: str) -> Points:
        generator = torch.Generator().manual_seed(seed)
        x_BF = torch.randn(BATCH_SIZE, 5, generator=generator)
        y_B = (x_BF[:, 0] > 0).long() + (x_BF[:, 1] > 0.5).long()
        ids = [f"{name}-{i}" for i in range(BATCH_SIZE)]
        for i, item in enumerate(ids):
            x_BF[i] += self.poison.get(item, 0.0)
        return Points(x_BF, y_B, ids)

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterator[Points]:
        numbers = [(epoch, batch) for batch in range(start_batch, BATCHES)]
        loader = DataLoader(
            numbers, batch_size=None, num_workers=self.workers, collate_fn=self._numbered
        )
        for number, batch in zip(numbers, loader, strict=True):
            self.seen.append(number)
            yield self._shared(batch, share)

    def _shared(self, batch: Points, share: RankShare) -> Points:
        rows = list(share.of(range(len(batch.ids))))
        return Points(batch.x_BF[rows], batch.y_B[rows], [batch.ids[i] for i in rows])

    def _numbered(self, number: tuple[int, int]) -> Points:
        epoch, batch = number
        return self.points(1000 * epoch + batch, f"{epoch}-{batch}")

    def loss(self, batch: Points, step: int) -> LossSums:
        if self.strike and self.strike[1] == step:
            strike(self.strike[0])
        logits_BV = self.model(batch.x_BF) * (2.0 - self.mean_loss)
        loss_B = nn.functional.cross_entropy(logits_BV, batch.y_B, reduction="none")
        hits = float((logits_BV.argmax(1) == batch.y_B).sum())
        return LossSums(loss_B, batch.ids, len(batch.ids), {"accuracy": (hits, len(batch.ids))})

    def after_update(self, step: int, lr: float, sums: LossSums) -> None:
        self.mean_loss += 0.1 * (float(sums.per_item_B.mean()) - self.mean_loss)

    def state(self) -> dict[str, Any]:
        return {"mean_loss": self.mean_loss}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.mean_loss = state["mean_loss"]

    def drop(self, batch: Points, ids: Collection[str]) -> Points | None:
        keep = [i for i, item in enumerate(batch.ids) if item not in ids]
        kept = Points(batch.x_BF[keep], batch.y_B[keep], [batch.ids[i] for i in keep])
        return kept if keep else None

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        batch = self.points(999_999, "dev")
        return {"loss": float(nn.functional.cross_entropy(self.model(batch.x_BF), batch.y_B))}

    def payload(self) -> dict[str, Any]:
        return {"kind": "tiny", "vocabulary": b"\x00abc"}


def strike(name: str) -> None:
    """Send this process a signal; GROUP...: to its whole group, from outside as a terminal does."""
    if not name.startswith("GROUP"):
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))
        return
    command = ["kill", "-s", name.removeprefix("GROUP"), "--", f"-{os.getpgrp()}"]
    subprocess.run(command, check=True, start_new_session=True)
    time.sleep(0.5)  # long enough for the end of the workers to show


def train(directory: Path, config: TrainConfig, **options: Any) -> Outcome:
    """Train, or continue to train, in a directory."""
    trainer = Trainer(TinyTask(**options), config, directory, {"train": to_dict(config)})
    trainer.resume()
    return trainer.run()


def main() -> None:
    directory, *pairs = sys.argv[1:]
    values = dict(pair.split("=") for pair in pairs)
    strike = (values.pop("signal"), int(values.pop("at"))) if "signal" in values else None
    overrides = [f"train.{key}={value}" for key, value in values.items()]
    try:
        outcome = train(
            Path(directory), load_config(TrainConfig, "train", [], overrides), strike=strike
        )
    except UserError as e:
        sys.exit(f"error: {e}")
    sys.exit(128 + outcome.signal if outcome.signal else 0)


if __name__ == "__main__":
    main()
