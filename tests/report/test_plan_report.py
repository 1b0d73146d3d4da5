"""Sections of exp/report.html on plans: runs come by the plan in their record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_fakes import row
from scoring_fakes import plant_run, run_record

from asrlib.experiments.benchmarks import streaming_file
from asrlib.experiments.store import About, write_about
from asrlib.report.document import to_html, to_markdown
from asrlib.report.page import build_document
from asrlib.scoring.score import ScoreConfig

CONFIG = ScoreConfig(replicates=200, groups=(), bands={}, pairs=())


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A plan of two encoders, one of them in two seeds, beside a run of no plan."""
    folder = tmp_path / "demo"
    plant_run(folder, run_record("lstm"), worse=3)
    for model, seed, worse, flops in (
        ("lstm", 1, 2.0, 2e8),
        ("conv_rnnt", 1, 0.5, 3e8),
        ("conv_rnnt", 2, 0.5, 3e8),
    ):
        name = f"encoders-{model}-{seed}"
        plant_run(
            folder, run_record(name, model, seed, "encoders"), worse, seed, flops_per_second=flops
        )
        bench = folder / "exp" / streaming_file(name, "test", "greedy")
        bench.parent.mkdir(exist_ok=True)
        bench.write_text(json.dumps({"real_time_factor_1": 0.0213, "cpu_seconds_1": 0.02}))
    return folder


def test_a_plan_has_its_own_tables(recipe):
    text = to_markdown(build_document(recipe, CONFIG))
    main, _, plan = text.partition("## Plan encoders: test, greedy")
    assert "encoders" not in main
    assert row(main, "lstm")[1] == "greedy"
    assert row(plan, "conv_rnnt")[1] == "1 2"
    assert "±" in row(plan, "conv_rnnt")[2]
    cost = plan[plan.index("Cost, of the lowest seed:") :]
    assert row(cost, "lstm")[2:6] == ["0.200", "–", "0.050", "0.021"]


def test_the_reference_is_the_plans(recipe):
    write_about(recipe, "encoders", About(title="Encoders", reference="lstm"))
    text = to_markdown(build_document(recipe, CONFIG))
    assert "Difference to lstm" in text
    later = text[text.index("How much later than lstm") :]
    assert re.fullmatch(r"[+-]\d+ / [+-]\d+", row(later, "conv_rnnt")[1])


def test_error_is_drawn_against_compute(recipe):
    page = to_html(build_document(recipe, CONFIG))
    assert page.count("<figcaption>Error against compute and CPU time.") == 1


def test_a_run_that_cannot_be_used_is_a_line_not_an_error(recipe):
    (recipe / "exp" / "encoders-lstm-1" / "decode_test_greedy" / "utt_counts.jsonl").unlink()
    (recipe / "exp" / "lstm" / "decode_test_greedy" / "scores.json").write_text("{")
    text = to_markdown(build_document(recipe, CONFIG))
    assert "- `exp/encoders-lstm-1/decode_test_greedy`:" in text
    assert "- `exp/lstm/decode_test_greedy`:" in text
    assert "conv_rnnt" in text
