"""A stream: takes pieces of audio, gives groups of frames, and keeps what was recognised.

Shape suffixes: N samples, T input frames, F features.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asrlib.audio.resample import StreamingResampler
from asrlib.errors import DataError
from asrlib.features.fbank import FbankExtractor
from asrlib.streaming.result import Segment, StreamClock
from asrlib.streaming.talkers import ChannelTurns

# Longest audio, in seconds, that goes through the features at once. An hour of audio in one piece
# thus needs no more memory than its frames.
_PIECE_SECONDS = 10


class FrameQueue:
    """Queue of frames (T, F) that wait for the encoder."""

    def __init__(self) -> None:
        self._pieces: deque[Tensor] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, x_TF: Tensor) -> None:
        """Append T frames; T may be 0."""
        if len(x_TF):
            self._pieces.append(x_TF)
            self._length += len(x_TF)

    def take(self, length: int) -> Tensor:
        """Remove and return the first `length` frames; the queue must hold as many."""
        taken = []
        self._length -= length
        while length:
            piece = self._pieces.popleft()
            taken.append(piece[:length])
            if len(piece) > length:
                self._pieces.appendleft(piece[length:])
            length -= len(taken[-1])
        return torch.cat(taken)


class AudioFront:
    """Converts samples of any rate to filter-bank frames: resampling, features, tail padding."""

    def __init__(self, extractor: FbankExtractor, clock: StreamClock, tail_padding: float) -> None:
        self._fbank = extractor.stream()
        self._rate = extractor.config.sample_rate
        self._shift = extractor.config.shift
        self._clock = clock
        self._tail_padding = tail_padding
        self._resampler: StreamingResampler | None = None
        self._input_rate: int | None = None
        self._num_samples = 0

    @property
    def seconds(self) -> float:
        """Seconds of audio that went through the features so far, including the tail."""
        return self._num_samples / self._rate

    def accept(self, samples: Tensor | np.ndarray, sample_rate: int) -> list[Tensor]:
        """Add samples (N,) and return the new frames, in pieces (T, F)."""
        samples_N = _checked(samples)
        if self._input_rate is None:
            if sample_rate <= 0:
                raise DataError(
                    f"sample rate {sample_rate} Hz is not positive", "give the audio's true rate"
                )
            self._input_rate = sample_rate
            if sample_rate != self._rate:
                self._resampler = StreamingResampler(sample_rate, self._rate)
        elif sample_rate != self._input_rate:
            raise DataError(
                f"the sample rate changed within a stream, from {self._input_rate} Hz"
                f" to {sample_rate} Hz",
                "open a new stream for the new rate",
            )
        pieces = samples_N.split(_PIECE_SECONDS * sample_rate) if len(samples_N) else ()
        return [self._push(self._resample(piece_N)) for piece_N in pieces]

    def finish(self) -> list[Tensor]:
        """Return the last frames: the resampler's rest, the tail of zeros, the right edge.

        The tail completes the encoder's last group of frames and its lookahead, and adds
        `tail_padding` seconds, because a streaming transducer may emit a token after the word has
        ended.
        """
        frames = []
        if self._resampler is not None:
            frames.append(self._push(self._resampler.finish()))
        if self._num_samples == 0:
            return frames
        wanted = self._num_samples + round(self._tail_padding * self._rate)
        num_frames = -(-wanted // self._shift) + self._clock.lookahead
        num_frames += -num_frames % self._clock.subsampling
        tail = num_frames * self._shift - self._num_samples
        frames.append(self._push(torch.zeros(tail)))
        frames.append(self._fbank.finish())
        return frames

    def _resample(self, samples_N: Tensor) -> Tensor:
        return samples_N if self._resampler is None else self._resampler.accept(samples_N)

    def _push(self, samples_N: Tensor) -> Tensor:
        self._num_samples += len(samples_N)
        return self._fbank.accept(samples_N)


def _checked(samples: Tensor | np.ndarray) -> Tensor:
    """Return samples as a float32 vector (N,) of finite values.

    Raises:
        DataError: the samples have more than one axis, are integers, or are not finite.
    """
    samples_N = torch.as_tensor(samples).detach().cpu()
    if samples_N.dim() != 1:
        raise DataError(
            f"the audio has shape {tuple(samples_N.shape)}, but a stream takes one channel",
            "average the channels, or open a stream for each channel",
        )
    if not samples_N.is_floating_point():
        raise DataError(
            f"the samples have type {samples_N.dtype}, but a stream takes floats in [-1, 1]",
            "divide 16-bit samples by 32768",
        )
    if not bool(samples_N.isfinite().all()):
        raise DataError(
            "the audio holds samples that are not numbers (NaN or infinite)",
            "fix the recording or the program that produced it",
        )
    return samples_N.float()


@dataclass
class Decoding:
    """Decoding state of one output channel of a stream; only the recogniser uses it.

    Attributes:
        search_state: state of the search.
        frames: number of output frames decoded.
        segment_start: index of the output frame at which the current segment began.
        segments: segments that an endpoint made final; segments without tokens are not kept.
        said: tokens and turns, if the model knows several talkers.
    """

    search_state: Any
    frames: int = 0
    segment_start: int = 0
    segments: list[Segment] = field(default_factory=list)
    said: ChannelTurns = field(default_factory=ChannelTurns)


class Stream:
    """A stream of audio and what was recognised in it; `StreamingRecognizer` creates it.

    Memory grows with the audio added between two calls of `StreamingRecognizer.step` and with the
    number of tokens. With several talkers, only the tokens of open turns count, provided that
    closed turns are taken.

    Attributes:
        encoder_state: state of the encoder; only the recogniser uses it.
        channels: decoding state of each output channel.
        finished: whether the end of the audio was reached.
    """

    def __init__(
        self, front: AudioFront, clock: StreamClock, encoder_state: Any, channels: list[Decoding]
    ) -> None:
        self.encoder_state = encoder_state
        self.channels = channels
        self.finished = False
        self._front = front
        self._frames = FrameQueue()
        self._subsampling = clock.subsampling

    def accept(self, samples: Tensor | np.ndarray, sample_rate: int) -> None:
        """Add the next piece of audio, of any length (zero included).

        Args:
            samples: samples (N,) of one channel, floats in [-1, 1].
            sample_rate: sampling rate in Hz. Any rate is allowed, but it must not change within a
                stream.

        Raises:
            DataError: the stream is finished, the rate changed, or the samples are not usable.
        """
        if self.finished:
            raise DataError("the stream is finished and takes no more audio", "open a new stream")
        for x_TF in self._front.accept(samples, sample_rate):
            self._frames.put(x_TF)

    def finish(self) -> None:
        """End the audio. A second call does nothing. A stream without audio stays empty."""
        if self.finished:
            return
        self.finished = True
        for x_TF in self._front.finish():
            self._frames.put(x_TF)

    @property
    def seconds(self) -> float:
        """Seconds of audio so far, including the tail once the stream is finished."""
        return self._front.seconds

    @property
    def available(self) -> int:
        """Number of input frames ready for the encoder, in whole groups of its subsampling."""
        return len(self._frames) - len(self._frames) % self._subsampling

    def take(self, length: int) -> Tensor:
        """Remove and return the next `length` frames (T, F), at most `available`."""
        return self._frames.take(length)
