"""Parts of a Transformer that can be switched off frame by frame (arXiv 2207.02393, section 2).

Each part computes the same in two ways: masked (training: everything is computed, and weighed
by its toggles) and skipping (streaming: only what is on is gathered and computed).

Shapes: B batch, S output frames, H heads, K features per head, L frames of left context,
N = L + S keys, D = H K, R gathered rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asrlib.encoders.attention import check_heads
from asrlib.encoders.conformer import FeedForward
from asrlib.encoders.toggles import Toggles

_TINY = 1e-9


@dataclass(frozen=True)
class GatedAttentionState:
    """Keys, values and the keys' toggles of the last L frames; zeros: nothing to attend to.

    count_B1: how many of them were heard.
    """

    key_BLHK: Tensor
    value_BLHK: Tensor
    keep_BLH: Tensor
    count_B1: Tensor


class GatedFeedForward(nn.Module):
    """A feed-forward whose output counts as its toggle says; 0: the input passes unchanged."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.inner = FeedForward(dim, hidden_dim, dropout)
        self.multiplications = 2 * dim * hidden_dim  # of a frame

    def forward(self, x_BSD: Tensor, toggle_BS: Tensor, skip: bool) -> Tensor:
        if not skip:
            return x_BSD + toggle_BS.unsqueeze(-1) * self.inner(x_BSD)
        on_BS = toggle_BS > 0
        if not on_BS.any():
            return x_BSD
        y_BSD = x_BSD.clone()
        y_BSD[on_BS] += self.inner(x_BSD[on_BS])
        return y_BSD


