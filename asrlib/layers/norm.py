"""Normalisation for streaming: global for features; for activations, without padded frames.

Shapes: B batch, T input frames, S output frames, F features, D channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asrlib.errors import DataError
from asrlib.layers.over_ranks import pooled
from asrlib.layers.schedule import HasSchedule

_MIN_STD = 1e-3
_MIN_RUNNING_VARIANCE = 0.01  # of the global variance; a long constant signal would have none
# Log energy of zeros in kaldifeat, and a margin for rounding.
_DIGITAL_SILENCE = math.log(torch.finfo(torch.float32).eps) + 0.01


class GlobalNorm(nn.Module):
    """Subtracts the training set's mean and divides by its standard deviation, per feature.

    The statistics are buffers, so that a checkpoint includes them. Until `set_stats` is called,
    the layer returns its input unchanged.
    """

    mean_F: Tensor
    istd_F: Tensor

    def __init__(self, num_bins: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(num_bins))
        self.register_buffer("istd_F", torch.ones(num_bins))

    def set_stats(self, mean_F: Tensor, std_F: Tensor) -> None:
        """Set the global statistics; standard deviations below 0.001 are set to 0.001.

        Raises:
            DataError: the number of features is wrong, or a value is not finite.
        """
        mean_F, std_F = torch.as_tensor(mean_F), torch.as_tensor(std_F)
        if mean_F.shape != self.mean_F.shape or std_F.shape != self.istd_F.shape:
            raise DataError(
                f"feature statistics have {mean_F.numel()} bins, not {self.mean_F.numel()}",
                "compute features and statistics again with the model's number of bins",
            )
        if not (torch.isfinite(mean_F).all() and torch.isfinite(std_F).all()):
            raise DataError(
                "feature statistics are not finite", "compute features and statistics again"
            )
        self.mean_F.copy_(mean_F)
        self.istd_F.copy_(1.0 / std_F.clamp(min=_MIN_STD))

    def forward(self, x_BTF: Tensor) -> Tensor:
        return (x_BTF - self.mean_F) * self.istd_F


@dataclass(frozen=True)
class RunningState:
    """What a stream's running statistics are computed from, in float64.

    Attributes:
        frames_B1: number of frames so far, without digital silence.
        sum_BF, squares_BF: sums of these frames and of their squares.
    """

    frames_B1: Tensor
    sum_BF: Tensor
    squares_BF: Tensor


class RunningNorm(nn.Module):
    """Subtracts the mean of a stream's frames so far, which removes the channel and the voice.

    It follows the global normalisation, so that mean 0 and variance 1 are what is known before the
    first frame: they count as much as `prior` frames. The sums are in float64, so that a stream
    gives the same result however it is cut, and however long it is. Digital silence, such as that
    of a muted microphone, tells nothing about the channel and does not count.

    That the statistics have a prior and no window is our choice.

    Args:
        prior: number of frames that the global statistics count as.
        variance: whether the frames are divided by their running standard deviation too.
    """

    def __init__(self, num_bins: int, prior: float, variance: bool) -> None:
        super().__init__()
        self.num_bins, self.prior, self.variance = num_bins, prior, variance

    def initial_state(self, batch_size: int, device: torch.device) -> RunningState:
        """Return the state before the first frame: zeros."""
        zeros = torch.zeros(batch_size, self.num_bins, dtype=torch.float64, device=device)
        return RunningState(zeros[:, :1], zeros, zeros)

    def forward(
        self, x_BTF: Tensor, raw_BTF: Tensor, state: RunningState
    ) -> tuple[Tensor, RunningState]:
        """Normalise the next frames of streams.

        Args:
            x_BTF: globally normalised frames.
            raw_BTF: the same frames as log energies, which show what is digital silence.
            state: state before these frames.
        """
        heard_BT1 = (raw_BTF > _DIGITAL_SILENCE).any(dim=-1, keepdim=True).double()
        heard_BTF = x_BTF.double() * heard_BT1
        frames_BT1 = _running(state.frames_B1, heard_BT1)
        sum_BTF = _running(state.sum_BF, heard_BTF)
        squares_BTF = _running(state.squares_BF, heard_BTF.square())
        count_BT1 = frames_BT1[:, 1:] + self.prior
        y_BTF = x_BTF - (sum_BTF[:, 1:] / count_BT1).to(x_BTF.dtype)
        if self.variance:
            # About the mean of the frames alone: a channel far from the global mean is no variance.
            own_BTF = sum_BTF.square() / frames_BT1.clamp(min=1.0)
            variance_BTF = (self.prior + (squares_BTF - own_BTF)[:, 1:]) / count_BT1
            istd_BTF = variance_BTF.clamp(min=_MIN_RUNNING_VARIANCE).rsqrt()
            y_BTF = y_BTF * istd_BTF.to(x_BTF.dtype)
        after = RunningState(frames_BT1[:, -1], sum_BTF[:, -1], squares_BTF[:, -1])
        return y_BTF, after


def _running(before_BF: Tensor, x_BTF: Tensor) -> Tensor:
    """Sums (B, 1 + T, F) before the first frame and after each frame."""
    return torch.cat([before_BF.unsqueeze(1), x_BTF], dim=1).cumsum(dim=1)


# Batch renormalisation: shares of the training at which its correction starts and reaches its
# final bounds, and these bounds: a factor, and an offset in standard deviations.
_FIRST, _LAST = 0.125, 0.375
_MOST_SCALE, _MOST_SHIFT = 3.0, 5.0


def is_count(name: str) -> bool:
    """Whether the buffer of this name counts the training batches of a `MaskedBatchNorm`."""
    return name.endswith(".batches")


class MaskedBatchNorm(nn.Module, HasSchedule):
    """Batch renormalisation (arXiv 1702.03275) with statistics of valid frames only.

    In training, the statistics are those of the frames under the mask, so padding has no effect.
    They are those of all ranks, and float32 even under autocast. In evaluation, the running
    statistics are used, so frames are independent of each other. As in torch, the running variance
    is the unbiased one.

    Why not plain batch normalisation (arXiv 1502.03167), as in the papers: a batch holds
    utterances of similar length, and its statistics reveal this length and the share of silence.
    A model learns to use this, but it is not available when the model runs on one stream.
    Therefore the output in training is corrected towards the one that the running statistics
    give. The correction is bounded, and its bounds grow: no correction until `_FIRST` of the
    batches are over, and from `_LAST` on a factor of at most `_MOST_SCALE` and an offset of at most
    `_MOST_SHIFT` standard deviations. The final bounds are the paper's. The schedule in shares
    of the training is our choice, since a short training needs the correction too.
    """

    running_mean_D: Tensor
    running_var_D: Tensor
    batches: Tensor

    def __init__(self, dim: int, momentum: float = 0.02, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self._run_length = 4000
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean_D", torch.zeros(dim))
        self.register_buffer("running_var_D", torch.ones(dim))
        self.register_buffer("batches", torch.zeros(()))

    def set_run_length(self, steps: int) -> None:
        """Set the total number of training steps, over which the correction grows."""
        self._run_length = steps

    def set_step(self, step: int) -> None:
        """Do nothing: the layer counts its batches, so that the count is part of a checkpoint."""

    def forward(self, x_BSD: Tensor, mask_BS: Tensor | None) -> Tensor:
        """Normalise frames.

        Args:
            x_BSD: activations.
            mask_BS: True where a frame is valid; None if all are. Only training uses it.
        """
        if not self.training:
            scale_D = self.weight * torch.rsqrt(self.running_var_D + self.eps)
            return x_BSD * scale_D + (self.bias - self.running_mean_D * scale_D)
        with torch.autocast(x_BSD.device.type, enabled=False):
            at_least_f32 = torch.promote_types(x_BSD.dtype, torch.float32)
            stats = self._batch_stats(x_BSD.to(at_least_f32), mask_BS)
            mean_D, var_D, count = pooled(*stats)
        stretch_D, shift_D = self._correction(mean_D, var_D)
        self._track(mean_D, var_D * count / (count - 1.0).clamp(min=1.0))
        scale_D = self.weight * torch.rsqrt(var_D + self.eps) * stretch_D
        return x_BSD * scale_D + (self.bias + self.weight * shift_D - mean_D * scale_D)

    @torch.no_grad()
    def _correction(self, mean_D: Tensor, var_D: Tensor) -> tuple[Tensor, Tensor]:
        """Bounded factor and offset (D each) from the batch's statistics to the running ones."""
        done = self.batches / self._run_length
        ramp = ((done - _FIRST) / (_LAST - _FIRST)).clamp(0.0, 1.0)
        most, far = 1.0 + (_MOST_SCALE - 1.0) * ramp, _MOST_SHIFT * ramp
        istd_D = torch.rsqrt(self.running_var_D + self.eps)
        stretch_D = (var_D + self.eps).sqrt() * istd_D
        shift_D = (mean_D - self.running_mean_D) * istd_D
        return stretch_D.clamp(1.0 / most, most), shift_D.clamp(-far, far)

    @torch.no_grad()
    def _track(self, mean_D: Tensor, unbiased_D: Tensor) -> None:
        """Update the running statistics: first as a plain mean over batches, then with momentum."""
        self.batches += 1.0
        share = (1.0 / self.batches).clamp(min=self.momentum)
        self.running_mean_D.lerp_(mean_D, share)
        self.running_var_D.lerp_(unbiased_D, share)

    def _batch_stats(self, x_BSD: Tensor, mask_BS: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (D), biased variance (D) and number of the valid frames."""
        x_ND = x_BSD.reshape(-1, x_BSD.shape[-1])
        if mask_BS is None:
            mask_N = x_ND.new_ones(x_ND.shape[0])
        else:
            mask_N = mask_BS.reshape(-1).to(x_ND.dtype)
        count = mask_N.sum().clamp(min=1.0)
        mean_D = mask_N @ x_ND / count
        return mean_D, mask_N @ (x_ND - mean_D).square() / count, count
