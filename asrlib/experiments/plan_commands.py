"""The commands that a plan's jobs consist of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from asrlib.experiments.plan import Plan, PlannedRun, as_overrides
from asrlib.experiments.plan_job import Job, decoding, tuned_decoding, verifying
from asrlib.experiments.plan_state import PlanState
from asrlib.recipe import Recipe
from asrlib.scoring.records import Told
from asrlib.speakers.model import SpeakerModelConfig


@dataclass(frozen=True)
class PlanCommands:
    """Makes the jobs of a plan, whose commands leave in exp/ what the stages leave there.

    Attributes:
        recipe: without overrides.
        state: what of the plan is there.
    """

    recipe: Recipe
    plan: Plan
    state: PlanState

    def common(self, overrides: Sequence[str]) -> tuple[str, ...]:
        """Options of every command: the recipe, and what is overridden."""
        words = ["--recipe-dir", str(self.recipe.dir)]
        for override in overrides:
            words += ["--set", override]
        return tuple(words)

    def training(self, run: PlannedRun, plan: str | None = None) -> Job:
        """Train a run; `plan` is noted in its record, None of trials and starts."""
        words = ["train", "--model", run.model, "--name", run.name]
        if plan is not None:
            words += ["--plan", plan]
            for key in run.factors:
                words += [
                    "--factor",
                    next(o for o in reversed(run.overrides) if o.startswith(f"{key}=")),
                ]
        if run.start is not None:
            words += [
                "--init",
                str(self.state.trained(run.start) or self.recipe.exp / run.start.name),
            ]
        if run.init:
            words += ["--init", str(self.recipe.dir / run.init)]
        if self.recipe.force:
            words.append("--force")
        return Job(run.name, ((*words, *self.common(run.overrides)),))

    def job(self, run: PlannedRun) -> Job:
        """Train, decode and score; the same with cohorts told, and with models on the way.

        A speaker model is trained, embeds and is scored on verification.
        """
        commands = list(self.training(run, self.plan.name).commands)
        sets, common = self.state.test_sets(), self.common(run.overrides)
        if self.plan.config.stages == "voices":
            verified = verifying(run.name, sets, common, self._reweighted(run))
            return Job(run.name, (*commands, *verified))
        commands += self.decoding(run.name, run.overrides)
        for told, directory in self.state.told(run).items():
            commands += self.decoding(run.name, run.overrides, (told, str(directory)))
        for name, share in self.plan.between(run).items():
            ends = ("--start", self.state.start_name(run), "--end", run.name)
            own = ("--share", str(share), "--name", name)
            commands.append(("interpolate", *ends, *own, *common))
            commands += self.decoding(name, run.overrides)
        tuned = self.plan.config.decoding
        if tuned is not None:
            given = self.common((*run.overrides, *as_overrides(tuned.set)))
            commands += tuned_decoding(run.name, sets, tuned, given)
        return Job(run.name, tuple(commands))

    def _reweighted(self, run: PlannedRun) -> bool:
        """Whether a speaker model's training has weights."""
        recipe = replace(self.recipe, overrides=tuple(run.overrides))
        return recipe.config(SpeakerModelConfig, "model", run.model).reweighting.kind != "none"

    def start_job(self, start: PlannedRun) -> Job:
        """Decode and score the start, with which every mitigation is compared."""
        directory = self.state.trained(start)
        name = start.name if directory is None else directory.name
        return Job(f"{self.plan.name}-start", tuple(self.decoding(name, self.plan.given)))

    def decoding(
        self, name: str, overrides: Sequence[str], cohorts: tuple[Told, str] | None = None
    ) -> list[tuple[str, ...]]:
        """Decode and score a model of exp/, told what `cohorts` says, on the plan's test sets."""
        config = self.plan.config
        score = "score" if config.stages == "one_talker" else "score-meetings"
        common = self.common(overrides)
        return decoding(name, self.state.test_sets(), config.searches, common, score, cohorts)
