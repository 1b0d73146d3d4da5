"""RESULTS.md and the pages of plans are functions of results/, and lose nothing."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from command_fakes import row
from scoring_fakes import QUICK, plant_run, run_record

from asrlib.experiments.publish import publish
from asrlib.experiments.store import About, Trials, Tuning, read_plan, write_about
from asrlib.recipe import Recipe
from asrlib.report.results_page import MAX_LINES, write_pages
from asrlib.scoring.score import score_decode


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    (tmp_path / "demo").mkdir()
    return Recipe(tmp_path / "demo")


def plant(recipe: Recipe, plan: str | None, model: str, seed: int, worse=1.0, **more) -> None:
    """A run, published, with the pages."""
    name = f"{plan}-{model}-{seed}" + "".join(f"-{v}" for v in more.get("factors", {}).values())
    record = run_record(name=name, model=model, seed=seed, plan=plan, **more)
    plant_run(recipe.dir, record, worse, seed)
    publish(recipe, [name])
    write_pages(recipe.dir)


def pages(recipe: Recipe) -> dict[str, bytes]:
    found = [recipe.dir / "RESULTS.md", *(recipe.dir / "results").rglob("*")]
    return {str(p.relative_to(recipe.dir)): p.read_bytes() for p in found if p.is_file()}


def lines(recipe: Recipe, page: str = "RESULTS.md") -> list[str]:
    return (recipe.dir / page).read_text().splitlines()


def rows(found: list[str]) -> set[str]:
    return {line for line in found if line.startswith("| ")}


def plant_three(recipe: Recipe):
    """Three plans, one after the other: after each its name."""
    for model in ("lstm", "conv_rnnt"):
        plant(recipe, None, model, 1, worse=1.0 if model == "lstm" else 0.5)
    yield "main"
    for seed in (1, 2):
        for frames in (2000, 4000):
            factors = {"data.max_frames": frames}
            plant(recipe, "frames", "lstm", seed, factors=factors, data__max_frames=frames)
    yield "frames"
    for scale, worse in ((0.0, 3.0), (0.3, 1.0)):
        factors = {"model.loss.ctc_scale": scale}
        plant(recipe, "ctc", "lstm", 1, worse, factors=factors, model__loss__ctc_scale=scale)
    yield "ctc"


def test_three_plans_in_turn_leave_earlier_rows_as_they_were(recipe):
    earlier: dict[str, bytes] = {}
    shown: set[str] = set()
    for plan in plant_three(recipe):
        found = pages(recipe)
        del found["RESULTS.md"]
        assert earlier.items() <= found.items()
        assert shown <= rows(lines(recipe))
        assert f"results/{plan}/README.md" in found
        earlier, shown = found, rows(lines(recipe))
        shutil.rmtree(recipe.exp)  # what a machine had is gone
    assert len(shown) == 1 + 2 + 1 + 1  # the header, two of main, the best of each plan


def test_plans_that_vary_data_or_the_loss_are_compared(recipe):
    list(plant_three(recipe))
    text = "\n".join(lines(recipe, "results/ctc/README.md"))
    assert "Difference to lstm, model.loss.ctc_scale=0," in text
    paired = text[text.index("Difference to") :]
    difference, ends = row(paired, "lstm, model.loss.ctc_scale=0.3")[1:3]
    low, high = map(float, ends.strip("[]").split(", "))
    assert low < float(difference) < min(0, high)  # planted: a third of the errors
    frames = "\n".join(lines(recipe, "results/frames/README.md"))
    assert row(frames, "lstm, data.max_frames=2000")[1] == "1 2"
    assert "±" in row(frames, "lstm, data.max_frames=2000")[2]
    assert "Difference to lstm, data.max_frames=2000" in frames
    assert "Not compared" not in text + frames


def test_an_undeclared_difference_is_refused_by_name(recipe):
    plant(recipe, "p", "conv_rnnt", 1)
    plant(recipe, "p", "lstm", 1, train__epochs=9)
    text = "\n".join(lines(recipe, "results/p/README.md"))
    assert "p-conv_rnnt-1 had train.epochs: 4, but p-lstm-1 9." in text
    assert "Difference to" not in text


def test_other_utterances_are_not_compared(recipe):
    plant(recipe, "p", "conv_rnnt", 1)
    made = run_record(name="p-lstm-1", plan="p")
    plant_run(recipe.dir, made)
    hyp = recipe.exp / "p-lstm-1" / "decode_test_greedy" / "hyp.jsonl"
    hyp.write_text("".join(hyp.read_text().splitlines(keepends=True)[1:]))

    score_decode(hyp.parent, recipe.data / "speakers.tsv", QUICK)
    publish(recipe)
    write_pages(recipe.dir)
    text = "\n".join(lines(recipe, "results/p/README.md"))
    assert "lstm was scored on other utterances than conv_rnnt" in text


def test_pages_depend_on_the_folder_alone(recipe, tmp_path):
    list(plant_three(recipe))
    before = pages(recipe)
    write_pages(recipe.dir)
    assert pages(recipe) == before
    elsewhere = tmp_path / "elsewhere" / "demo"
    shutil.copytree(recipe.dir / "results", elsewhere / "results")
    for page in elsewhere.rglob("README.md"):
        page.unlink()
    write_pages(elsewhere)
    assert pages(Recipe(elsewhere)) == before


def test_tables_are_narrow_and_results_short_with_many_plans(recipe):
    for number in range(25):
        plant(recipe, f"plan{number:02d}", "lstm", 1)
        about = About(title=f"Title {number}", finding="It is so.\n" * 4, command="do it")
        write_about(recipe.dir, f"plan{number:02d}", about)
    (recipe.dir / "results" / "plan03" / "broken.json").write_text("{")
    write_pages(recipe.dir)
    found = lines(recipe)
    assert len(found) <= MAX_LINES
    assert "- [Title 24](results/plan24/README.md)" in found
    assert "- `results/plan03/broken.json`: no published run" in found
    for page in (recipe.dir / "RESULTS.md", *recipe.dir.rglob("README.md")):
        for line in page.read_text().splitlines():
            assert len(re.findall(r"(?<!\\)\|", line)) - 1 <= 10


def test_a_plans_section_is_its_finding_its_command_and_a_link(recipe):
    plant(recipe, "p", "lstm", 1)
    about = About(title="Five encoders", finding="They agree.", command="run it", reference="lstm")
    write_about(recipe.dir, "p", about)
    write_pages(recipe.dir)
    found = lines(recipe)
    at = found.index("## Five encoders")
    assert [line for line in found[at + 1 : at + 12] if line] == [
        "They agree.",
        "Command: `run it`",
        "1 run: [tables, comparisons and runs](results/p/README.md)",
    ]
    assert Path(recipe.dir / "results/p/README.md").exists()


def test_the_reference_of_the_plan_is_what_others_are_compared_with(recipe):
    for model in ("conv_rnnt", "lstm", "sts"):
        plant(recipe, "p", model, 1)
    write_about(recipe.dir, "p", About(title="T", reference="lstm"))
    write_pages(recipe.dir)
    text = "\n".join(lines(recipe, "results/p/README.md"))
    assert "Difference to lstm" in text
    paired = text[text.index("Difference to") : text.index("By speaker")]
    assert re.findall(r"^\| (\w+) \|", paired, re.M) == ["system", "conv_rnnt", "sts"]


def test_systems_with_weights_of_their_own_are_compared_where_the_plan_chose_these(recipe):
    """Those of a language model are chosen on dev for each model."""
    for model, penalty in (("lstm", 0.0), ("conv_rnnt", 0.5)):
        record = run_record(name=f"p-{model}", model=model, plan="p")
        plant_run(recipe.dir, record, config={"search": "greedy", "blank_penalty": penalty})
        publish(recipe, [record.name])
    about = About(title="T", reference="lstm")
    write_about(recipe.dir, "p", about)
    write_pages(recipe.dir)
    assert "Not compared with lstm" in "\n".join(lines(recipe, "results/p/README.md"))
    write_about(recipe.dir, "p", replace(about, tuned=("decode.blank_penalty",)))
    write_pages(recipe.dir)
    text = "\n".join(lines(recipe, "results/p/README.md"))
    assert "Difference to lstm" in text
    assert "Not compared" not in text


def test_the_worst_tenth_of_the_speakers_stands_beside_the_mean(recipe):
    for seed in (1, 2):
        plant(recipe, "p", "lstm", seed)
    found = lines(recipe, "results/p/README.md")
    at = found.index("| system | mean of speakers, WER % | worst tenth of speakers, WER % |")
    counts: dict[str, tuple[int, int]] = {}
    for run in read_plan(recipe.dir, "p").runs:
        for speaker, one in run.sets[0].speakers.items():
            errors, words = counts.get(speaker, (0, 0))
            counts[speaker] = errors + one.rate.errors, words + one.rate.words
    rates = [100 * errors / words for errors, words in counts.values()]
    mean = sum(rates) / len(rates)
    assert len(rates) <= 10, "so that the worst tenth is the worst speaker"
    assert found[at + 2] == f"| lstm | {mean:.2f} | {max(rates):.2f} |"


def test_what_was_tried_on_dev_is_shown(recipe):
    plant(recipe, "p", "lstm", 1)
    tried = {"lstm": Trials(trial="lstm", dev={"0.002": 0.3, "0.004": 0.2}, chosen=0.004)}
    write_about(
        recipe.dir,
        "p",
        Tuning(key="train.peak_lr", judged_by="ctc", budget="2 epochs", models=tried),
    )
    write_pages(recipe.dir)
    text = "\n".join(lines(recipe, "results/p/README.md"))
    assert row(text, "lstm | lstm | 0.002: 0.3000, 0.004: 0.2000")[3] == "0.004"


def test_imported_rows_are_shown_as_such_and_not_compared(recipe):
    plant(recipe, "old", "lstm", 1)
    (recipe.dir / "results" / "old" / "imported.json").write_text(
        '{"format": 1, "commit": "21a86a4", "source": "egs/an4/RESULTS.md", "command": "old it",'
        ' "rows": [{"model":'
        ' "conv_rnnt", "label": "ConvRNN-T, 3 M", "set": "test", "search": "greedy", "wer": 9.5,'
        ' "interval": [8, 11], "more": {"GFLOP/s": "0.2"}}]}'
    )
    write_pages(recipe.dir)
    text = "\n".join(lines(recipe, "results/old/README.md"))
    assert "Imported from commit 21a86a4" in text
    cells = row(text, "ConvRNN-T, 3 M")
    assert cells[1:7] == ["test", "greedy", "–", "9.50", "[8.00, 11.00]", "0.2"]
    assert "Difference to" not in text
    assert any("ConvRNN-T, 3 M (imported)" in line for line in lines(recipe))
    assert "Command (at 21a86a4): `old it`" in lines(recipe)


def test_the_command_publishes_and_skips(recipe, cli):
    plant_run(recipe.dir, run_record())
    plant_run(recipe.dir, run_record(name="bare"))
    (recipe.exp / "bare" / "run.json").unlink()
    result = cli("publish", "--recipe-dir", recipe.dir)
    assert result.exit_code == 0
    assert [r.record.name for r in read_plan(recipe.dir, "main").runs] == ["lstm"]
    assert row("\n".join(lines(recipe)), r"[main](results/main/README.md)")[3] == "lstm"
    log = (recipe.exp / "log" / "publish.log").read_text()
    assert "exp/bare: skipped:" in log


def test_two_plans_that_publish_at_once_lose_nothing(recipe):
    names = {plan: [f"{plan}-{seed}" for seed in range(1, 5)] for plan in ("a", "b")}
    for plan, runs in names.items():
        for seed, name in enumerate(runs, start=1):
            plant_run(recipe.dir, run_record(name, "lstm", seed, plan), seed=seed)

    def publish_all(plan: str) -> None:
        for name in names[plan]:
            publish(recipe, [name])
            write_pages(recipe.dir)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(publish_all, names))
    after = pages(recipe)
    for plan, runs in names.items():
        found = read_plan(recipe.dir, plan)
        assert [r.record.name for r in found.runs] == runs
        assert not found.skipped
    write_pages(recipe.dir)
    assert pages(recipe) == after  # the last page was made of all runs
