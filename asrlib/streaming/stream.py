"""One stream: audio in pieces in, groups of frames out, and what was recognised so far.

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

# Seconds of audio that go through the features at once, so that an hour in one piece needs no
# more memory than its frames.
_PIECE_SECONDS = 10


class FrameQueue:
    """Frames waiting for the encoder; what was taken is gone."""

    def __init__(self) -> None:
        self._pieces: deque[Tensor] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, x_TF: Tensor) -> None:
        """Append frames, possibly none."""
        if len(x_TF):
            self._pieces.append(x_TF)
            self._length += len(x_TF)

    def take(self, length: int) -> Tensor:
        """Remove and return the first `length` frames; so many must be there."""
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
    """Samples of any rate in, filter-bank frames out: resampling, features, tail padding."""

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
        """Audio that went through the features so far, the tail included."""
        return self._num_samples / self._rate

    def accept(self, samples: Tensor | np.ndarray, sample_rate: int) -> list[Tensor]:
        """New frames (T, F), in pieces."""
        samples_N = _checked(samples)
        if self._input_rate is None:
            if sample_rate <= 0:
                raise DataError(f"sample rate {sample_rate} Hz", "give the audio's true rate")
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
        """Last frames: the resampler's rest, the tail of zeros, the features' right edge.

        The tail is what completes the encoder's last group, its lookahead, and `tail_padding`
        seconds, since a streaming transducer may emit after the word has ended.
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
    """Samples as a finite float32 vector.

    Raises:
        DataError: more than one axis, integers, or values that are not finite.
    """
    samples_N = torch.as_tensor(samples).detach().cpu()
    if samples_N.dim() != 1:
        raise DataError(
            f"audio of shape {tuple(samples_N.shape)}; a stream takes one channel",
            "average the channels, or open a stream for each",
        )
    if not samples_N.is_floating_point():
        raise DataError(
            f"audio samples of type {samples_N.dtype}; a stream takes floats in [-1, 1]",
            "divide 16-bit samples by 32768",
        )
    if not bool(samples_N.isfinite().all()):
        raise DataError(
            "audio holds samples that are not numbers (NaN or infinite)",
            "fix the recording or what produced it",
        )
    return samples_N.float()


@dataclass
class Decoding:
    """Where the recogniser stands in an output channel of a stream; the recogniser's own.

    Attributes:
        frames: output frames decoded.
        segment_start: output frame at which the current segment began.
        segments: those that an endpoint made final; only ones with tokens are kept.
        said: turns, of a model of several talkers.
    """

    search_state: Any
    frames: int = 0
    segment_start: int = 0
    segments: list[Segment] = field(default_factory=list)
    said: ChannelTurns = field(default_factory=ChannelTurns)


class Stream:
    """A stream of audio and what was recognised in it; made by the recogniser.

    Memory is bounded by the audio given between two `StreamingRecognizer.step`s, and by the
    tokens; of several talkers, by those of their open turns, where closed ones are taken.

    Attributes:
        encoder_state: the recogniser's own.
        channels: where it stands in each output channel.
        finished: no more audio comes.
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
        """Add the next piece of audio, of any length (none is legal).

        Args:
            samples: one channel of floats in [-1, 1].
            sample_rate: Hz, any, but the same for all of a stream.

        Raises:
            DataError: the stream is finished, the rate changed, or the samples are not usable.
        """
        if self.finished:
            raise DataError("audio for a stream that is finished", "open a new stream")
        for x_TF in self._front.accept(samples, sample_rate):
            self._frames.put(x_TF)

    def finish(self) -> None:
        """The audio is over; a second call does nothing. A stream without audio stays empty."""
        if self.finished:
            return
        self.finished = True
        for x_TF in self._front.finish():
            self._frames.put(x_TF)

    @property
    def seconds(self) -> float:
        """Length of the audio so far; with its tail once the stream is finished."""
        return self._front.seconds

    @property
    def available(self) -> int:
        """Input frames ready for the encoder: whole groups of its subsampling."""
        return len(self._frames) - len(self._frames) % self._subsampling

    def take(self, length: int) -> Tensor:
        """Remove and return the next `length` frames (T, F); at most `available`."""
        return self._frames.take(length)
