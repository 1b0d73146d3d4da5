"""The sentencepiece tokenizer: transcripts to token ids and back, ids with times to words."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from asrlib.config import configclass
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.files import atomic_write
from asrlib.text.words import TimedWord

TOKENS_VERSION = 1  # raised when the output of `tokens` changes; see asrlib/stamps.py
BLANK = "<blk>"
UNKNOWN = "<unk>"
# Symbols of multi-talker transcripts: start and end of a talker's turn, change of channel.
TALKER_SYMBOLS = ("<sot>", "<eot>", "<cot>")
SPECIALS = (BLANK, UNKNOWN, *TALKER_SYMBOLS)
# `SPECIALS` are the first pieces of every `Tokenizer`, so their ids are always the same.
BLANK_ID = SPECIALS.index(BLANK)
WORD_MARK = "\u2581"
_OWN = "\ue000"  # ends the pieces of `own_words`; a private character, which no transcript has


@configclass
class TokensConfig:
    """Settings of the tokenizer.

    Attributes:
        vocab_size: number of pieces with the five special ones; fewer if the text yields fewer.
        model_type: sentencepiece's algorithm that chooses the pieces.
        character_coverage: fraction of the text's characters that get a piece; others are <unk>.
        own_words: words that get a piece of their own, which is part of no other word: for example
            the names of letters and digits, which sound other than the same letters in a word. The
            text of the pieces is that of the words, so nothing else changes.
        sources: column of data/speakers.tsv, such as `corpus`: each of its values in the training
            set gets a symbol, which the predictor reads first in place of blank; "" for none.
    """

    vocab_size: int = 500
    model_type: Literal["unigram", "bpe", "char"] = "unigram"
    character_coverage: float = 1.0
    own_words: tuple[str, ...] = ()
    sources: str = ""


class Tokenizer:
    """A trained sentencepiece model, whose first pieces are `SPECIALS`.

    Args:
        model: serialised sentencepiece model.

    Raises:
        CheckpointError: `model` is not a sentencepiece model, or has other special symbols.
    """

    def __init__(self, model: bytes) -> None:
        import sentencepiece  # here, so that text alone is normalised without it

        self.model_bytes = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            specials = [self._processor.IdToPiece(i) for i in range(len(SPECIALS))]
        except (RuntimeError, IndexError) as e:
            raise CheckpointError(
                f"token model: not a sentencepiece model: {e}", "run stage 3 again with --force"
            ) from e
        if tuple(specials) != SPECIALS:
            raise CheckpointError(
                f"token model: begins with {specials}, not {list(SPECIALS)}",
                "train it with `python -m asrlib tokens`",
            )
        pieces = [self._processor.IdToPiece(i) for i in range(self._processor.GetPieceSize())]
        self._own = _pattern([p[1:-1] for p in pieces if p.endswith(_OWN)])
        named = [
            (_source_of(piece), i) for i, piece in enumerate(pieces) if self._processor.IsControl(i)
        ]
        self.source_column = next((found[0] for found, _ in named if found), "")
        self._sources = {found[1]: i for found, i in named if found}

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Load a model file, such as `bpe.model`.

        Raises:
            CheckpointError: the file is missing or not such a model.
        """
        try:
            return cls(Path(path).read_bytes())
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no token model", "run stage 3 first") from None

    @classmethod
    def from_bytes(cls, model: bytes) -> Tokenizer:
        """Make a tokenizer from the bytes of `model_bytes`, for example from a checkpoint."""
        return cls(model)

    def __reduce__(self) -> tuple:
        return Tokenizer, (self.model_bytes,)

    @property
    def vocab_size(self) -> int:
        return self._processor.GetPieceSize()

    @property
    def sources(self) -> tuple[str, ...]:
        """Values of `source_column` that have a symbol; empty without `tokens.sources`."""
        return tuple(self._sources)

    @property
    def text_pieces(self) -> dict[int, str]:
        """The pieces that make up texts, by id: all but `SPECIALS` and symbols of sources."""
        ids = (i for i in range(len(SPECIALS), self.vocab_size) if not self._processor.IsControl(i))
        return {i: self.piece(i) for i in ids}

    def first_symbol(self, source: str | None) -> int:
        """Return the predictor's first symbol: that of a source, or blank if it is not known.

        Raises:
            ConfigError: the source has no symbol.
        """
        if source is None:
            return BLANK_ID
        if source not in self._sources:
            known = ", ".join(self._sources)
            raise ConfigError(
                f"source {source}: the model's tokens have no symbol for it",
                f"choose one of {known}, or null if the source is not known"
                if known
                else "leave out the source, or train tokens and model with tokens.sources",
            )
        return self._sources[source]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a normalised transcript; unknown characters give <unk>."""
        return self._processor.EncodeAsIds(_marked(text, self._own))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; special symbols other than <unk> give no text."""
        return self._processor.DecodeIds([int(i) for i in ids]).replace(_OWN, "")

    def piece(self, token_id: int) -> str:
        """Return the piece as sentencepiece writes it, with the mark of a word's start."""
        return self._processor.IdToPiece(int(token_id))

    def word_spans(self, ids: Sequence[int]) -> list[list[int]]:
        """Return the positions in `ids` of each word's tokens; tokens without text have none."""
        spans: list[list[int]] = []
        for i, token_id in enumerate(ids):
            if token_id == BLANK_ID or self._processor.IsControl(int(token_id)):
                continue
            if not spans or self.piece(token_id).startswith(WORD_MARK):
                spans.append([i])
            else:
                spans[-1].append(i)
        return [span for span in spans if self.decode([ids[i] for i in span]).strip()]

    def words(self, ids: Sequence[int], times: Sequence[float]) -> list[TimedWord]:
        """Group tokens into words with times.

        Args:
            ids: token ids.
            times: time of each token, seconds.

        Returns:
            Words with the times of their first and last tokens, seconds.
        """
        if len(ids) != len(times):
            raise ValueError(f"{len(ids)} ids, but {len(times)} times")
        return [
            TimedWord(self.decode([ids[i] for i in span]).strip(), times[span[0]], times[span[-1]])
            for span in self.word_spans(ids)
        ]