class GatedAttention(nn.Module):
    """Attention over this frame and the `left_context` before it, by head and frame on or off.

    A query that is off gives a zero for its head; a key that is off is seen by no later frame:
    `softmax(P + ln s) V`, written as weights `s exp(P)` over their sum, so that a row without a
    key gives 0. Positions are a learned bias for each head and distance (our choice: it costs no
    product).

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, left_context: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.head_dim, self.left_context = heads, dim // heads, left_context
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim)
        self.distance_bias_HL = nn.Parameter(torch.zeros(heads, left_context + 1))
        self.query_multiplications = 2 * dim * self.head_dim  # of a head and frame: in and out
        self.key_multiplications = 2 * dim * self.head_dim  # key and value
        self.pair_multiplications = 2 * self.head_dim  # of a query and a key that it sees

    def product_multiplications(self, num_frames: int) -> float:
        """Multiplications of scores and weighted sums with everything on, Linears left out."""
        return float(num_frames * self.heads * self.pair_multiplications * (self.left_context + 1))

    def initial_state(self, batch_size: int, device: torch.device) -> GatedAttentionState:
        shape = (batch_size, self.left_context, self.heads, self.head_dim)
        zeros_BLHK = self.output.weight.new_zeros(shape, device=device)
        count_B1 = zeros_BLHK.new_zeros(batch_size, 1)
        return GatedAttentionState(zeros_BLHK, zeros_BLHK, zeros_BLHK[..., 0], count_B1)

    def forward(
        self, x_BSD: Tensor, toggles: Toggles, state: GatedAttentionState, skip: bool
    ) -> tuple[Tensor, GatedAttentionState]:
        project = self._project_kept if skip else self._project
        split = (self.heads, self.head_dim)
        key_BSHK = project(self.key, x_BSD, toggles.key_BSH).unflatten(-1, split)
        value_BSHK = project(self.value, x_BSD, toggles.key_BSH).unflatten(-1, split)
        query_BSHK = project(self.query, x_BSD, toggles.query_BSH).unflatten(-1, split)
        key_BNHK = torch.cat([state.key_BLHK, key_BSHK], dim=1)
        value_BNHK = torch.cat([state.value_BLHK, value_BSHK], dim=1)
        keep_BNH = torch.cat([state.keep_BLH, toggles.key_BSH], dim=1)
        attend = self._attend_kept if skip else self._attend
        y_BSHK = attend(query_BSHK, key_BNHK, value_BNHK, keep_BNH, toggles.query_BSH)
        first = key_BNHK.shape[1] - self.left_context
        count_B1 = (state.count_B1 + x_BSD.shape[1]).clamp(max=self.left_context)
        state = GatedAttentionState(
            key_BNHK[:, first:], value_BNHK[:, first:], keep_BNH[:, first:], count_B1
        )
        return self._combine(y_BSHK, toggles.query_BSH, skip), state

    # ---- masked

    def _project(self, linear: nn.Linear, x_BSD: Tensor, toggle_BSH: Tensor) -> Tensor:
        return linear(x_BSD)

    def _attend(
        self,
        query_BSHK: Tensor,
        key_BNHK: Tensor,
        value_BNHK: Tensor,
        keep_BNH: Tensor,
        toggle_BSH: Tensor,
    ) -> Tensor:
        scores_BHSN = torch.einsum("bshk,bnhk->bhsn", query_BSHK, key_BNHK)
        num_frames = query_BSHK.shape[1]
        distance_SN = self.distances(num_frames, key_BNHK.device)
        weights_BHSN = self._weights(scores_BHSN, distance_SN, keep_BNH.transpose(1, 2))
        y_BSHK = torch.einsum("bhsn,bnhk->bshk", weights_BHSN, value_BNHK)
        return y_BSHK * toggle_BSH.unsqueeze(-1)

    def distances(self, num_frames: int, device: torch.device) -> Tensor:
        """i - j of every query i and key j (S, N), the first key L frames before query 0."""
        frames_S = torch.arange(num_frames, device=device)
        keys_N = torch.arange(-self.left_context, num_frames, device=device)
        return frames_S.unsqueeze(1) - keys_N

    def visible(self, distance: Tensor) -> Tensor:
        """Where a distance is within reach: not the future, and not too long ago."""
        return (distance >= 0) & (distance <= self.left_context)

    def _weights(self, scores: Tensor, distance_SN: Tensor, keep: Tensor) -> Tensor:
        """Weights (..., H, S, N) of scores; keep (..., H, N) are the keys' toggles."""
        bias_HSN = self.distance_bias_HL[:, distance_SN.clamp(0, self.left_context)]
        scores = scores / math.sqrt(self.head_dim) + bias_HSN
        usable = self.visible(distance_SN) & (keep.unsqueeze(-2) > 0)
        scores = scores.masked_fill(~usable, -1e9)
        highest = scores.amax(dim=-1, keepdim=True).detach()
        raw = (scores - highest).exp() * keep.unsqueeze(-2) * usable
        return raw / (raw.sum(dim=-1, keepdim=True) + _TINY)

    def _combine(self, y_BSHK: Tensor, toggle_BSH: Tensor, skip: bool) -> Tensor:
        """The heads' shares of the output; of a head that is off none is computed."""
        if not skip:
            return self.output(y_BSHK.flatten(2))
        out_BSD = self.output.bias.expand(*y_BSHK.shape[:2], -1).clone()
        for h in range(self.heads):
            on_BS = toggle_BSH[..., h] > 0
            if on_BS.any():
                weight_DK = self.output.weight[:, self._slice(h)]
                out_BSD[on_BS] += y_BSHK[..., h, :][on_BS] @ weight_DK.T
        return out_BSD

    # ---- skipping

    def _slice(self, head: int) -> slice:
        return slice(head * self.head_dim, (head + 1) * self.head_dim)

    def _project_kept(self, linear: nn.Linear, x_BSD: Tensor, toggle_BSH: Tensor) -> Tensor:
        """The linear's outputs of the heads that are on, zeros for the others."""
        if bool((toggle_BSH > 0).all()):
            return linear(x_BSD)
        y_BSD = x_BSD.new_zeros(*x_BSD.shape[:2], self.heads * self.head_dim)
        for h in range(self.heads):
            on_BS = toggle_BSH[..., h] > 0
            if on_BS.any():
                part = self._slice(h)
                bias = None if linear.bias is None else linear.bias[part]
                y_RK = F.linear(x_BSD[on_BS], linear.weight[part], bias)
                y_BSD[..., part][on_BS] = y_RK
        return y_BSD

    def _attend_kept(
        self,
        query_BSHK: Tensor,
        key_BNHK: Tensor,
        value_BNHK: Tensor,
        keep_BNH: Tensor,
        toggle_BSH: Tensor,
    ) -> Tensor:
        distance_SN = self.distances(query_BSHK.shape[1], key_BNHK.device)
        y_BSHK = torch.zeros_like(query_BSHK)
        for b in range(query_BSHK.shape[0]):
            for h in range(self.heads):
                rows = (toggle_BSH[b, :, h] > 0).nonzero().squeeze(1)
                columns = (keep_BNH[b, :, h] > 0).nonzero().squeeze(1)
                if len(rows) == 0 or len(columns) == 0:
                    continue
                distance = distance_SN[rows][:, columns]
                scores = query_BSHK[b, rows, h] @ key_BNHK[b, columns, h].T
                bias = self.distance_bias_HL[h][distance.clamp(0, self.left_context)]
                scores = scores / math.sqrt(self.head_dim) + bias
                scores = scores.masked_fill(~self.visible(distance), -1e9)
                raw = (scores - scores.amax(-1, keepdim=True)).exp() * self.visible(distance)
                weights = raw / (raw.sum(-1, keepdim=True) + _TINY)
                y_BSHK[b, rows, h] = weights @ value_BNHK[b, columns, h]
        return y_BSHK

    # ---- cost

    def cost(self, toggles: Toggles, state: GatedAttentionState) -> Tensor:
        """Expected multiplications (B, S) of each frame, by its toggles and those before it."""
        keep_BNH = torch.cat([state.keep_BLH, toggles.key_BSH], dim=1)
        visible_SN = self.visible(self.distances(toggles.key_BSH.shape[1], keep_BNH.device))
        seen_BSH = torch.einsum("sn,bnh->bsh", visible_SN.to(keep_BNH.dtype), keep_BNH)
        per_query_BSH = self.query_multiplications + self.pair_multiplications * seen_BSH
        cost_BSH = toggles.query_BSH * per_query_BSH + toggles.key_BSH * self.key_multiplications
        return cost_BSH.sum(dim=-1)

    def full_cost(self, num_frames: int, state: GatedAttentionState) -> Tensor:
        """Multiplications (B, S) of each frame when everything is and was on."""
        frames_S = torch.arange(1, num_frames + 1, device=state.count_B1.device)
        seen_BS = (state.count_B1 + frames_S).clamp(max=self.left_context + 1)
        projections = self.query_multiplications + self.key_multiplications
        return self.heads * (projections + self.pair_multiplications * seen_BS)
