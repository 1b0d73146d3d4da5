"""Tables of the fair comparison and of the compute sweep."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from command_fakes import row
from scoring_fakes import leave_config, planted_entries, planted_speakers, write_decode

from asrlib.errors import DataError
from asrlib.experiments.benchmarks import streaming_file
from asrlib.report.document import to_html, to_markdown
from asrlib.report.single_talker import build_document
from asrlib.scoring.score import ScoreConfig, score_decode

CONFIG = ScoreConfig(replicates=200, groups=(), bands={}, pairs=())


UNEQUAL = [
    ({"train_epochs": 1}, r"train\.epochs"),
    ({"data_max_frames": 8000}, r"data\.max_frames"),
    ({"augment_speeds": [1.0]}, r"augment\.speeds"),
    ({"features_num_bins": 64}, r"features\.num_bins"),
    ({"loss_ctc_scale": 0.0}, r"loss\.ctc_scale"),
]


@pytest.fixture
def recipe(scored_recipe, tmp_path) -> Path:
    return Path(shutil.copytree(scored_recipe, tmp_path / "demo"))


def compared(recipe: Path, rate: float = 0.004, **changed: object) -> str:
    """Results in which `lstm` (one seed) and `conv_rnnt` (two) are compared, beside older runs.

    Args:
        changed: what was another in the training of `lstm`.
    """
    exp = recipe / "exp"
    older = sorted(path.parent.name for path in exp.glob("*/decode_test_greedy"))
    for name in older:
        family, _, seed = name.partition("_seed")
        shutil.copytree(exp / name, exp / f"{family}_cmp_seed{seed or 1}")
        leave_config(exp / f"{family}_cmp_seed{seed or 1}", train_peak_lr=rate)
    leave_config(exp / "lstm_cmp_seed1", train_peak_lr=rate, **changed)
    planted, _ = planted_speakers()
    write_decode(exp / "lstm_seed9/decode_test_greedy", planted_entries(planted, 9))
    score_decode(exp / "lstm_seed9/decode_test_greedy", recipe / "data/speakers.tsv", CONFIG)
    tried = {"trial": "lstm", "dev": {"0.002": 0.3, "0.004": 0.2}, "chosen": 0.004}
    budget = {"steps": 300, "warmup_steps": 10, "seed": 1, "judged_by": "ctc"}
    rates = {"budget": budget, "models": {"lstm": tried, "conv_rnnt": tried}}
    (exp / "compare").mkdir()
    (exp / "compare" / "rates.json").write_text(json.dumps(rates))
    (exp / "bench").mkdir()
    for name, factor in (("lstm", 0.9), ("lstm_cmp_seed1", 0.0213)):
        bench = {"model": name, "real_time_factor_1": factor, "real_time_factor_32": 0.0034}
        (exp / streaming_file(name, "test", "greedy")).write_text(json.dumps(bench))
    text = to_markdown(build_document(recipe, CONFIG))
    assert "lstm, 2 seeds" not in text  # lstm, and lstm_seed9: who knows what else differs
    return text[text.index("Encoders compared on test") :]


def test_the_comparison_has_a_row_for_each_model_of_its_own_trainings(recipe):
    text = compared(recipe)
    lstm, conv = row(text, "lstm"), row(text, "conv_rnnt")
    assert lstm[2:4] == ["0.004", "1"]
    assert conv[3:6] == ["2", conv[4], "–"]
    assert "±" in conv[4]
    difference, (low, high) = float(lstm[5]), json.loads(lstm[6].replace("+", ""))
    assert low < difference < high
    assert low > 0  # planted: the LSTM errs twice as often
    assert conv[9] == "–"
    assert re.fullmatch(r"[+-]\d+ / [+-]\d+", lstm[9])  # later than conv_rnnt, ms
    assert lstm[11:13] == ["0.021", "0.003"]
    assert "training of 300 steps at each rate, 10 of them warm-up, seed 1" in text
    tuned = next(line for line in text.splitlines() if line.startswith("| lstm | 0.3"))
    assert tuned.endswith("| 0.004 * |")  # the highest that was tried


def test_a_training_at_another_rate_is_no_part_of_the_comparison(recipe):
    with pytest.raises(DataError, match=r"_cmp_seed\d: was trained at 0\.1, the rate chosen is"):
        compared(recipe, rate=0.1)


@pytest.mark.parametrize(("changed", "named"), UNEQUAL)
def test_trainings_that_were_not_alike_are_not_compared(recipe, changed, named):
    with pytest.raises(DataError, match=named):
        compared(recipe, **changed)


def test_how_a_machine_works_may_differ(recipe):
    assert compared(recipe, train_device="cuda", train_num_workers=4)


def test_the_sweep_sets_error_against_compute(recipe):
    rates, _ = planted_speakers()
    worse = {speaker: 1.5 * rate for speaker, rate in rates.items()}
    models = (
        ("full_sweep_seed1", rates, 1.0, 4, 2e8),
        ("full_sweep_seed2", rates, 1.0, 5, 2e8),
        ("sweep-w0.1_seed1", worse, 0.4, 6, 1e8),
        ("seed1", rates, 1.0, 4, 3e8),  # of another experiment
    )
    for name, errors, share, seed, flops in models:
        directory = recipe / "exp" / f"amortized_{name}" / "decode_test_greedy"
        entries = planted_entries(errors, seed)
        write_decode(directory, entries, flops_per_second=flops, compute_share=share)
        leave_config(directory.parent, train_peak_lr=0.1 if name == "seed1" else 0.002)
        score_decode(directory, recipe / "data" / "speakers.tsv", CONFIG)
        bench = recipe / "exp" / streaming_file(f"amortized_{name}", "test", "greedy")
        bench.parent.mkdir(exist_ok=True)
        bench.write_text(json.dumps({"model": name, "cpu_seconds_1": 0.03 * share}))
    document = build_document(recipe, CONFIG)
    text = to_markdown(document)
    text = text[text.index("Compute against error on test") :]
    full, swept = row(text, "amortized_full_sweep"), row(text, "amortized_sweep-w0.1")
    assert full[1] == "2"
    assert "±" in full[2]
    assert full[3:] == [*("–",) * 5, "100.0", "0.200", "0.0", "30.00", "0.0"]
    assert swept[8:] == ["40.0", "0.100", "50.0", "12.00", "60.0"]
    difference, (low, high) = float(swept[3]), json.loads(swept[4].replace("+", ""))
    assert 0 < low < difference < high  # planted: half as many errors again
    assert float(swept[5]) == pytest.approx(
        100 * difference / float(full[2].partition(" ")[0]), abs=0.1
    )
    section = text[: text.index("\n## ")]
    assert "| amortized |" not in section
    assert "| amortized_seed1" not in section
    assert "Error against compute" in to_html(document)
    leave_config(recipe / "exp" / "amortized_sweep-w0.1_seed1", train_peak_lr=0.004)
    with pytest.raises(DataError, match=r"amortized_sweep-w0\.1_seed1 had train\.peak_lr: 0\.004"):
        build_document(recipe, CONFIG)


def test_rates_of_an_earlier_version_are_refused(recipe):
    path = recipe / "exp" / "compare" / "rates.json"
    path.parent.mkdir()
    budget = {"steps": 300, "warmup_steps": 10, "seed": 1, "judged_by": "ctc"}
    models = {"lstm": {"dev": {"0.002": 0.3}, "chosen": 0.002}}
    path.write_text(json.dumps({"budget": budget, "models": models}))
    with pytest.raises(
        DataError, match=r"rates\.json: key models\.lstm\.trial: .*version"
    ) as error:
        build_document(recipe, CONFIG)
    assert error.value.fix == "run steps/compare_models.sh again"
