"""A task of the tests' own: it trains by `python -m asrlib train`, which knows nothing of it.

Its model is the classifier of `tiny_task`, its input `data/points.json`, which says how far the
points lie from the origin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from tiny_task import Points, TinyTask, classifier, strike

from asrlib.checkpoint_file import load
from asrlib.config import configclass, to_dict
from asrlib.errors import DataError
from asrlib.numbers import Positive, Probability
from asrlib.training.build import Configs
from asrlib.training.task import LossSums

ENTRY = "points_task:PointsConfigs"  # of `asrlib.training.build.TASKS`
KIND = "points"


@configclass
class PointsConfig:
    """conf/model/tiny_points.yaml."""

    task: Literal["points"] = "points"
    hidden_dim: Positive = 16
    dropout: Probability = 0.3


@configclass
class ScatterConfig:
    """conf/scatter.yaml, a section that no other task reads."""

    scale: float = 1.0


class PointsTask(TinyTask):
    """Sends its process the signal in `struck` while it works on the step there."""

    struck: tuple[str, int] | None = None

    def __init__(self, configs: PointsConfigs, shift: float) -> None:
        super().__init__(model=classifier(configs.model.hidden_dim, configs.model.dropout))
        self.config, self.scale, self.shift = configs.model, configs.scatter.scale, shift

    def points(self, seed: int, name: str) -> Points:
        points = super().points(seed, name)
        return Points(self.scale * points.x_BF + self.shift, points.y_B, points.ids)

    def loss(self, batch: Points, step: int) -> LossSums:
        if PointsTask.struck and PointsTask.struck[1] == step:
            strike(PointsTask.struck[0])
        return super().loss(batch, step)

    def payload(self) -> dict[str, Any]:
        return {"kind": KIND, "config": to_dict(self.config)}


@dataclass(frozen=True, kw_only=True)
class PointsConfigs(Configs):
    """All that the training of a classifier of points depends on."""

    model: PointsConfig
    scatter: ScatterConfig

    def input_files(self, data: Path) -> tuple[Path, ...]:
        return (data / "points.json",)

    def build_task(self, data: Path, init: Path | None) -> PointsTask:
        (path,) = self.input_files(data)
        if not path.is_file():
            raise DataError(f"{path}: missing", "write it")
        task = PointsTask(self, json.loads(path.read_text())["shift"])
        if init is not None:
            task.model.load_state_dict(load(init, KIND)["model"])
        return task


def write_recipe(directory: Path) -> Path:
    """A recipe with a model `tiny_points`."""
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "points.json").write_text('{"shift": 0.5}')
    sections = {
        "model/tiny_points": {"task": "points", "hidden_dim": 8},
        "model/tiny_points/wide": {"base": "tiny_points", "hidden_dim": 12},
        "scatter": {"scale": 2.0},
        "train": {"epochs": 4, "warmup_steps": 4, "valid_interval": 5},
    }
    for name, values in sections.items():
        path = directory / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    return directory
