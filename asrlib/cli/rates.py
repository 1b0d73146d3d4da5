"""Which learning rate each model is given: the one with the lowest loss on dev."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from asrlib.cli.common import Recipe, recipe_options
from asrlib.files import atomic_write


@click.command(name="rates")
@click.argument("models", nargs=-1, required=True)
@recipe_options
def command(recipe: Recipe, models: tuple[str, ...]) -> None:
    """Choose among the trainings exp/MODEL_lrRATE; print `MODEL RATE` lines.

    What was tried goes to exp/compare/rates.json.
    """
    from asrlib.scoring.comparison import RATES

    tried = {model: _tried(recipe.exp, model.replace("/", "_")) for model in models}
    _check_equal_budgets(tried)
    first = next(iter(next(iter(tried.values())).values()))
    content = {
        "steps": first["steps"],
        "seed": first["seed"],
        "models": {
            model: {
                "dev_loss": {rate: run["dev_loss"] for rate, run in runs.items()},
                "chosen": float(min(runs, key=lambda rate: runs[rate]["dev_loss"])),
            }
            for model, runs in tried.items()
        },
    }
    with atomic_write(recipe.exp / RATES) as f:
        json.dump(content, f, indent=1)
    for model in models:
        click.echo(f"{model} {content['models'][model]['chosen']:g}")


def _tried(exp: Path, name: str) -> dict[str, dict[str, Any]]:
    """Dev loss, steps and seed of each rate's finished training."""
    import yaml

    from asrlib.errors import DataError
    from asrlib.scoring.training_log import read_curves, run_facts

    runs = {}
    for directory in sorted(exp.glob(f"{name}_lr*")):
        if not (directory / "final.pt").exists():
            continue
        facts = run_facts(read_curves(directory))
        train = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))["train"]
        runs[directory.name.removeprefix(f"{name}_lr")] = {
            "dev_loss": facts["dev_loss"],
            "steps": int(facts["steps"]),
            "seed": train["seed"],
        }
    if not runs:
        raise DataError(
            f"{exp}/{name}_lr*: no finished training at any rate",
            "run steps/compare_models.sh, which makes them",
        )
    return runs


def _check_equal_budgets(tried: dict[str, dict[str, dict[str, Any]]]) -> None:
    """See that every model was tried at the same rates for as many steps.

    Raises:
        DataError: names the models that differ.
    """
    from asrlib.errors import DataError

    budgets = {
        model: sorted((rate, run["steps"], run["seed"]) for rate, run in runs.items())
        for model, runs in tried.items()
    }
    first = next(iter(budgets))
    for model, budget in budgets.items():
        if budget != budgets[first]:
            raise DataError(
                f"{model} and {first} were tried with different budgets (rate, steps, seed): "
                f"{budget} and {budgets[first]}",
                "remove their exp/*_lr* directories and run steps/compare_models.sh again",
            )
