"""Attentive statistics pooling, from frames to one vector.

Shapes: B batch, T frames, D channels, A channels of the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asrlib.layers.over_ranks import BatchNorm1d

# Smallest variance, so that the gradient of the root stays finite.
_MIN_VARIANCE = 1e-5


def frame_mask(lengths_B: Tensor, num_frames: int) -> Tensor:
    """Return a mask (B, 1, T) that is 1 at valid frames and 0 at padding."""
    frames_T = torch.arange(num_frames, device=lengths_B.device)
    return (frames_T < lengths_B.unsqueeze(1)).unsqueeze(1).float()


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set padded frames to 0; a mask of None means that there is no padding."""
    return x if mask is None else x * mask


def masked_mean(x_BDT: Tensor, mask_B1T: Tensor | None) -> Tensor:
    """Return the mean (B, D, 1) over valid frames."""
    if mask_B1T is None:
        return x_BDT.mean(dim=-1, keepdim=True)
    return (x_BDT * mask_B1T).sum(-1, keepdim=True) / mask_B1T.sum(-1, keepdim=True)


class AttentiveStatsPooling(nn.Module):
    """Weighted mean and standard deviation over frames (arXiv 1803.10963), one weight per channel.

    With `context`, the attention sees the plain mean and deviation of the whole utterance beside
    each frame (ECAPA-TDNN, arXiv 2005.07143, section 2.1). The linear map of this context is
    computed once for each utterance, which gives the same result as concatenation at each frame.
    """

    def __init__(self, dim: int, attention_dim: int, context: bool) -> None:
        super().__init__()
        self.frames = nn.Conv1d(dim, attention_dim, kernel_size=1)
        self.context = nn.Linear(2 * dim, attention_dim, bias=False) if context else None
        self.norm = BatchNorm1d(attention_dim)
        self.scores = nn.Conv1d(attention_dim, dim, kernel_size=1)

    def forward(self, x_BDT: Tensor, mask_B1T: Tensor | None = None) -> Tensor:
        """Pool frames into vectors (B, 2 D): means, then standard deviations."""
        hidden_BAT = self.frames(x_BDT)
        if self.context is not None:
            mean_BD1 = masked_mean(x_BDT, mask_B1T)
            std_BD1 = _deviation(masked_mean(x_BDT.square(), mask_B1T), mean_BD1)
            context_BC = torch.cat([mean_BD1, std_BD1], dim=1).squeeze(-1)
            hidden_BAT = hidden_BAT + self.context(context_BC).unsqueeze(-1)
        scores_BDT = self.scores(self.norm(hidden_BAT.relu()).tanh())
        if mask_B1T is not None:
            scores_BDT = scores_BDT.masked_fill(mask_B1T == 0, -torch.inf)
        weights_BDT = scores_BDT.softmax(dim=-1)
        mean_BD1 = (weights_BDT * x_BDT).sum(-1, keepdim=True)
        std_BD1 = _deviation((weights_BDT * x_BDT.square()).sum(-1, keepdim=True), mean_BD1)
        return torch.cat([mean_BD1, std_BD1], dim=1).squeeze(-1)


def _deviation(square: Tensor, mean: Tensor) -> Tensor:
    return (square - mean.square()).clamp(min=_MIN_VARIANCE).sqrt()
