"""`python -m asrlib tokens`: stage 3, train the sentencepiece model."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.data.cuts import iter_cuts
from asrlib.data.raw import TRAIN_SET
from asrlib.data.sampler import DataConfig
from asrlib.files import atomic_write
from asrlib.recipe import Recipe
from asrlib.scoring.records import speaker_column
from asrlib.stamps import Stamp
from asrlib.text import Tokenizer, TokensConfig, train_tokenizer
from asrlib.text.tokenizer import TOKENS_VERSION

_AGAIN = "run stage 1 first, with --force if it was cut short"


@click.command("tokens")
@stage_options
def command(recipe: Recipe) -> None:
    """Train the sentencepiece model on the train set's transcripts, in data/lang (data.lang)."""
    log_to(recipe.data / "log" / "tokens.log")
    config = recipe.config(TokensConfig, "tokens")
    cuts = recipe.data / "train" / "cuts.jsonl.gz"
    model = recipe.config(DataConfig, "data").tokens(recipe.data)
    table = model.with_name("tokens.txt")
    speakers = recipe.data / "speakers.tsv"
    read = [cuts, speakers] if config.sources else [cuts]
    stamp = Stamp(
        model.with_name("stamp"), read, config, outputs=[model, table], version=TOKENS_VERSION
    )
    if not recipe.force and stamp.is_current():
        logging.info("tokens: up to date")
        return
    found = iter_cuts(cuts, _AGAIN)
    texts = (cut.supervisions[0].text or "" for cut in found)
    with stamp.making():
        train_tokenizer(texts, config, model, _sources(cuts, speakers, config))
        tokenizer = Tokenizer.from_file(model)
        with atomic_write(table) as f:
            f.writelines(f"{tokenizer.piece(i)} {i}\n" for i in range(tokenizer.vocab_size))
    logging.info("tokens: %d pieces -> %s", tokenizer.vocab_size, model)


def _sources(cuts: Path, speakers: Path, config: TokensConfig) -> set[str]:
    """Return the values of the column `config.sources` that training speakers have."""
    if not config.sources:
        return set()
    told = speaker_column(speakers, TRAIN_SET, config.sources, "tokens.sources")
    names = {cut.supervisions[0].speaker or "" for cut in iter_cuts(cuts, _AGAIN)}
    return {told[name] for name in names if told.get(name)}
