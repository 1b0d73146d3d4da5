"""`python -m asrlib tokens`: stage 3, train the sentencepiece model."""

from __future__ import annotations

import logging

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.data.cuts import iter_cuts
from asrlib.data.sampler import DataConfig
from asrlib.files import atomic_write
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp
from asrlib.text import Tokenizer, TokensConfig, train_tokenizer
from asrlib.text.tokenizer import TOKENS_VERSION


@click.command("tokens")
@recipe_options
def command(recipe: Recipe) -> None:
    """Train the sentencepiece model on the train set's transcripts, in data/lang (data.lang)."""
    log_to(recipe.data / "log" / "tokens.log")
    config = recipe.config(TokensConfig, "tokens")
    cuts = recipe.data / "train" / "cuts.jsonl.gz"
    model = recipe.config(DataConfig, "data").tokens(recipe.data)
    table = model.with_name("tokens.txt")
    stamp = Stamp(
        model.with_name("stamp"), [cuts], config, outputs=[model, table], version=TOKENS_VERSION
    )
    if not recipe.force and stamp.is_current():
        logging.info("tokens: up to date")
        return
    found = iter_cuts(cuts, "run stage 1 first, with --force if it was cut short")
    texts = (cut.supervisions[0].text or "" for cut in found)
    with stamp.making():
        train_tokenizer(texts, config, model)
        tokenizer = Tokenizer.from_file(model)
        with atomic_write(table) as f:
            f.writelines(f"{tokenizer.piece(i)} {i}\n" for i in range(tokenizer.vocab_size))
    logging.info("tokens: %d pieces -> %s", tokenizer.vocab_size, model)
