"""Log-mel filter banks by kaldifeat, with the same computation for utterances and streams.

Kaldi's `snip_edges=false` centres frame t at sample `shift * (t + 1/2)` and mirrors the signal at
both ends. Here the signal is mirrored first and then framed with `snip_edges=true`, so that the
same kernel serves a stream, whose right edge is unknown until it ends.

Suffixes: N samples, T frames, F mel bins.
"""

from __future__ import annotations

import kaldifeat
import torch
from torch import Tensor

from asrlib.config import configclass
from asrlib.errors import ConfigError

# Frames per kernel call, so few that their spectra stay in the processor's cache. On audio that
# was just decoded, this is a tenth faster than whole utterances; below 100 frames, the overhead of
# the calls is noticeable.
_FRAMES_PER_CALL = 256


@configclass
class FbankConfig:
    """Settings of filter banks as in sherpa-onnx and icefall, always with `snip_edges=false`.

    Attributes:
        sample_rate: sample rate, Hz.
        num_bins: number of mel bins.
        low_freq: lower edge of the lowest bin, Hz.
        high_freq: upper edge of the highest bin, Hz; a value of zero or less is added to the
            Nyquist frequency.
        frame_length_ms: length of a frame, milliseconds.
        frame_shift_ms: time from one frame to the next, milliseconds.
        dither: amplitude of the noise added to the samples, which are in [-1, 1].
    """

    sample_rate: int = 16000
    num_bins: int = 80
    low_freq: float = 20.0
    high_freq: float = -400.0
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    dither: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.frame_shift_ms <= self.frame_length_ms:
            raise ConfigError(
                f"features.frame_shift_ms: {self.frame_shift_ms} is not within "
                f"(0, frame_length_ms = {self.frame_length_ms}]",
                "give a shift above 0 and no longer than the frame",
            )

    @property
    def frame_shift(self) -> float:
        """Seconds from one frame to the next."""
        return self.frame_shift_ms / 1000

    @property
    def window(self) -> int:
        """Number of samples in a frame."""
        return int(self.sample_rate * self.frame_length_ms / 1000)

    @property
    def shift(self) -> int:
        """Number of samples from one frame to the next."""
        return int(self.sample_rate * self.frame_shift_ms / 1000)

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames of an utterance: its length in shifts, rounded half up."""
        return (num_samples + self.shift // 2) // self.shift


def fbank_options(config: FbankConfig, *, snip_edges: bool) -> kaldifeat.FbankOptions:
    """Return kaldifeat's options; options that `config` lacks keep Kaldi's defaults."""
    options = kaldifeat.FbankOptions()
    options.frame_opts.samp_freq = config.sample_rate
    options.frame_opts.frame_length_ms = config.frame_length_ms
    options.frame_opts.frame_shift_ms = config.frame_shift_ms
    options.frame_opts.dither = config.dither
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = config.num_bins
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.high_freq
    return options


class FbankExtractor:
    """Computes filter banks of whole utterances, and of streams with `stream`.

    The result equals `kaldifeat.Fbank` with `snip_edges=False`, within float32 rounding.
    """

    def __init__(self, config: FbankConfig) -> None:
        self.config = config
        self._fbank = kaldifeat.Fbank(fbank_options(config, snip_edges=True))

    def __call__(self, samples_N: Tensor) -> Tensor:
        """Compute the filter banks of a whole utterance.

        Args:
            samples_N: float32 samples in [-1, 1] at the configured rate; N may be 0.

        Returns:
            Log energies (T, F), with T = `config.num_frames(N)`.
        """
        # One `_advance` does the work of accept and finish in one kernel call.
        return FbankStream(self)._advance(samples_N, last=True)

    def stream(self) -> FbankStream:
        """Start a stream, which does the same computation on pieces."""
        return FbankStream(self)

    def frames(self, padded_N: Tensor) -> Tensor:
        """Compute the filter banks (T, F) of all complete windows in `padded_N`."""
        if padded_N.numel() < self.config.window:
            return torch.zeros(0, self.config.num_bins)
        # kaldifeat gets one utterance at a time: a list of utterances is three times slower, since
        # their frames leave the cache. The framed view avoids the copy of kaldifeat's forward.
        strided = self._fbank.convert_samples_to_frames(padded_N)
        parts = [self._fbank.compute(part) for part in strided.split(_FRAMES_PER_CALL)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class FbankStream:
    """Computes filter banks of audio that arrives in pieces of any size.

    A frame is returned as soon as its last sample has arrived; `finish` returns the frames that
    need the mirrored right edge. The concatenated frames equal `FbankExtractor.__call__` of the
    whole signal.
    """

    def __init__(self, extractor: FbankExtractor) -> None:
        self._extractor = extractor
        self._config = extractor.config
        # The first frame begins this many samples before the signal.
        self._left = self._config.window // 2 - self._config.shift // 2
        self._kept_N = torch.zeros(0)
        self._kept_from = 0  # index in the signal of the first kept sample
        self._received = 0
        self._emitted = 0
        self._finished = False

    def accept(self, samples_N: Tensor) -> Tensor:
        """Accept the next samples, float32 in [-1, 1]; return the new frames (T, F), T >= 0."""
        return self._advance(samples_N, last=False)

    def finish(self) -> Tensor:
        """End the stream; return the remaining frames (T, F)."""
        return self._advance(torch.zeros(0), last=True)

    def _advance(self, samples_N: Tensor, last: bool) -> Tensor:
        if self._finished:
            raise RuntimeError("the stream is finished; make a new one")
        self._finished = last
        self._kept_N = _join(self._kept_N, samples_N)
        self._received += samples_N.numel()
        if not last and self._received < self._left:  # too few samples to mirror on the left
            self._kept_N = self._kept_N.clone()
            return self._extractor.frames(torch.zeros(0))
        end = self._received
        if last:
            frames = self._config.num_frames(self._received)
            end = (frames - 1) * self._config.shift + self._config.window - self._left
        out_TF = self._extractor.frames(self._between(self._next_sample(), end))
        self._emitted += out_TF.shape[0]
        if last:
            return out_TF
        # Keep one window of samples for the mirror at the right edge.
        keep_from = max(0, min(self._next_sample(), self._received - self._config.window))
        # Clone them, since the caller may reuse its buffer.
        self._kept_N = self._kept_N[keep_from - self._kept_from :].clone()
        self._kept_from = keep_from
        return out_TF

    def _next_sample(self) -> int:
        """Return the index in the signal of the next frame's first sample."""
        return self._emitted * self._config.shift - self._left

    def _between(self, begin: int, end: int) -> Tensor:
        """Return the signal from `begin` to `end`, mirrored beyond its edges."""
        inside_N = self._kept_N[max(begin, 0) - self._kept_from : max(end, 0) - self._kept_from]
        left_N = self._mirrored(begin, min(end, 0))
        right_N = self._mirrored(max(begin, self._received), end)
        return _join(left_N, inside_N, right_N)

    def _mirrored(self, begin: int, end: int) -> Tensor:
        """Return samples outside the signal, mirrored as many times as needed."""
        length, kept_from = self._received, self._kept_from
        if begin >= end or length == 0:
            return torch.zeros(0)
        if end - begin <= length:
            axis = 0 if begin < 0 else 2 * length
            return self._kept_N[axis - end - kept_from : axis - begin - kept_from].flip(0)
        index_N = torch.arange(begin, end) % (
            2 * length
        )  # the signal is shorter than half a window
        return self._kept_N[torch.minimum(index_N, 2 * length - 1 - index_N)]


def _join(*parts: Tensor) -> Tensor:
    """Concatenate tensors, without a copy if only one of them is not empty."""
    full = [part for part in parts if part.numel()]
    return full[0] if len(full) == 1 else torch.cat(full or [torch.zeros(0)])
