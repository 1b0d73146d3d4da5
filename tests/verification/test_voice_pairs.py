"""Rows of a plan of speaker models, compared; they are what compare-verification finds."""

from __future__ import annotations

import csv
from dataclasses import replace
from unittest.mock import patch

import pytest
import yaml
from command_fakes import call
from verification_fakes import planted_table

from asrlib.errors import UserError
from asrlib.experiments.plan import PlannedRun
from asrlib.experiments.plan_file import load_plan
from asrlib.experiments.plan_state import PlanState
from asrlib.experiments.run_plan import PlanRunner
from asrlib.experiments.store import read_plan, write_about
from asrlib.experiments.voice_pairs import compare_rows
from asrlib.recipe import Recipe
from asrlib.report.document import Document, to_markdown
from asrlib.report.plan_page import plan_document
from asrlib.report.voice_pairs import voice_pair_sections
from asrlib.verification.records import VerificationComparison

QUICK = ("verification.replicates=100", "verification.permutations=100")
NOISES = [0.5, 1.0] * 8
FACTOR = {"none": 1.0, "better": 0.6, "permuted": 0.9}
PLAN = {
    "title": "Voices",
    "stages": "voices",
    "factors": {"train.seed": [1, 2, 3]},
    "test_sets": ["test"],
    "reference": "none",
    "controls": ["permuted"],
    "variants": [{"name": name, "model": "speaker/ecapa"} for name in FACTOR],
}


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    path = tmp_path / "egs" / "demo" / "conf" / "plans" / "voices.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(PLAN))
    (tmp_path / "egs" / "demo" / "data").mkdir()
    return Recipe(tmp_path / "egs" / "demo", QUICK)


def scored(recipe: Recipe, row: str, seed: int) -> None:
    for name, of_set in (("test", 10), ("dev", 20)):
        noises = [FACTOR[row] * n for n in NOISES]
        table = planted_table(noises, seed=of_set + seed, prefix=name)
        folder = recipe.exp / f"voices-{row}-seed{seed}" / f"embeddings_{name}"
        table.write(folder / "utterances.npz")
    with (recipe.data / "speakers.tsv").open("w", newline="") as f:
        rows = csv.writer(f, delimiter="\t")
        rows.writerow(["speaker", "set", "gender"])
        rows.writerows([f"test{s:03d}", "test", "fm"[s % 2]] for s in range(len(NOISES)))
    command(recipe, "score-verification", "--name", f"voices-{row}-seed{seed}")


def command(recipe: Recipe, *words: str) -> None:
    sets = [word for override in QUICK for word in ("--set", override)]
    done = call(*words, "--recipe-dir", recipe.dir, *sets)
    assert done.code == 0, done.err


def runs(recipe: Recipe) -> list[PlannedRun]:
    return load_plan(recipe, "voices").runs({})


def test_each_row_is_compared_with_the_reference_and_the_controls(recipe):
    for row, seed in (("none", 1), ("none", 2), ("better", 1), ("better", 2), ("permuted", 2)):
        scored(recipe, row, seed)
    config = load_plan(recipe, "voices").config
    found = compare_rows(recipe, config, runs(recipe), ["test"])
    assert found is not None
    assert [(p.baseline, p.other, p.seeds) for p in found.pairs] == [
        ("none", "better", (1, 2)),
        ("none", "permuted", (2,)),
        ("permuted", "better", (2,)),
    ]
    sides = []
    for seed in (1, 2):
        sides += ["--baseline", f"voices-none-seed{seed}/verify_test"]
        sides += ["--other", f"voices-better-seed{seed}/verify_test"]
    out = recipe.dir / "out.json"
    command(recipe, "compare-verification", *sides, "--out", str(out))
    assert found.pairs[0].found == VerificationComparison.from_file(out, "")
    assert found.pairs[0].found.groups["gender"].groups["m"]["misses"].difference < 0


