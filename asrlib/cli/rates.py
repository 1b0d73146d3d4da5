"""Which learning rate each model is given: the one whose encoder has learned most, on dev.

How much that is the CTC loss at the end of a trial tells. The transducer's loss tells less of so
short a training: it falls most by what the predictor learns of the texts, which is the same in all
models and favours high rates. Both the budget and this choice are ours.

An amortized model takes the rate of its full model's trials: its cost comes so early in so short a
training that work is given up before it is worth anything, and trials compare little else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

from asrlib.cli.common import recipe_options
from asrlib.files import atomic_write
from asrlib.recipe import Recipe


@dataclass(frozen=True)
class Budget:
    """What a trial was given, and the loss on dev that it is judged by."""

    steps: int
    warmup_steps: int
    seed: int
    judged_by: str  # "ctc" at the end, or "loss" at its best where models have no CTC output


@click.command(name="rates")
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--rate",
    "rates",
    multiple=True,
    required=True,
    help="A value of train.peak_lr that every model was tried at; may be given again.",
)
@recipe_options
def command(recipe: Recipe, models: tuple[str, ...], rates: tuple[str, ...]) -> None:
    """Choose among the trainings exp/MODEL_lrRATE; print `MODEL RATE` lines.

    MODEL=OTHER: a model that is given the rate of another one's trials. What was tried goes to
    exp/compare/rates.json, beside other models that had the same budget.
    """
    from asrlib.errors import DataError
    from asrlib.experiments.runs import run_name
    from asrlib.report.encoder_comparison import RATES
    from asrlib.scoring.records import read_json

    chosen, budgets = {}, {}
    for argument in models:
        model, _, trial = argument.partition("=")
        trial = trial or model
        losses = {}
        for rate in rates:
            directory = recipe.exp / run_name(trial, f"lr{rate}")
            losses[rate], budgets[directory] = _tried(directory, float(rate))
        best = min(rates, key=losses.__getitem__)
        chosen[model] = {"trial": trial, "dev": losses, "chosen": float(best)}
    first, budget = next(iter(budgets.items()))
    for directory, other in budgets.items():
        if other != budget:
            raise DataError(
                f"{directory} and {first} had different budgets: {other} and {budget}",
                "remove the one that is wrong and run steps/compare_models.sh again",
            )
    models_tried = dict(chosen)
    if (recipe.exp / RATES).exists():  # other models, tried before at the same expense, stay
        before = read_json(recipe.exp / RATES, "remove it")
        if before.get("budget") == vars(budget):
            models_tried = before["models"] | chosen
    with atomic_write(recipe.exp / RATES) as f:
        json.dump({"budget": vars(budget), "models": models_tried}, f, indent=1)
    for model, tried in chosen.items():
        click.echo(f"{model} {tried['chosen']:g}")


def _tried(directory: Path, rate: float) -> tuple[float, Budget]:
    """What a finished training is judged by, and its budget.

    Raises:
        DataError: it is not finished, or was at another rate.
    """
    from asrlib.errors import DataError
    from asrlib.experiments.training_log import read_curves, run_facts, settings_of

    if not (directory / "final.pt").exists():
        raise DataError(
            f"{directory}: no finished training",
            "run steps/compare_models.sh, which makes it",
        )
    settings = settings_of(directory, "train")
    if settings["peak_lr"] != rate:
        raise DataError(
            f"{directory}: was trained at {settings['peak_lr']}, not {rate}",
            "remove it and run steps/compare_models.sh again",
        )
    facts = run_facts(read_curves(directory))
    judged_by = "ctc" if "dev_ctc" in facts else "loss"
    budget = Budget(int(facts["steps"]), settings["warmup_steps"], settings["seed"], judged_by)
    return facts[f"dev_{judged_by}"], budget
