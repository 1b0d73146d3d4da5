"""`python -m asrlib sizes`: compare the numbers of parameters of models."""

from __future__ import annotations

import click

from asrlib.cli.common import recipe_options
from asrlib.recipe import Recipe


@click.command(name="sizes")
@click.argument("models", nargs=-1, required=True)
@click.option("--within", type=float, help="Fail if sizes differ by more, e.g. 0.05 for 5 %.")
@click.option("--talkers", type=int, help="Fail if a model has another number of talkers.")
@recipe_options
def command(
    recipe: Recipe, models: tuple[str, ...], within: float | None, talkers: int | None
) -> None:
    """Print the number of parameters of MODELS with the recipe's tokens.

    Parameters that only training needs are shown, but not counted in the total.
    """
    from asrlib.data.sampler import DataConfig
    from asrlib.errors import ConfigError
    from asrlib.features.fbank import FbankConfig
    from asrlib.text import Tokenizer
    from asrlib.transducer import Transducer, TransducerConfig

    tokenizer = Tokenizer.from_file(recipe.config(DataConfig, "data").tokens(recipe.data))
    bins = recipe.config(FbankConfig, "features").num_bins
    sizes = {}
    for name in models:
        recipe.task(name, [TransducerConfig.task])
        config = recipe.config(TransducerConfig, "model", name)
        model = Transducer(config, bins, tokenizer.vocab_size)
        if talkers not in (None, model.encoder.num_channels):
            raise ConfigError(
                f"{name}: the model knows {model.encoder.num_channels} talker(s), not {talkers}",
                "choose a model with as many output channels, such as sts for two talkers",
            )
        counts = model.parameter_counts()
        sizes[name] = sum(counts.values()) - counts["training_only"]
        parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        click.echo(f"{name:<24} {sizes[name]:>12,}  ({parts})")
    smallest, largest = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    ratio = sizes[largest] / sizes[smallest]
    if within is not None and ratio > 1 + within:
        raise ConfigError(
            f"{largest} is {100 * (ratio - 1):.1f} % larger than {smallest}: more than "
            f"{100 * within:g} %",
            f"change a width in {recipe.dir}/conf/model/, or give a larger --within",
        )
