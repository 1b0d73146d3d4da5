"""What modified beam search adds to the transducer's scores: language models and hotwords."""

from __future__ import annotations

from pathlib import Path

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.lm.arpa import read_arpa
from asrlib.lm.hotwords import HotwordScorer, read_hotwords, read_phrases
from asrlib.lm.scorer import NgramScorer, SumScorer, TokenScorer
from asrlib.numbers import NonNegative, PositiveFloat
from asrlib.text.tokenizer import SPECIALS, UNKNOWN, Tokenizer

_UNKNOWN_ID = SPECIALS.index(UNKNOWN)


@configclass
class LmConfig:
    """Shallow fusion with an n-gram model, and the subtraction of a low-order one (LODR).

    Attributes:
        path: ARPA file over the tokenizer's pieces; empty for none.
        scale: weight of its natural-log probabilities.
        lodr_path: ARPA file of a model of the training transcripts, usually of order 2, which
            stands for what the transducer has learned of the language (arXiv 2203.16776).
        lodr_scale: weight with which its natural-log probabilities are subtracted.
    """

    path: str = ""
    scale: NonNegative = 0.3
    lodr_path: str = ""
    lodr_scale: NonNegative = 0.1

    @property
    def in_use(self) -> bool:
        return bool(self.path or self.lodr_path)


@configclass
class HotwordsConfig:
    """Phrases that the search favours.

    Attributes:
        path: file with one phrase a line, optionally followed by a tab and its own boost.
        phrases: further phrases.
        boost: nats that each piece of a phrase adds.
    """

    path: str = ""
    phrases: tuple[str, ...] = ()
    boost: PositiveFloat = 0.5

    @property
    def in_use(self) -> bool:
        return bool(self.path or self.phrases)


def build_scorer(
    tokenizer: Tokenizer, lm: LmConfig, hotwords: HotwordsConfig
) -> TokenScorer | None:
    """Build the scorer of the settings; None if they name neither a model nor a phrase.

    Raises:
        ConfigError: the internal language model is subtracted, but none is added.
        DataError: a file is missing, broken or made for other pieces.
    """
    if lm.lodr_path and not lm.path:
        raise ConfigError(
            "decode.lm.lodr_path: a model is subtracted, but decode.lm.path adds none",
            "give decode.lm.path too",
        )
    pieces = [tokenizer.piece(i) for i in range(tokenizer.vocab_size)]
    # Blank and the symbols of turns and sources add nothing and leave histories as they are.
    text = tokenizer.text_pieces
    ignored = [i for i in range(len(pieces)) if i not in text and i != _UNKNOWN_ID]
    scorers: list[TokenScorer] = []
    for path, scale in ((lm.path, lm.scale), (lm.lodr_path, -lm.lodr_scale)):
        if path and scale:  # with weight 0, decoding equals decoding without the model
            table = read_arpa(Path(path), list(text.values()))
            scorers.append(NgramScorer(table, pieces, scale, ignored))
    if hotwords.in_use:
        boost = hotwords.boost
        phrases = read_hotwords(Path(hotwords.path), tokenizer, boost) if hotwords.path else {}
        if hotwords.phrases:
            further = read_phrases(hotwords.phrases, "decode.hotwords.phrases", tokenizer, boost)
            phrases = further | phrases  # a phrase of both keeps its boost in the file
        scorers.append(HotwordScorer(phrases, tokenizer.vocab_size, ignored))
    if not scorers:
        return None
    return scorers[0] if len(scorers) == 1 else SumScorer(scorers)