def train_tokenizer(
    texts: Iterable[str], config: TokensConfig, out: Path, sources: Collection[str] = ()
) -> None:
    """Train a model on normalised transcripts, and write it to `out`.

    The order of the texts does not change the model. If the text yields fewer pieces than
    `vocab_size`, the vocabulary is smaller.

    Args:
        texts: the transcripts.
        config: settings of the tokenizer.
        out: the file of the model.
        sources: values of the column `config.sources` that get a symbol.

    Raises:
        DataError: there is no text.
        ConfigError: `tokens.vocab_size` is smaller than the characters require, or one of
            `tokens.own_words` is no word.
    """
    lines = sorted(text for text in texts if text.strip())
    if not lines:
        raise DataError(f"{out}: no text to train on", "check the transcripts of the train set")
    for word in config.own_words:
        if word.split() != [word]:
            raise ConfigError(f"tokens.own_words: {word!r} is no single word", "give single words")
    own = _pattern(config.own_words)
    lines = [_marked(line, own) for line in lines]
    others = [" ".join(w for w in line.split() if not w.endswith(_OWN)) for line in lines]
    named = [f"<{config.sources}={source}>" for source in sorted(sources)]
    least = len(SPECIALS) + len(config.own_words) + len(named)
    least += _num_characters(others, config.character_coverage)
    if config.vocab_size < least:
        raise ConfigError(
            f"tokens.vocab_size: {config.vocab_size} is too small for this text's characters",
            f"set tokens.vocab_size to at least {least}",
        )
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=config.vocab_size,
        model_type=config.model_type,
        character_coverage=config.character_coverage,
        hard_vocab_limit=False,
        unk_id=SPECIALS.index(UNKNOWN),
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        unk_piece=UNKNOWN,
        unk_surface=UNKNOWN,
        control_symbols=[BLANK, *TALKER_SYMBOLS, *named],
        user_defined_symbols=[f"{WORD_MARK}{word}{_OWN}" for word in config.own_words],
        normalization_rule_name="identity",  # texts are normalised, and must decode unchanged
        shuffle_input_sentence=False,
        max_sentence_length=1 << 20,
        num_threads=1,  # the order of float sums, and so the model, depends on it
        minloglevel=2,
    )
    with atomic_write(out, "wb") as f:
        f.write(model.getvalue())


def _source_of(piece: str) -> tuple[str, str] | None:
    """Return the column and the value of a source's symbol; None of other pieces."""
    column, equals, value = piece[1:-1].partition("=")
    return (column, value) if equals and piece[0] + piece[-1] == "<>" and column else None


def _pattern(words: Iterable[str]) -> re.Pattern[str] | None:
    """Match the words, each between spaces; None without words."""
    either = "|".join(map(re.escape, words))
    return re.compile(rf"(?<!\S)(?:{either})(?!\S)") if either else None


def _marked(text: str, own: re.Pattern[str] | None) -> str:
    """Mark the words that have a piece of their own."""
    return text if own is None else own.sub(lambda found: found[0] + _OWN, text)


def _num_characters(lines: Sequence[str], coverage: float) -> int:
    """Count the characters and word mark that need a piece, by sentencepiece's own rule."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(WORD_MARK + line.replace(" ", WORD_MARK))
    total, covered = counts.total(), 0
    for number, (_, count) in enumerate(counts.most_common()):
        if covered / total >= coverage:
            return number
        covered += count
    return len(counts)
