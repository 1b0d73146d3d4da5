"""Run what a plan lacks: trials, starts, trainings, decoding and scores, as jobs.

Every job calls the commands of the stages, so that what it leaves in exp/ is what they leave.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from asrlib.config import to_dict
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.experiments.declared import SEED
from asrlib.experiments.failures import write_failures
from asrlib.experiments.plan import Plan, PlannedRun, as_overrides
from asrlib.experiments.plan_commands import PlanCommands
from asrlib.experiments.plan_job import Job, run_job
from asrlib.experiments.plan_state import PlanState
from asrlib.experiments.publish import publish
from asrlib.experiments.store import (
    VOICE_PAIRS_FILE,
    About,
    plan_dir,
    read_plan,
    write_about,
)
from asrlib.experiments.voice_pairs import compare_rows, score_files
from asrlib.files import alone
from asrlib.jobs import GRACE_SECONDS, first_error, run_each
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp
from asrlib.verification.score import VERIFICATION_VERSION

logger = logging.getLogger(__name__)


@dataclass
class PlanRunner:
    """Runs a plan.

    Attributes:
        recipe: without overrides.
        nj: jobs at a time.
        engine, options: as `asrlib.jobs.run_each` takes them.
        write_pages: makes what people read of the store, given the recipe's directory.
        failed: why, by name of the job or run.
        only: shell patterns; of the plan's runs, only those whose name fits one are run. Empty:
            all of them.
    """

    recipe: Recipe
    plan: Plan
    nj: int
    engine: str
    options: Mapping[str, Any]
    write_pages: Callable[[Path], Any]
    failed: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    state: PlanState = field(init=False)
    commands: PlanCommands = field(init=False)

    def __post_init__(self) -> None:
        self.state = PlanState(self.recipe, self.plan)
        self.commands = PlanCommands(self.recipe, self.plan, self.state)

    @property
    def folder(self) -> Path:
        """Logs of the jobs."""
        return self.recipe.exp / "plans" / self.plan.name

    def wanted(self) -> list[PlannedRun]:
        """The plan's runs, or those that `only` names.

        Raises:
            ConfigError: a pattern fits no run.
        """
        runs = self.plan.runs(self.state.chosen())
        if not self.only:
            return runs
        for pattern in self.only:
            if not any(fnmatchcase(run.name, pattern) for run in runs):
                raise ConfigError(
                    f"--only {pattern}: fits no run of the plan {self.plan.name}",
                    f"its runs are: {', '.join(run.name for run in runs)}",
                )
        return [run for run in runs if any(fnmatchcase(run.name, p) for p in self.only)]

    def missing(self) -> list[PlannedRun]:
        """Runs that still have to be published; of a plan that is not published, to be scored.

        They are in order of seed, so that what is there when a plan is stopped can be compared.
        """
        runs = sorted(self.wanted(), key=lambda run: run.factors.get(SEED, 0))
        if self.recipe.force:
            return runs
        done: Callable[[PlannedRun], Any] = (
            self.state.published if self.plan.published else self._scored
        )
        return [run for run in runs if not self._is_known(run) or not done(run)]

    def _is_known(self, run: PlannedRun) -> bool:
        """Whether the run has its value of the tuned key."""
        key = self._tuned_key()
        return key is None or key in run.factors

    def _tuned_key(self) -> str | None:
        tune = self.plan.config.tune
        return None if tune is None else tune.key

    def _scored(self, run: PlannedRun) -> bool:
        return self.state.has_data and self.state.scored(run)

    def missing_trials(self) -> list[PlannedRun]:
        """Trials that have to be trained, of rows whose value is not chosen."""
        chosen = {} if self.recipe.force else self.state.chosen()
        rows = {run.row for run in self.wanted()}
        names = {self.plan.trial_of(row) for row in rows if row not in chosen}
        runs = [run for name in sorted(names) for run in self.plan.trials().get(name, {}).values()]
        return [run for run in runs if not self._trained(run)]

    def missing_starts(self) -> list[PlannedRun]:
        """Runs that others start from, the first one first."""
        found, run = [], self.plan.starting_run()
        while run is not None and not run.given:
            if not self._trained(run):
                found.insert(0, run)
            run = run.start
        return found

    def _trained(self, run: PlannedRun) -> bool:
        return self.state.has_data and not self.recipe.force and bool(self.state.trained(run))

    def outline(self) -> Iterator[str]:
        """What is to do, a line for each job."""
        runs = self.missing()
        if not self.state.has_data:
            yield (
                f"{self.recipe.data}: not complete, so only configurations were compared with what "
                "is published, not data"
            )
        if runs:
            yield from (f"train                {run.name}" for run in self.missing_trials())
            if any(not self._scored(run) for run in runs if self._is_known(run)):
                yield from (f"train                {run.name}" for run in self.missing_starts())
        for run in runs:
            if not self._is_known(run):
                yield f"train, decode, score {run.name} ({self._tuned_key()} chosen on dev)"
            elif self._scored(run) and not self.recipe.force:
                yield f"publish              {run.name}"
            else:
                yield f"train, decode, score {run.name}"
        if not runs and not self._unmeasured():
            total = len(self.wanted())
            where = (
                plan_dir(self.recipe.dir, self.plan.name)
                if self.plan.published
                else self.recipe.exp
            )
            yield f"nothing to do: all {total} runs are in {where}"
        elif not runs:
            yield "measure              real-time factors"

    def run(self) -> None:
        """Run what is missing.

        Raises:
            UserError: jobs failed; names them and their logs. The others were run.
        """
        told = f"{self.folder}: this plan is being run by another process"
        with alone(self.folder / ".lock", told, "wait until it is done"):
            write_failures(self.folder, {})
            missing = self.missing()
            self._require_data(missing)
            self._tell()
            if missing:
                self._tune()
                self._run_missing()
            self._compare_voices()
            self._bench()
            write_failures(self.folder, self.failed)
        if self.failed:
            lines = "".join(f"\n  {name}: {why}" for name, why in sorted(self.failed.items()))
            raise UserError(
                f"plan {self.plan.name}: {len(self.failed)} jobs failed:{lines}",
                "see their logs; the same command runs only these again",
            )

    def _require_data(self, missing: Sequence[PlannedRun]) -> None:
        for run in missing[:1]:
            if path := self.state.missing_data(run):
                stage = 7 if path.parent.name.startswith("mix_") else 3
                first = 7 if stage == 7 else 0
                raise DataError(
                    f"{path}: missing, which run {run.name} is trained on",
                    f"./run.sh --recipe {self.recipe.dir.name} --stage {first} "
                    f"--stop-stage {stage}",
                )
        models = self.plan.config.equal_size
        if missing and models:
            common = self.commands.common((*as_overrides(self.plan.config.set), *self.plan.given))
            self._call(("sizes", *common, "--within", "0.05", *models))

    def _tune(self) -> None:
        """Train the trials, and keep what they choose."""
        self._do([self.commands.training(run) for run in self.missing_trials()], "trials")
        if self.plan.config.tune and self.plan.published:
            tuning = self.state.tuning(self.state.chosen())
            if tuning is not None and tuning.models:
                write_about(self.recipe.dir, self.plan.name, tuning)

    def _run_missing(self) -> None:
        missing = self.missing()
        unknown = [run for run in missing if not self._is_known(run)]
        for run in unknown:
            self.failed[run.name] = f"no {self._tuned_key()} was chosen, trials failed"
        known = [run for run in missing if self._is_known(run)]
        ready = [run for run in known if self._scored(run) and not self.recipe.force]
        due = [run for run in known if run not in ready]
        if due:
            for run in self.missing_starts():
                self._do([self.commands.training(run)], "start")
            start = self.plan.starting_run()
            if start is not None and start.name in self.failed:
                self.failed |= {run.name: f"{start.name} failed" for run in due}
                due = []
            elif start is not None and self.plan.config.mitigates:
                self._do([self.commands.start_job(start)], "start")
        for run in ready:
            self._publish(run)
        by_name = {run.name: run for run in due}
        self._do(
            [self.commands.job(run) for run in due],
            "runs",
            lambda name: self._publish(by_name[name]),
        )

    def _do(
        self, jobs: Sequence[Job], title: str, done: Callable[[str], None] | None = None
    ) -> None:
        """Run jobs side by side; what fails is noted, what succeeds handed to `done`."""
        logs = [self.folder / "log" / f"{job.name}.log" for job in jobs]
        outcomes = run_each(
            run_job,
            jobs,
            nj=self.nj,
            engine=self.engine,
            logs=logs,
            name=f"{self.plan.name} {title}".replace(" ", "-"),
            options=self.options,
            grace_s=GRACE_SECONDS,
        )
        with contextlib.closing(outcomes):
            for index, outcome in outcomes:
                name = jobs[index].name
                if isinstance(outcome, UserError):
                    self.failed[name] = f"{first_error(logs[index])}; log: {logs[index]}"
                    logger.warning("%s failed: %s", name, self.failed[name])
                elif done is not None:
                    done(name)

    def _compare_voices(self) -> None:
        """Compare the rows of speaker models, where their scores are there and have changed."""
        config = self.plan.config
        if config.stages != "voices" or not self.plan.published:
            return
        every, sets = self.plan.runs(self.state.chosen()), self.state.test_sets()
        runs = [run for run in every if self._scored(run)]
        files = [self.recipe.data / "speakers.tsv", *score_files(self.recipe.exp, runs, sets)]
        held = plan_dir(self.recipe.dir, self.plan.name) / VOICE_PAIRS_FILE
        settings = [to_dict(config), self.plan.given]
        where = self.folder / "voice_pairs.stamp"
        stamp = Stamp(where, files, settings, outputs=[held], version=VERIFICATION_VERSION)
        if not runs or stamp.is_current():
            return
        if len(runs) < len(every):
            logger.info("comparing the %d of %d runs that are scored", len(runs), len(every))
        recipe = replace(self.recipe, overrides=self.plan.given)
        try:
            pairs = compare_rows(recipe, config, runs, sets)
        except UserError as e:
            self.failed["comparison of rows"] = e.what
            return
        if pairs is not None:
            write_about(self.recipe.dir, self.plan.name, pairs)
            stamp.write()
            self.write_pages(self.recipe.dir)

    def _publish(self, run: PlannedRun) -> None:
        if not self.plan.published:
            logger.info("%s: scored", run.name)
            return
        done = publish(self.recipe, [run.name])
        for skipped in done.skipped:
            self.failed[run.name] = f"{skipped.path}: {skipped.reason}"
        for path in done.files:
            logger.info("published: %s", path)
        self.write_pages(self.recipe.dir)

    def _tell(self) -> None:
        """Keep what the pages say of the plan; a finding that somebody wrote changes no run."""
        config = self.plan.config
        if self.plan.start is not None:
            return
        if not self.plan.published:
            logger.warning(
                "--set makes other runs than the plan's: they are called %s-..., and "
                "`python -m asrlib publish --plan %s` would publish them",
                self.plan.name,
                self.plan.name,
            )
            return
        rows = {row.name: row.model for row in config.all_rows()}
        recipe = f"egs/{self.recipe.dir.resolve().name}"
        held = read_plan(self.recipe.dir, self.plan.name)
        told = next((t.finding for t in (held.about, held.imported) if t and t.finding), "")
        about = About(
            title=config.title,
            finding=config.finding or told,
            command=f"python -m asrlib plan {self.plan.name} --recipe-dir {recipe}",
            reference=rows.get(config.reference),
            tuned=tuple(config.decoding.tune) if config.decoding else (),
        )
        if held.about != about:
            write_about(self.recipe.dir, self.plan.name, about)
            self.write_pages(self.recipe.dir)

    def _first_runs(self) -> list[PlannedRun]:
        """One run of each row, the first of its factors."""
        first: dict[str, PlannedRun] = {}
        for run in self.plan.runs(self.state.chosen()):
            first.setdefault(run.row, run)
        return list(first.values())

    def _unmeasured(self) -> list[PlannedRun]:
        """Runs whose speed is to be measured: all in turn, where one was not and all are here."""
        config = self.plan.config
        if not config.bench or config.stages != "one_talker" or not self.plan.published:
            return []
        runs = self._first_runs()
        here = all((self.recipe.exp / run.name / "final.pt").exists() for run in runs)
        held = [self.state.published(run) for run in runs if self._is_known(run)] if here else []
        measured = all(h is not None and all(s.rtf_1 is not None for s in h.sets) for h in held)
        return [] if measured or None in held else runs

    def _bench(self) -> None:
        runs = self._unmeasured()
        if not runs or self.failed:
            return
        names = [word for run in runs for word in ("--name", run.name)]
        commands = tuple(
            ("bench", "streaming", "--test-set", test_set, "--search", search, *names)
            + self.commands.common(self.plan.given)
            for test_set in self.state.test_sets()
            for search in self.plan.config.searches
        )
        logger.info("measuring real-time factors: one stream and 32, one core, in turn")
        self._do([Job("bench", commands)], "bench")
        if "bench" not in self.failed:
            for run in runs:
                self._publish(run)

    def _call(self, words: Sequence[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "asrlib", *words],
            check=False,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if done.returncode:
            what, _, fix = done.stderr.strip().rpartition("\n  fix: ")
            raise UserError(what.rpartition("error: ")[2] or done.stderr, fix or "see above")
