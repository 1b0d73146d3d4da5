"""Self-attention that streams: every frame sees itself and a bounded number of frames before it.

The bound is the same in training and in streaming, so that both compute the same. Positions are
relative (Transformer-XL, arXiv 1901.02860, as in the Conformer, arXiv 2005.08100): the score of
query i and key j has a term for the distance i - j, 0 .. L.

Shapes: B batch, S output frames, H heads, K features per head, L frames of left context,
N = L + S keys, D = H K.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asrlib.errors import ConfigError


@dataclass(frozen=True)
class AttentionState:
    """Keys and values of the last L frames, and how many of them (from the end) were heard."""

    key_BLHK: Tensor
    value_BLHK: Tensor
    count_B1: Tensor


def check_heads(dim: int, heads: int) -> None:
    """See that the heads share the width evenly.

    Raises:
        ConfigError: they do not.
    """
    if dim % heads:
        raise ConfigError(
            f"encoder.heads: {heads} does not divide encoder.dim = {dim}",
            "choose a number of heads that divides the width",
        )


def sinusoids(count: int, dim: int) -> Tensor:
    """Sine and cosine codes (count, dim) of the distances 0 .. count - 1 (arXiv 1706.03762)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(count).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim]


@functools.lru_cache(maxsize=64)
def distances(num_frames: int, left_context: int) -> Tensor:
    """i - j of every query i and key j (S, N), the first key L frames before query 0."""
    return torch.arange(num_frames).unsqueeze(1) - torch.arange(-left_context, num_frames)


def within_reach(distance: Tensor, left_context: int) -> Tensor:
    """Where a distance is neither of the future nor of too long ago."""
    return (distance >= 0) & (distance <= left_context)


class CausalSelfAttention(nn.Module):
    """Multi-head attention over this frame and the `left_context` frames before it.

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, left_context: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.head_dim, self.left_context = heads, dim // heads, left_context
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # one would not change the softmax
        self.value = nn.Linear(dim, dim)
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias_HK = nn.Parameter(torch.zeros(heads, self.head_dim))
        self.position_bias_HK = nn.Parameter(torch.zeros(heads, self.head_dim))
        self.output = nn.Linear(dim, dim)
        self.register_buffer("codes", sinusoids(left_context + 1, dim), persistent=False)
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def product_multiplications(self, num_frames: int) -> float:
        """Multiplications of scores and weighted sums for `num_frames` frames, Linears left out.

        Every frame against itself and the whole left context, in three products: content,
        position, values. What masking throws away is not counted, since a stream need not compute
        it; nor are the projected codes, which are constants.
        """
        return 3.0 * num_frames * (self.left_context + 1) * self.heads * self.head_dim

    def initial_state(self, batch_size: int, device: torch.device) -> AttentionState:
        shape = (batch_size, self.left_context, self.heads, self.head_dim)
        zeros_BLHK = self.output.weight.new_zeros(shape, device=device)
        count_B1 = self.output.weight.new_zeros((batch_size, 1), device=device)
        return AttentionState(zeros_BLHK, zeros_BLHK, count_B1)

    def forward(self, x_BSD: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        split = (self.heads, self.head_dim)
        query_BSHK = self.query(x_BSD).unflatten(-1, split)
        key_BNHK = torch.cat([state.key_BLHK, self.key(x_BSD).unflatten(-1, split)], dim=1)
        value_BNHK = torch.cat([state.value_BLHK, self.value(x_BSD).unflatten(-1, split)], dim=1)
        scores_BHSN = self._scores(query_BSHK, key_BNHK)
        mask_BSN = self._visible(x_BSD.shape[1], state.count_B1)
        weights_BHSN = scores_BHSN.masked_fill(~mask_BSN.unsqueeze(1), -math.inf).softmax(dim=-1)
        y_BSHK = torch.einsum("bhsn,bnhk->bshk", weights_BHSN, value_BNHK)
        count_B1 = (state.count_B1 + x_BSD.shape[1]).clamp(max=self.left_context)
        first = key_BNHK.shape[1] - self.left_context
        state = AttentionState(key_BNHK[:, first:], value_BNHK[:, first:], count_B1)
        return self.output(y_BSHK.flatten(2)), state

    def _scores(self, query_BSHK: Tensor, key_BNHK: Tensor) -> Tensor:
        """Scaled scores (B, H, S, N); those of invisible keys mean nothing."""
        content = torch.einsum("bshk,bnhk->bhsn", query_BSHK + self.content_bias_HK, key_BNHK)
        query_by_place = query_BSHK + self.position_bias_HK
        by_distance = torch.einsum("bshk,lhk->bhsl", query_by_place, self._codes())  # L + 1 codes
        distance_SN = distances(query_BSHK.shape[1], self.left_context).to(self.codes.device)
        distance_SN = distance_SN.clamp(0, self.left_context)
        index = distance_SN.expand(*by_distance.shape[:2], -1, -1)
        return (content + by_distance.gather(3, index)) / math.sqrt(self.head_dim)

    def _codes(self) -> Tensor:
        """Projected codes (L + 1, H, K); kept in inference, as long as the weights stay as they
        are: in streams of small pieces they would cost as much as the queries."""
        weight = self.position.weight
        version = (weight.data_ptr(), weight._version)
        if torch.is_grad_enabled() or self._kept is None or self._kept[0] != version:
            projected = F.linear(self.codes, weight).unflatten(-1, (self.heads, self.head_dim))
            if torch.is_grad_enabled():
                return projected
            self._kept = version, projected
        return self._kept[1]

    def _visible(self, num_frames: int, count_B1: Tensor) -> Tensor:
        """Which keys (B, S, N) a query sees: not the future, within L, and heard."""
        distance_SN = distances(num_frames, self.left_context).to(count_B1.device)
        within_SN = within_reach(distance_SN, self.left_context)
        keys_N = torch.arange(-self.left_context, num_frames, device=count_B1.device)
        return within_SN & (keys_N >= -count_B1).unsqueeze(1)
