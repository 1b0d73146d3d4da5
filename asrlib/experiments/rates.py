"""Which learning rate each model is given: the one whose encoder has learned most, on dev.

How much that is the CTC loss at the end of a trial tells. The transducer's loss tells less of so
short a training: it falls most by what the predictor learns of the texts, which is the same in all
models and favours high rates. Both the budget and this choice are ours.

An amortized model takes the rate of its full model's trials: its cost comes so early in so short a
training that work is given up before it is worth anything, and trials compare little else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asrlib.errors import DataError
from asrlib.experiments.runs import run_name
from asrlib.experiments.training_log import read_curves, run_facts, settings_of
from asrlib.json_record import JsonRecord

RATES = Path("compare") / "rates.json"  # below exp/
TAG = "cmp"  # of the models compared, in their directories' names
_AGAIN = "run steps/compare_models.sh again"


@dataclass(frozen=True)
class Budget(JsonRecord):
    """What a trial was given, and the loss on dev that it is judged by.

    Attributes:
        judged_by: `ctc` at the end, or `loss` at its best where models have no CTC output.
    """

    steps: int
    warmup_steps: int
    seed: int
    judged_by: Literal["ctc", "loss"]


@dataclass(frozen=True)
class Tried(JsonRecord):
    """The trials that a model's rate was chosen by.

    Attributes:
        trial: the model that was tried: itself, or another one.
        dev: loss on dev by learning rate, as it was written.
        chosen: the rate that the model is given.
    """

    trial: str
    dev: dict[str, float]
    chosen: float


@dataclass(frozen=True)
class Rates(JsonRecord):
    """rates.json: what was tried of each model, all at the same expense."""

    budget: Budget
    models: dict[str, Tried]


def read_rates(exp: Path) -> Rates:
    """What `choose_rates` left.

    Raises:
        DataError: the file is missing, broken, or of another version.
    """
    return Rates.from_file(exp / RATES, _AGAIN)


def choose_rates(exp: Path, trials: Mapping[str, str], rates: Sequence[str]) -> dict[str, Tried]:
    """Choose among the trainings exp/TRIAL_lrRATE; write them to `RATES`, beside other models that
    had the same budget.

    Args:
        trials: by model, the one whose trials its rate is chosen by.
        rates: those that each was tried at.

    Raises:
        DataError: a training is not finished, was at another rate, or had another budget.
    """
    chosen: dict[str, Tried] = {}
    budgets: dict[Path, Budget] = {}
    for model, trial in trials.items():
        losses = {}
        for rate in rates:
            directory = exp / run_name(trial, f"lr{rate}")
            losses[rate], budgets[directory] = _tried(directory, float(rate))
        chosen[model] = Tried(trial, losses, float(min(rates, key=losses.__getitem__)))
    first, budget = next(iter(budgets.items()))
    for directory, other in budgets.items():
        if other != budget:
            raise DataError(
                f"{directory} and {first} had different budgets: {other} and {budget}",
                f"remove the one that is wrong and {_AGAIN}",
            )
    models = chosen
    if (exp / RATES).exists():
        before = Rates.from_file(exp / RATES, "remove it")
        if before.budget == budget:
            models = before.models | chosen
    Rates(budget, models).to_file(exp / RATES)
    return chosen


def _tried(directory: Path, rate: float) -> tuple[float, Budget]:
    """What a finished training is judged by, and its budget.

    Raises:
        DataError: it is not finished, was at another rate, or left no curves.
    """
    if not (directory / "final.pt").exists():
        raise DataError(
            f"{directory}: no finished training",
            "run steps/compare_models.sh, which makes it",
        )
    settings = settings_of(directory, "train")
    if settings["peak_lr"] != rate:
        raise DataError(
            f"{directory}: was trained at {settings['peak_lr']}, not {rate}",
            f"remove it and {_AGAIN}",
        )
    facts = run_facts(read_curves(directory))
    judged_by = "loss" if facts.dev_ctc is None else "ctc"
    loss = facts.dev_loss if facts.dev_ctc is None else facts.dev_ctc
    if facts.steps is None or loss is None:
        raise DataError(f"{directory}: its curves hold no loss on dev", f"remove it and {_AGAIN}")
    return loss, Budget(facts.steps, settings["warmup_steps"], settings["seed"], judged_by)
