"""A small recipe ready for plans, and jobs that run in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from command_fakes import SETS, call, in_process, invoke, write_recipe

from asrlib.errors import UserError
from asrlib.experiments.plan_job import Job

TWO = {"title": "Two models", "models": ["tiny", "twin"], "factors": {"train.seed": [1]}}


def prepare(recipe: Path, sets: Mapping[str, int] = SETS, own_speakers: bool = False) -> Path:
    """A recipe whose stages 0 to 3 are complete, with the models `tiny` and `twin`."""
    recipe.mkdir(parents=True)
    write_recipe(recipe, sets, own_speakers)
    tiny = (recipe / "conf/model/tiny.yaml").read_text()
    (recipe / "conf/model/twin.yaml").write_text(tiny)
    (recipe / "conf/score.yaml").write_text("replicates: 100\n")
    with patch("asrlib.cli.fbank.run_array", in_process):
        for stage in ("manifests", "fbank", "tokens"):
            assert invoke(stage, "--recipe-dir", recipe).exit_code == 0
    return recipe


def write_plan(recipe: Path, name: str, content: dict[str, Any]) -> None:
    """conf/plans/NAME.yaml of the recipe."""
    path = recipe / "conf" / "plans" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def here(
    function: Any, jobs: list[Job], *, logs: list[Path], **_: Any
) -> Iterator[tuple[int, UserError | None]]:
    """As `run_each`, in this process: a job's processes would take seconds to start."""
    for index, (job, log) in enumerate(zip(jobs, logs, strict=True)):
        log.parent.mkdir(parents=True, exist_ok=True)
        outcome = None
        with open(log, "w") as f:
            for words in job.commands:
                done = call(*words)
                f.write(f"$ {words}\n{done.out}{done.err}\n")
                if done.code:
                    outcome = UserError(f"{words[0]} failed", "see the log")
                    break
        yield index, outcome
