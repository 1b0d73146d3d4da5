"""The sentencepiece model: transcripts to token ids and back, ids with times to words."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from asrlib.config import configclass
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.files import atomic_write
from asrlib.text.words import TimedWord

TOKENS_VERSION = 1  # raised when the output of `tokens` changes; see asrlib/stamps.py
BLANK = "<blk>"
UNKNOWN = "<unk>"
# Start and end of a talker's turn, change of channel: for multi-talker transcripts.
TALKER_SYMBOLS = ("<sot>", "<eot>", "<cot>")
SPECIALS = (BLANK, UNKNOWN, *TALKER_SYMBOLS)
# Every `Tokenizer` begins with `SPECIALS`, or cannot be made: the ids hold for all.
BLANK_ID = SPECIALS.index(BLANK)
WORD_MARK = "\u2581"


@configclass
class TokensConfig:
    """Attributes:
    vocab_size: pieces, the five special ones included; fewer where the text has not as many.
    model_type: sentencepiece's way of choosing pieces.
    character_coverage: fraction of the text's characters that get a piece; the rest is <unk>.
    """

    vocab_size: int = 500
    model_type: Literal["unigram", "bpe", "char"] = "unigram"
    character_coverage: float = 1.0


class Tokenizer:
    """A trained sentencepiece model, whose first pieces are `SPECIALS`.

    Args:
        model: the serialised model.

    Raises:
        CheckpointError: not a sentencepiece model, or one with other special symbols.
    """

    def __init__(self, model: bytes) -> None:
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

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Load `bpe.model`.

        Raises:
            CheckpointError: missing, or no such model.
        """
        try:
            return cls(Path(path).read_bytes())
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no token model", "run stage 3 first") from None

    @classmethod
    def from_bytes(cls, model: bytes) -> Tokenizer:
        """Load what `model_bytes` gave, for example out of a checkpoint."""
        return cls(model)

    def __reduce__(self) -> tuple:
        return Tokenizer, (self.model_bytes,)

    @property
    def vocab_size(self) -> int:
        return self._processor.GetPieceSize()

    def encode(self, text: str) -> list[int]:
        """Token ids of a normalised transcript; characters never seen give <unk>."""
        return self._processor.EncodeAsIds(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; special symbols other than <unk> are silent."""
        return self._processor.DecodeIds([int(i) for i in ids])

    def piece(self, token_id: int) -> str:
        """The piece as sentencepiece writes it, with the mark of a word's start."""
        return self._processor.IdToPiece(int(token_id))

    def words(self, ids: Sequence[int], times: Sequence[float]) -> list[TimedWord]:
        """Group tokens into words.

        Args:
            ids: token ids.
            times: seconds, one for each id.

        Returns:
            (word, time of its first token, time of its last).
        """
        groups: list[tuple[list[int], float, float]] = []
        for token_id, time in zip(ids, times, strict=True):
            if token_id == BLANK_ID or self._processor.IsControl(int(token_id)):
                continue
            if not groups or self.piece(token_id).startswith(WORD_MARK):
                groups.append(([token_id], time, time))
            else:
                members, start, _ = groups[-1]
                groups[-1] = (members + [token_id], start, time)
        words = [TimedWord(self.decode(members).strip(), s, e) for members, s, e in groups]
        return [word for word in words if word.word]


def train_tokenizer(texts: Iterable[str], config: TokensConfig, out: Path) -> None:
    """Train a model on normalised transcripts, and write it to `out`.

    The same texts in any order give the same model. A vocabulary larger than the text can
    fill comes out smaller.

    Raises:
        DataError: no text at all.
        ConfigError: `tokens.vocab_size` is below what the characters need.
    """
    lines = sorted(text for text in texts if text.strip())
    if not lines:
        raise DataError(f"{out}: no text to train on", "check the transcripts of the train set")
    least = len(SPECIALS) + _num_characters(lines, config.character_coverage)
    if config.vocab_size < least:
        raise ConfigError(
            f"tokens.vocab_size: {config.vocab_size} is too small for this text's characters",
            f"set tokens.vocab_size to at least {least}",
        )
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
        control_symbols=[BLANK, *TALKER_SYMBOLS],
        normalization_rule_name="identity",  # texts are normalised, and must round-trip
        shuffle_input_sentence=False,
        max_sentence_length=1 << 20,
        num_threads=1,  # the order of float sums, and so the model, depends on it
        minloglevel=2,
    )
    with atomic_write(out, "wb") as f:
        f.write(model.getvalue())


def _num_characters(lines: Sequence[str], coverage: float) -> int:
    """Characters, the word mark among them, that need a piece: sentencepiece's own rule."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(WORD_MARK + line.replace(" ", WORD_MARK))
    total, covered = counts.total(), 0
    for number, (_, count) in enumerate(counts.most_common()):
        if covered / total >= coverage:
            return number
        covered += count
    return len(counts)
