"""Align a set with a model's CTC layer: words with times, for people and for measuring latency.

The model is a streaming one. Its CTC layer emits a token only after it has heard enough of it, so
that the times lie after those in the audio; on a set that has word times of its own, `Lag` says by
how much.

Shapes: N samples, T input frames, F features, S output frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut
from lhotse.supervision import AlignmentItem

from asrlib.errors import CheckpointError, DataError
from asrlib.features.fbank import FbankExtractor
from asrlib.streaming.batch import chunks_of, spoken_words
from asrlib.streaming.result import StreamClock
from asrlib.streaming.stream import AudioFront
from asrlib.text.tokenizer import SPECIALS, UNKNOWN
from asrlib.text.words import TimedWord
from asrlib.transducer.ctc_alignment import align_tokens, fewest_frames
from asrlib.transducer.model_io import load_transducer

_PIECE_SECONDS = 10.0
_HIDDEN = "***"  # for the words of private utterances, which are written to no file


class CtcAligner:
    """Aligns transcripts with the CTC layer of a model.

    Args:
        checkpoint: the model's final.pt.
        lag: seconds that are subtracted from all times.

    Raises:
        CheckpointError: the file cannot be read, or its model has no CTC layer or several talkers.
    """

    def __init__(self, checkpoint: Path, lag: float = 0.0) -> None:
        self.model, self.tokenizer, fbank, _ = load_transducer(checkpoint)
        encoder = self.model.encoder
        if self.model.ctc_output is None:
            raise CheckpointError(
                f"{checkpoint}: the model has no CTC layer, which the alignment needs",
                "train a model with model.loss.ctc_scale above 0, for example 0.3",
            )
        if encoder.num_channels > 1:
            raise CheckpointError(
                f"{checkpoint}: a model of {encoder.num_channels} talkers cannot align one text",
                "choose a model of one talker",
            )
        self.fbank, self.lag = FbankExtractor(fbank), lag
        self.clock = StreamClock.of(fbank, encoder.subsampling, encoder.lookahead)

    @torch.no_grad()
    def log_probs(self, cut: Cut) -> np.ndarray:
        """Return the CTC layer's natural-log probabilities (S, V) of a cut.

        Raises:
            DataError: the audio cannot be read.
        """
        front = AudioFront(self.fbank, self.clock, tail_padding=0.0)
        pieces = [
            x_TF
            for samples_N in chunks_of(cut, _PIECE_SECONDS)
            for x_TF in front.accept(samples_N, cut.sampling_rate)
        ]
        x_TF = torch.cat([*pieces, *front.finish()])
        h_1SD, _ = self.model.encoder(x_TF[None], torch.tensor([len(x_TF)]))
        assert self.model.ctc_output is not None
        return self.model.ctc_output(h_1SD[0]).log_softmax(-1).numpy()

    def align(self, cut: Cut) -> list[TimedWord]:
        """Return the words of a cut with start and end, in seconds from the cut's start.

        A word begins with the first frame of its first token and ends with the last frame of its
        last one.

        Raises:
            DataError: the transcript is empty, has characters without a piece, or needs more
                frames than there are; or the audio cannot be read. The message names the cut.
        """
        text = " ".join(s.text for s in cut.supervisions if s.text)
        tokens = self.tokenizer.encode(text)
        if not tokens:
            raise DataError(f"cut {cut.id}: its transcript is empty", "leave it out of the set")
        if SPECIALS.index(UNKNOWN) in tokens:
            raise DataError(
                f"cut {cut.id}: its transcript has characters without a piece in the tokenizer",
                "normalise the transcript, or align with a model that knows them",
            )
        log_probs_SV = self.log_probs(cut)
        if len(log_probs_SV) < fewest_frames(tokens):
            raise DataError(
                f"cut {cut.id}: its transcript of {len(tokens)} pieces needs "
                f"{fewest_frames(tokens)} frames, but the audio has {len(log_probs_SV)}",
                "check that the transcript belongs to this audio",
            )
        spans, _ = align_tokens(log_probs_SV, tokens)
        words = []
        for word in self.tokenizer.word_spans(tokens):
            start, end = spans[word[0]].start, spans[word[-1]].end
            told = self.tokenizer.decode([tokens[i] for i in word]).strip()
            words.append(TimedWord(told, self._time(start, cut), self._time(end, cut)))
        return words

    def _time(self, frame: int, cut: Cut) -> float:
        return min(max(0.0, frame * self.clock.frame - self.lag), cut.duration)


@dataclass(frozen=True)
class AlignedCut:
    """A cut with its words' times; `failure` says why it has none."""

    cut: Cut
    words: tuple[TimedWord, ...] = ()
    failure: DataError | None = None

    @property
    def shown(self) -> tuple[TimedWord, ...]:
        """The words as files may show them: without those of private utterances."""
        if any((s.custom or {}).get("private") for s in self.cut.supervisions):
            return tuple(word._replace(word=_HIDDEN) for word in self.words)
        return self.words

    def with_alignment(self) -> Cut:
        """Return the cut with the words as its supervision's alignment.

        Raises:
            DataError: the cut has several supervisions.
        """
        if len(self.cut.supervisions) != 1:
            raise DataError(
                f"cut {self.cut.id}: has {len(self.cut.supervisions)} supervisions, so that its "
                "words cannot be told apart",
                "align a set with one supervision a cut",
            )
        (said,) = self.cut.supervisions
        items = [AlignmentItem(w.word, w.start, round(w.end - w.start, 4)) for w in self.words]
        cut = self.cut.drop_supervisions()
        cut.supervisions = [said.with_alignment("word", items)]
        return cut


def align_cuts(aligner: CtcAligner, cuts: Iterable[Cut]) -> Iterator[AlignedCut]:
    """Align cuts in their order; one that cannot be aligned has no words and says why."""
    for cut in cuts:
        try:
            yield AlignedCut(cut, tuple(aligner.align(cut)))
        except DataError as e:
            yield AlignedCut(cut, failure=e)


@dataclass(frozen=True)
class Lag:
    """By how much aligned word ends lie after the true ones, in ms: median and quartiles."""

    words: int
    quarter: float
    median: float
    three_quarters: float


def lag_of(aligned: Iterable[AlignedCut]) -> Lag | None:
    """Compare with the cuts' own word times; None where no cut has any."""
    late: list[float] = []
    for one in aligned:
        true = spoken_words(one.cut)
        if true is not None and [w.word for w in true] == [w.word for w in one.words]:
            late += [1000 * (a.end - b.end) for a, b in zip(one.words, true, strict=True)]
    if not late:
        return None
    low, mid, high = (float(x) for x in np.quantile(late, [0.25, 0.5, 0.75]))
    return Lag(len(late), low, mid, high)