def test_rows_are_compared_with_all_else_being_equal(recipe):
    rates = {"none": 1.0, "better": 0.6}
    config = load_plan(recipe, "voices").config
    named = [
        PlannedRun(
            name=f"voices-{row}-seed{seed}",
            row=row,
            model="speaker/ecapa",
            factors={"train.seed": 1, "speaker.crops": seed},
            overrides=(),
        )
        for row in rates
        for seed in (1, 2)
    ]
    for run in named:
        scored(recipe, run.row, int(run.name[-1]))
    factors = {"train.seed": (1,), "speaker.crops": (1, 2)}
    found = compare_rows(recipe, replace(config, factors=factors), named, ["test"])
    assert found is not None
    assert [(p.baseline, p.other) for p in found.pairs] == [
        ("none-crops1", "better-crops1"),
        ("none-crops2", "better-crops2"),
    ]


def test_groups_of_few_speakers_are_not_published(recipe):
    for row in ("none", "better"):
        scored(recipe, row, 1)
    config = load_plan(recipe, "voices").config
    config = replace(config, set={"score.min_speakers": 9})
    found = compare_rows(recipe, config, runs(recipe), ["test"])
    assert found is not None
    gender = found.pairs[0].found.groups["gender"]
    assert (gender.speakers, gender.groups, gender.gaps) == ({}, {}, {})
    assert found.pairs[0].found.all


def test_the_spread_of_a_system_is_the_mean_over_its_runs(recipe):
    """Groups that change places between seeds have the same mean rates, and differ in each."""
    for row in ("none", "better"):
        for seed in (1, 2):
            scored(recipe, row, seed)
    config = load_plan(recipe, "voices").config
    both = compare_rows(recipe, config, runs(recipe), ["test"])
    alone = [
        compare_rows(
            recipe, config, [r for r in runs(recipe) if r.factors["train.seed"] == seed], ["test"]
        )
        for seed in (1, 2)
    ]
    for metric in ("misses", "false_alarms", "eer"):
        spreads = [p.pairs[0].found.groups["gender"].spreads[metric].baseline for p in alone]
        found = both.pairs[0].found.groups["gender"].spreads[metric].baseline
        assert found == pytest.approx(sum(spreads) / 2)


def test_a_plan_compares_its_rows_again_where_scores_changed(recipe):
    for row in ("none", "better"):
        scored(recipe, row, 1)
    plan = load_plan(recipe, "voices")
    plain = Recipe(recipe.dir)
    runner = PlanRunner(plain, plan, 1, "local", {}, lambda _: None)
    with (
        patch.object(
            PlanState, "scored", lambda _, run: "seed1" in run.name and run.row != "permuted"
        ),
        patch.object(PlanState, "has_data", True),
        patch.object(PlanState, "published", lambda *_: True),
    ):
        runner.run()
        held = recipe.dir / "results" / "voices" / "voice_pairs.json"
        first = held.stat().st_mtime_ns
        runner.run()
        assert held.stat().st_mtime_ns == first
        scored(recipe, "better", 1)  # the same scores
        runner.run()
        assert held.stat().st_mtime_ns == first
        (recipe.exp / "voices-better-seed1/verify_test/scores.npz").write_bytes(b"broken")
        with pytest.raises(UserError, match="comparison of rows"):
            runner.run()


def test_the_page_shows_them_by_group(recipe):
    for row in ("none", "better"):
        scored(recipe, row, 1)
    found = compare_rows(recipe, load_plan(recipe, "voices").config, runs(recipe), ["test"])
    assert found is not None
    write_about(recipe.dir, "voices", found)
    held = read_plan(recipe.dir, "voices")
    assert held.voice_pairs == found
    text = to_markdown(plan_document("egs/demo", held))
    genders = found.pairs[0].found.groups["gender"]
    change, speakers = genders.groups["m"]["misses"], genders.speakers["m"]
    assert sum(genders.speakers.values()) == found.pairs[0].found.speakers
    row = next(line for line in text.splitlines() if f"gender m ({speakers}) |" in line)
    assert f"| {change.baseline:.2f} → {change.other:.2f} | {change.difference:+.2f} [" in row
    assert f" {change.detectable(0.95):.2f} |" in row
    alone = to_markdown(Document("x", tuple(voice_pair_sections(found)), ""))
    assert "Each row minus the row `none`" in alone


def test_rows_without_a_common_seed_are_not_compared(recipe):
    scored(recipe, "none", 1)
    scored(recipe, "better", 2)
    config = load_plan(recipe, "voices").config
    assert compare_rows(recipe, config, runs(recipe), ["test"]) is None
