"""Which learning rate each model is given."""

from __future__ import annotations

import click

from asrlib.cli.common import recipe_options
from asrlib.recipe import Recipe


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
    from asrlib.experiments.rates import choose_rates

    pairs = (argument.partition("=") for argument in models)
    trials = {model: trial or model for model, _, trial in pairs}
    for model, tried in choose_rates(recipe.exp, trials, rates).items():
        click.echo(f"{model} {tried.chosen:g}")
