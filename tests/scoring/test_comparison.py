"""Tables of the fair comparison and of the compute sweep, and the choice of learning rates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from scoring_fakes import planted_entries, planted_speakers, write_decode

from asrlib.errors import DataError
from asrlib.scoring.document import to_html, to_markdown
from asrlib.scoring.results import build_document
from asrlib.scoring.score import ScoreConfig, score_decode

CONFIG = ScoreConfig(replicates=200, pairs=())


def row(text: str, start: str) -> list[str]:
    """Cells of the first line of a table that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def train_run(directory: Path, rate: float, losses: list[float], seed: int = 1) -> None:
    """What a finished training leaves: its config, its curves, a model."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory / "tensorboard")) as writer:
        for step, loss in enumerate(losses, start=1):
            writer.add_scalar("dev/loss", loss, 100 * step)
    config = {"train": {"peak_lr": rate, "seed": seed}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / "final.pt").write_bytes(b"")


@pytest.fixture
def recipe(scored_recipe, tmp_path) -> Path:
    return Path(shutil.copytree(scored_recipe, tmp_path / "demo"))


def test_the_rate_with_the_lowest_dev_loss_is_chosen(recipe, asrlib):
    for model, best in (("lstm", 0.002), ("conv_rnnt_local", 0.004)):
        for rate in (0.002, 0.004):
            losses = [0.9, 0.2 if rate == best else 0.3, 0.8]
            train_run(recipe / "exp" / f"{model}_lr{rate}", rate, losses)
    done = asrlib("rates", "--recipe-dir", recipe, "lstm", "conv_rnnt/local")
    assert done.output.split() == ["lstm", "0.002", "conv_rnnt/local", "0.004"]
    written = json.loads((recipe / "exp" / "compare" / "rates.json").read_text())
    assert written["models"]["lstm"]["dev_loss"]["0.004"] == pytest.approx(0.3)
    assert written["steps"] == 300


def test_unequal_budgets_are_refused(recipe, asrlib):
    train_run(recipe / "exp" / "lstm_lr0.1", 0.1, [0.5])
    train_run(recipe / "exp" / "conv_rnnt_lr0.1", 0.1, [0.5, 0.4])
    with pytest.raises(DataError, match="conv_rnnt and lstm were tried with different budgets"):
        asrlib("rates", "--recipe-dir", recipe, "lstm", "conv_rnnt")
    with pytest.raises(DataError, match="no finished training at any rate"):
        asrlib("rates", "--recipe-dir", recipe, "contextnet")


def test_the_comparison_has_a_row_for_each_model(recipe):
    tried = {"dev_loss": {"0.002": 0.3, "0.004": 0.2}, "chosen": 0.004}
    rates = {"steps": 300, "seed": 1, "models": {"lstm": tried, "conv_rnnt": tried}}
    (recipe / "exp" / "compare").mkdir()
    (recipe / "exp" / "compare" / "rates.json").write_text(json.dumps(rates))
    (recipe / "exp" / "bench").mkdir()
    bench = {"model": "lstm", "real_time_factor_1": 0.0213, "real_time_factor_32": 0.0034}
    (recipe / "exp" / "bench" / "streaming_lstm.json").write_text(json.dumps(bench))
    text = to_markdown(build_document(recipe, CONFIG))
    text = text[text.index("Encoders compared on test") :]
    lstm, conv = row(text, "lstm"), row(text, "conv_rnnt")
    assert lstm[2:4] == ["0.004", "1"]
    assert conv[3:6] == ["2", conv[4], "–"]
    assert "±" in conv[4]
    difference, (low, high) = float(lstm[5]), json.loads(lstm[6].replace("+", ""))
    assert low < difference < high
    assert low > 0  # planted: the LSTM errs twice as often
    assert lstm[10:12] == ["0.021", "0.003"]
    assert "training of 300 steps at each rate, seed 1" in text


def test_the_sweep_sets_error_against_compute(recipe):
    rates, _ = planted_speakers()
    for name, share, seed, flops in (("full", 1.0, 4, 2e8), ("w0.1", 0.4, 5, 1e8)):
        directory = recipe / "exp" / f"amortized_{name}" / "decode_test_greedy"
        write_decode(
            directory, planted_entries(rates, seed), flops_per_second=flops, compute_share=share
        )
        score_decode(directory, recipe / "data" / "speakers.tsv", CONFIG)
        bench = recipe / "exp" / "bench" / f"streaming_amortized_{name}.json"
        bench.parent.mkdir(exist_ok=True)
        bench.write_text(json.dumps({"model": name, "cpu_seconds_1": 0.03 * share}))
    document = build_document(recipe, CONFIG)
    text = to_markdown(document)
    text = text[text.index("Compute against error on test") :]
    assert row(text, "amortized_full")[4:] == ["+0.0", "100.0", "0.200", "0.0", "30.00", "0.0"]
    assert row(text, "amortized_w0.1")[5:] == ["40.0", "0.100", "50.0", "12.00", "60.0"]
    assert "Error against compute" in to_html(document)
