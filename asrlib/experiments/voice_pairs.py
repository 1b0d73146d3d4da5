"""Rows of a plan of speaker models, compared with each other on the same trials."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asrlib.experiments.declared import SEED
from asrlib.experiments.plan import PlanConfig, PlannedRun, as_overrides, part_of_name
from asrlib.recipe import Recipe
from asrlib.scoring.score import read_config
from asrlib.verification.compare import (
    Measured,
    VerificationRun,
    compare_measured,
    measure_runs,
)
from asrlib.verification.config import VerificationConfig
from asrlib.verification.groups import column_maker
from asrlib.verification.records import VoicePair, VoicePairs
from asrlib.verification.score import VERIFICATION_FILE
from asrlib.verification.scores import SCORES_FILE


def compare_rows(
    recipe: Recipe, config: PlanConfig, runs: Sequence[PlannedRun], sets: Sequence[str]
) -> VoicePairs | None:
    """Compare the rows of a plan, as far as their runs are scored under exp/.

    Where the plan varies more than the seed, rows are compared with all else being equal. Groups
    with fewer speakers than `score.min_speakers` are left out, as in all that is published.

    Args:
        recipe: whose score files are read, and whose sections `verification` and `score`, with
            what the command line overrides.
        config: the plan, for its reference, its controls and its settings.
        runs: those of its runs that are scored.
        sets: test sets.

    Returns:
        All comparisons; None where no two rows have a scored run of one seed.

    Raises:
        DataError: scores are broken, or of different trials.
    """
    first = config.reference or config.all_rows()[0].name
    recipe = replace(recipe, overrides=(*as_overrides(config.set), *recipe.overrides))
    found = []
    for name in sets:
        measure = _measurer(recipe, name)
        for varied, by_row in _scored(recipe.exp, config.factors, runs, name).items():
            for baseline in (first, *config.controls):
                pairs = _with(measure, by_row, baseline, name, first)
                found += [
                    replace(p, baseline=p.baseline + varied, other=p.other + varied) for p in pairs
                ]
    return VoicePairs(pairs=tuple(found)) if found else None


def score_files(exp: Path, runs: Iterable[PlannedRun], sets: Sequence[str]) -> list[Path]:
    """The files that `compare_rows` reads, those that are there."""
    wanted = (
        exp / run.name / f"verify_{name}" / file
        for run in runs
        for name in sets
        for file in (SCORES_FILE, VERIFICATION_FILE)
    )
    return [path for path in wanted if path.exists()]


def _measurer(recipe: Recipe, test_set: str) -> Callable[[tuple[Path, ...]], Measured]:
    """Return the function that measures the runs in some directories, each system once."""
    score = read_config(recipe)
    verification = recipe.config(VerificationConfig, "verification")
    columns = column_maker(recipe.data / "speakers.tsv", test_set, score.groups, score.bands)

    @functools.cache
    def measure(directories: tuple[Path, ...]) -> Measured:
        return measure_runs(
            [VerificationRun.read(directory) for directory in directories],
            columns,
            verification.impostors,
            score.min_speakers,
            verification.resampling,
        )

    return measure


def _with(
    measure: Callable[[tuple[Path, ...]], Measured],
    by_row: Mapping[str, Mapping[int, Path]],
    baseline: str,
    test_set: str,
    first: str,
) -> Iterator[VoicePair]:
    """Compare all rows with one of them; the reference takes no second part against controls."""
    ours = by_row.get(baseline, {})
    for other, theirs in by_row.items():
        seeds = sorted(ours.keys() & theirs.keys())
        if other in (baseline, first) or not seeds:
            continue
        before, after = (measure(tuple(side[seed] for seed in seeds)) for side in (ours, theirs))
        yield VoicePair(
            set=test_set,
            baseline=baseline,
            other=other,
            seeds=tuple(seeds),
            found=compare_measured(before, after, small_groups=False),
        )


def _scored(
    exp: Path, keys: Iterable[str], runs: Sequence[PlannedRun], test_set: str
) -> dict[str, dict[str, dict[int, Path]]]:
    """Directories of scored runs: by the values of factors but the seed, by row, then by seed."""
    found: dict[str, dict[str, dict[int, Path]]] = {}
    for run in runs:
        directory = exp / run.name / f"verify_{test_set}"
        if (directory / SCORES_FILE).exists():
            varied = "".join(part_of_name(key, run.factors[key]) for key in keys if key != SEED)
            rows = found.setdefault(varied, {})
            rows.setdefault(run.row, {})[run.factors.get(SEED, 0)] = directory
    return found
