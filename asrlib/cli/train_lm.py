"""`python -m asrlib train-lm`: an n-gram model over the tokenizer's pieces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.errors import DataError
from asrlib.recipe import Recipe


@click.command("train-lm")
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A text with one sentence a line; may be repeated. Default: the train set's transcripts.",
)
@click.option("--order", default=3, show_default=True, help="Largest number of pieces, 1 to 4.")
@click.option(
    "--with-train",
    type=click.IntRange(min=0),
    default=0,
    help="Beside --text, also use the train set's transcripts, this many times.",
)
@click.option(
    "--judge", metavar="SET", help="Show the model's perplexity per word on this set, such as dev."
)
@click.option(
    "--name", required=True, help="The model is written to data/lm/NAME.arpa, with .arpa once."
)
@recipe_options
def command(
    recipe: Recipe,
    texts: tuple[Path, ...],
    order: int,
    with_train: int,
    judge: str | None,
    name: str,
) -> None:
    """Train an n-gram model over the pieces of the tokenizer, for decode.lm.path.

    The text is normalised as transcripts are, and split into the pieces of data/lang. With --order
    2 and without --text, the result is the model that `decode.lm.lodr_path` subtracts.
    """
    from asrlib.data.sampler import DataConfig
    from asrlib.lm.kneser_ney import train_ngrams, write_arpa
    from asrlib.lm.perplexity import perplexity
    from asrlib.text.tokenizer import UNKNOWN, Tokenizer

    name = name.removesuffix(".arpa")
    log_to(recipe.data / "log" / f"train_lm_{name}.log")
    # Read first: a set that is not there is told before the training.
    judged = [] if judge is None else list(_transcripts(recipe, judge, "choose another --judge"))
    tokenizer = Tokenizer.from_file(recipe.config(DataConfig, "data").tokens(recipe.data))
    pieces = list(tokenizer.text_pieces.values())
    lines = skipped = 0

    def sentences() -> Iterator[list[str]]:
        nonlocal lines, skipped
        for line in _lines(recipe, texts, with_train):
            lines += 1
            found = [tokenizer.piece(i) for i in tokenizer.encode(line)]
            if UNKNOWN in found:
                skipped += 1
            elif found:
                yield found
        if skipped and skipped == lines:
            raise DataError(
                f"all {lines} sentences have characters without a piece in the tokenizer",
                "give a text in the characters of the training transcripts",
            )

    table = train_ngrams(sentences(), order, pieces)
    path = recipe.data / "lm" / f"{name}.arpa"
    write_arpa(table, path)
    if skipped:
        logging.warning("%d sentences have characters without a piece and were left out", skipped)
    sizes = ", ".join(f"{len(probs):,}" for probs in table.log_probs)
    logging.info("%s: n-grams of each order: %s", path, sizes)
    if judge is not None:
        logging.info("perplexity on %s: %s", judge, perplexity(table, tokenizer, judged))


def _transcripts(recipe: Recipe, name: str, fix: str = "run stage 1 first") -> Iterator[str]:
    from asrlib.data.cuts import iter_cuts

    found = iter_cuts(recipe.data / name / "cuts.jsonl.gz", fix)
    yield from (cut.supervisions[0].text or "" for cut in found)


def _lines(recipe: Recipe, texts: tuple[Path, ...], with_train: int) -> Iterator[str]:
    from asrlib.text.normalise import normalise

    for _ in range(with_train if texts else 1):
        yield from _transcripts(recipe, "train")
    for path in texts:
        try:
            with open(path, encoding="utf-8") as f:
                yield from (normalise(line) for line in f)
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(
                f"{path}: cannot be read: {e}", "check the path; the text is UTF-8"
            ) from e
