"""Resampling of an audio stream that arrives in pieces.

Suffixes: N samples at the original rate, M samples at the new rate.
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor


class StreamingResampler:
    """`torchaudio.functional.resample` for audio that arrives in pieces of any size.

    The concatenated results equal the resampled whole signal. The windowed-sinc kernel is
    torchaudio's own; this class only keeps the context that the kernel needs.

    Output is computed in blocks: with both rates divided by their greatest common divisor,
    `orig` input samples give `new` output samples. These depend on `width` input samples to the
    left and `width + orig` to the right. The delay is therefore below `width + orig` samples.

    Args:
        orig_rate: input sample rate, Hz.
        new_rate: output sample rate, Hz; if the rates are equal, samples pass unchanged.

    Raises:
        ValueError: a rate is not positive.
    """

    def __init__(self, orig_rate: int, new_rate: int) -> None:
        if orig_rate <= 0 or new_rate <= 0:
            raise ValueError(f"sample rates must be positive, not {orig_rate} and {new_rate}")
        divisor = math.gcd(orig_rate, new_rate)
        self._orig, self._new = orig_rate // divisor, new_rate // divisor
        # float32, like torchaudio's functional form, which is the reference
        self._resample = torchaudio.transforms.Resample(orig_rate, new_rate, dtype=torch.float32)
        self._width = 0 if self._orig == self._new else self._resample.width
        self._context = math.ceil(self._width / self._orig)  # blocks of left context
        self._buffer_N = torch.zeros(0)
        self._buffer_block = 0  # index of the buffer's first block
        self._next_block = 0  # index of the next block to return
        self._received = 0
        self._finished = False

    def accept(self, samples_N: Tensor) -> Tensor:
        """Accept the next samples (N,); return the output samples (M,) that are final, M >= 0."""
        if self._finished:
            raise RuntimeError("the stream is finished; make a new resampler")
        self._received += samples_N.numel()
        if self._orig == self._new:
            return samples_N
        self._buffer_N = torch.cat([self._buffer_N, samples_N])
        settled = (self._received - self._width) // self._orig
        return self._emit(settled, None)

    def finish(self) -> Tensor:
        """End the stream; return the remaining output samples (M,)."""
        self._finished = True
        if self._orig == self._new:
            return torch.zeros(0)
        total = math.ceil(self._new * self._received / self._orig)
        return self._emit(math.ceil(total / self._new), total)

    def _emit(self, end_block: int, total: int | None) -> Tensor:
        """Return the output of the blocks before `end_block`, cut at output sample `total`."""
        if end_block <= self._next_block:
            return torch.zeros(0)
        out_M = self._resample(self._buffer_N)
        origin = self._buffer_block * self._new
        end = end_block * self._new if total is None else total
        out_M = out_M[self._next_block * self._new - origin : end - origin]
        self._next_block = end_block
        first = max(0, end_block - self._context)
        self._buffer_N = self._buffer_N[(first - self._buffer_block) * self._orig :]
        self._buffer_block = first
        return out_M
