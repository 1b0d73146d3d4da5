"""The choice of learning rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from asrlib.errors import DataError
from asrlib.experiments.rates import Budget, read_rates


def train_run(
    directory: Path,
    rate: float,
    losses: list[float],
    seed: int = 1,
    warmup_steps: int = 10,
    curve: str = "ctc",
) -> None:
    """What a finished training leaves: its config, its curves, a model.

    The loss of a transducer with CTC beside falls further the higher the rate.
    """
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory / "tensorboard")) as writer:
        for step, loss in enumerate(losses, start=1):
            if curve == "ctc":
                writer.add_scalar("dev/loss", 1 - 100 * rate, 100 * step)
            writer.add_scalar(f"dev/{curve}", loss, 100 * step)
    config = {"train": {"peak_lr": rate, "seed": seed, "warmup_steps": warmup_steps}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / "final.pt").write_bytes(b"")


def tried(recipe: Path, model: str, losses: dict[str, float], steps: int = 3, **train) -> None:
    for rate, last in losses.items():
        values = [0.1] * (steps - 1) + [last]
        train_run(recipe / "exp" / f"{model}_lr{rate}", float(rate), values, **train)


RATES = ("--rate", "0.002", "--rate", "0.004")


def test_the_rate_whose_encoder_learned_most_in_the_end_is_chosen(tmp_path, cli):
    tried(tmp_path, "lstm", {"0.002": 0.2, "0.004": 0.3})
    tried(tmp_path, "conv_rnnt_local", {"0.002": 0.3, "0.004": 0.2})
    # Trials of other rates, and other trainings with such a name, take no part.
    tried(tmp_path, "lstm", {"0.001": 0.1}, steps=9)
    train_run(tmp_path / "exp" / "lstm_lr0.002_seed2", 0.002, [0.1])
    done = cli("rates", "--recipe-dir", tmp_path, *RATES, "lstm", "conv_rnnt/local")
    assert done.output.split() == ["lstm", "0.002", "conv_rnnt/local", "0.004"]
    written = read_rates(tmp_path / "exp")
    assert written.models["lstm"].dev == pytest.approx({"0.002": 0.2, "0.004": 0.3})
    assert written.budget == Budget(steps=300, warmup_steps=10, seed=1, judged_by="ctc")
    tried(tmp_path, "contextnet", {"0.002": 0.5, "0.004": 0.3})
    cli("rates", "--recipe-dir", tmp_path, *RATES, "contextnet")
    models = read_rates(tmp_path / "exp").models
    assert set(models) == {"lstm", "conv_rnnt/local", "contextnet"}  # the same budget
    tried(tmp_path, "conformer", {"0.002": 0.5, "0.004": 0.3}, seed=7)
    cli("rates", "--recipe-dir", tmp_path, *RATES, "conformer")
    assert set(read_rates(tmp_path / "exp").models) == {"conformer"}  # another one


def test_a_model_may_take_the_rate_of_anothers_trials(tmp_path, cli):
    tried(tmp_path, "amortized_full", {"0.002": 0.3, "0.004": 0.2})
    tried(tmp_path, "amortized", {"0.002": 0.1, "0.004": 0.4})
    done = cli("rates", "--recipe-dir", tmp_path, *RATES, "amortized=amortized/full")
    assert done.output.split() == ["amortized", "0.004"]
    assert read_rates(tmp_path / "exp").models["amortized"].trial == "amortized/full"


def test_without_ctc_the_lowest_loss_decides(tmp_path, cli):
    train_run(tmp_path / "exp" / "lstm_lr0.002", 0.002, [0.9, 0.2, 0.4], curve="loss")
    train_run(tmp_path / "exp" / "lstm_lr0.004", 0.004, [0.9, 0.3, 0.3], curve="loss")
    done = cli("rates", "--recipe-dir", tmp_path, *RATES, "lstm")
    assert done.output.split() == ["lstm", "0.002"]


@pytest.mark.parametrize(
    "unequal", [{"steps": 2}, {"seed": 2}, {"warmup_steps": 5}, {"curve": "loss"}]
)
def test_unequal_budgets_are_refused(tmp_path, cli, unequal):
    tried(tmp_path, "lstm", {"0.002": 0.2, "0.004": 0.3})
    tried(tmp_path, "conv_rnnt", {"0.002": 0.2})
    with pytest.raises(DataError, match=r"conv_rnnt_lr0\.004: no finished training"):
        cli("rates", "--recipe-dir", tmp_path, *RATES, "lstm", "conv_rnnt")
    tried(tmp_path, "conv_rnnt", {"0.004": 0.2}, **unequal)
    with pytest.raises(DataError, match=r"conv_rnnt_lr0\.004 and .*lr0\.002 had different budgets"):
        cli("rates", "--recipe-dir", tmp_path, *RATES, "lstm", "conv_rnnt")


def test_a_trial_at_another_rate_than_its_name_says_is_refused(tmp_path, cli):
    train_run(tmp_path / "exp" / "lstm_lr0.002", 0.1, [0.5])
    with pytest.raises(DataError, match=r"lstm_lr0\.002: was trained at 0\.1, not 0\.002"):
        cli("rates", "--recipe-dir", tmp_path, "--rate", "0.002", "lstm")
