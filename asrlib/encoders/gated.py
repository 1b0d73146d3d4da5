"""Parts of a Transformer that can be switched off frame by frame (arXiv 2207.02393, section 2).

Each part computes the same in two ways: masked (training: everything is computed, and weighed
by its toggles) and skipping (streaming: only the frames at which something is on are gathered and
computed, and a part without any does nothing). A stream's pieces are short, so that calls cost more
than products: skipping looks at the toggles outside torch, and makes few calls.

Shapes: B batch, S output frames, H heads, K features per head, C = 2 K (key and value), L frames
of left context, N = L + S keys, D = H K, R gathered rows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from asrlib.encoders.attention import check_heads, distances, within_reach
from asrlib.encoders.conformer import FeedForward
from asrlib.encoders.toggles import Toggles

_TINY = 1e-9


@dataclass(frozen=True)
class GatedAttentionState:
    """Keys with values, and the keys' toggles, of the last L frames; zeros: nothing to see."""

    cache_BHLC: Tensor
    keep_BHL: Tensor


class GatedFeedForward(nn.Module):
    """A feed-forward whose output counts as its toggle says; 0: the input passes unchanged."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.inner = FeedForward(dim, hidden_dim, dropout)
        self.multiplications = 2 * dim * hidden_dim  # of a frame

    def forward(self, x_BSD: Tensor, toggles: Toggles, rows: Rows | None) -> Tensor:
        if rows is None:
            return x_BSD + toggles.feedforward_BS.unsqueeze(-1) * self.inner(x_BSD)
        rows_R = rows.feedforward_R
        if rows_R is None:
            return x_BSD + self.inner(x_BSD)
        if len(rows_R) == 0:
            return x_BSD
        x_RD = x_BSD.flatten(0, 1)
        return x_RD.index_add(0, rows_R, self.inner(x_RD[rows_R])).view_as(x_BSD)


class GatedAttention(nn.Module):
    """Attention over this frame and the `left_context` before it, by head and frame on or off.

    A query that is off gives a zero for its head; a key that is off is seen by no later frame:
    `softmax(P + ln s) V`, in training as weights `s exp(P)` over their sum, so that a row without
    a key gives 0. Positions are a learned bias for each head and distance (our choice: it costs no
    product).

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, left_context: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.head_dim, self.left_context = heads, dim // heads, left_context
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)  # by head: its key, its value
        self.output = nn.Linear(dim, dim)
        self.distance_bias_HL = nn.Parameter(torch.zeros(heads, left_context + 1))
        self.query_multiplications = 2 * dim * self.head_dim  # of a head and frame: in and out
        self.key_multiplications = 2 * dim * self.head_dim  # key and value
        self.pair_multiplications = 2 * self.head_dim  # of a query and a key that it sees

    def product_multiplications(self, num_frames: int) -> float:
        """Multiplications of scores and weighted sums with everything on, Linears left out."""
        return float(num_frames * self.heads * self.pair_multiplications * (self.left_context + 1))

    def initial_state(self, batch_size: int, device: torch.device) -> GatedAttentionState:
        shape = (batch_size, self.heads, self.left_context, 2 * self.head_dim)
        zeros_BHLC = self.output.weight.new_zeros(shape, device=device)
        return GatedAttentionState(zeros_BHLC, zeros_BHLC[..., 0])

    def forward(
        self, x_BSD: Tensor, toggles: Toggles, state: GatedAttentionState, rows: Rows | None
    ) -> tuple[Tensor, GatedAttentionState]:
        """Masked; with `rows` skipping."""
        new_BHSC = self._by_head(at_frames(self.key_value, x_BSD, rows and rows.key_R))
        cache_BHNC = torch.cat([state.cache_BHLC, new_BHSC], dim=2)
        keep_BHN = torch.cat([state.keep_BHL, toggles.key_BSH.transpose(1, 2)], dim=2)
        if rows is None:
            y_BSD = self._attend(x_BSD, cache_BHNC, keep_BHN, toggles.query_BSH)
        else:
            y_BSD = self._attend_kept(x_BSD, cache_BHNC, keep_BHN, toggles.query_BSH, rows.query_R)
        first = cache_BHNC.shape[2] - self.left_context
        return y_BSD, GatedAttentionState(cache_BHNC[:, :, first:], keep_BHN[:, :, first:])

    def _by_head(self, y_BSX: Tensor) -> Tensor:
        return y_BSX.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(
        self, x_BSD: Tensor, cache_BHNC: Tensor, keep_BHN: Tensor, query_BSH: Tensor
    ) -> Tensor:
        key_BHNK, value_BHNK = cache_BHNC.chunk(2, dim=3)
        scores_BHSN = self._by_head(self.query(x_BSD)) @ key_BHNK.transpose(2, 3)
        scores_BHSN = scores_BHSN / math.sqrt(self.head_dim) + self._bias(x_BSD.shape[1])
        keep_BH1N = keep_BHN.unsqueeze(2)
        usable_BHSN = (scores_BHSN > -math.inf) & (keep_BH1N > 0)
        scores_BHSN = scores_BHSN.masked_fill(~usable_BHSN, -1e9)
        highest_BHS1 = scores_BHSN.amax(dim=-1, keepdim=True).detach()
        raw_BHSN = (scores_BHSN - highest_BHS1).exp() * keep_BH1N * usable_BHSN
        y_BHSK = (raw_BHSN / (raw_BHSN.sum(dim=-1, keepdim=True) + _TINY)) @ value_BHNK
        return self.output((y_BHSK.transpose(1, 2) * query_BSH.unsqueeze(3)).flatten(2))

    def _attend_kept(
        self,
        x_BSD: Tensor,
        cache_BHNC: Tensor,
        keep_BHN: Tensor,
        query_BSH: Tensor,
        rows_R: Tensor | None,
    ) -> Tensor:
        """As `_attend`, of hard toggles, of queries that are on alone."""
        if (rows_R is not None and len(rows_R) == 0) or not keep_BHN.cpu().numpy().any():
            return self.output.bias.expand_as(x_BSD)
        key_BHNK, value_BHNK = cache_BHNC.chunk(2, dim=3)
        query_BHSK = self._by_head(at_frames(self.query, x_BSD, rows_R))
        scores_BHSN = torch.add(
            self._bias(x_BSD.shape[1]),
            query_BHSK @ key_BHNK.transpose(2, 3),
            alpha=1.0 / math.sqrt(self.head_dim),
        )
        # A row without a key is a softmax of nothing: it gives 0.
        weights_BHSN = (scores_BHSN + keep_BHN.log().unsqueeze(2)).softmax(dim=3)
        y_BSHK = (weights_BHSN @ value_BHNK).nan_to_num(0.0).transpose(1, 2)
        y_BSD = (y_BSHK * query_BSH.unsqueeze(3)).flatten(2)
        return at_frames(self.output, y_BSD, rows_R, self.output.bias)

    def _bias(self, num_frames: int) -> Tensor:
        """Of each head by distance (H, S, N); -inf for keys that are out of reach."""
        reach_SN, hidden_SN = _reach(num_frames, self.left_context, self.distance_bias_HL.device)
        return self.distance_bias_HL[:, reach_SN] + hidden_SN

    # ---- cost

    def cost(self, query_ZBHS: Tensor, keep_ZBHN: Tensor) -> Tensor:
        """Expected multiplications (B, S) of each frame in Z equal attentions together.

        Args:
            query_ZBHS: toggles of the queries.
            keep_ZBHN: toggles of the keys, those of the L frames before included.
        """
        num_frames = query_ZBHS.shape[3]
        distance_SN = distances(num_frames, self.left_context).to(keep_ZBHN.device)
        seen_ZBHS = keep_ZBHN @ within_reach(distance_SN, self.left_context).to(keep_ZBHN.dtype).T
        per_query_ZBHS = self.query_multiplications + self.pair_multiplications * seen_ZBHS
        key_ZBHS = keep_ZBHN[..., self.left_context :]
        cost_ZBHS = query_ZBHS * per_query_ZBHS + key_ZBHS * self.key_multiplications
        return cost_ZBHS.sum(dim=(0, 2))

    def full_cost(self, num_frames: int, count_B1: Tensor) -> Tensor:
        """Multiplications (B, S) of each frame when everything is and was on.

        Args:
            count_B1: frames heard before.
        """
        frames_S = torch.arange(1, num_frames + 1, device=count_B1.device)
        seen_BS = (count_B1 + frames_S).clamp(max=self.left_context + 1)
        projections = self.query_multiplications + self.key_multiplications
        return self.heads * (projections + self.pair_multiplications * seen_BS)


@dataclass(frozen=True)
class Rows:
    """Frames of a piece, streams one after another, at which a block has something to compute.

    None: at all of them.
    """

    feedforward_R: Tensor | None
    query_R: Tensor | None
    key_R: Tensor | None


def rows_on(toggles: Sequence[Toggles]) -> list[Rows]:
    """Where hard toggles of some blocks are on: of attention, where any head's is."""
    parts = [p for t in toggles for p in (t.feedforward_BS.unsqueeze(2), t.query_BSH, t.key_BSH)]
    sizes = [part.shape[2] for part in parts]
    on_RN = torch.cat(parts, dim=2).flatten(0, 1).detach().cpu().numpy() > 0
    on_RP = np.logical_or.reduceat(on_RN, np.cumsum([0, *sizes[:-1]]), axis=1)
    rows = [
        None if all_on else torch.from_numpy(np.flatnonzero(on_RP[:, i])).to(parts[0].device)
        for i, all_on in enumerate(on_RP.all(axis=0))
    ]
    return [Rows(*rows[i : i + 3]) for i in range(0, len(rows), 3)]


def at_frames(
    linear: nn.Linear, x_BSD: Tensor, rows_R: Tensor | None, elsewhere: Tensor | None = None
) -> Tensor:
    """A Linear of some frames (None: of all), `elsewhere` (0 by default) at the others."""
    if rows_R is None:
        return linear(x_BSD)
    shape = (*x_BSD.shape[:2], linear.out_features)
    y_BSX = x_BSD.new_zeros(shape) if elsewhere is None else elsewhere.expand(shape).clone()
    if len(rows_R):
        y_BSX.flatten(0, 1).index_copy_(0, rows_R, linear(x_BSD.flatten(0, 1)[rows_R]))
    return y_BSX


@functools.lru_cache(maxsize=64)
def _reach(num_frames: int, left_context: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Distances (S, N) within 0 .. L, and what to add to scores: -inf where they were not."""
    distance_SN = distances(num_frames, left_context).to(device)
    hidden_SN = torch.zeros(distance_SN.shape, device=device)
    hidden_SN.masked_fill_(~within_reach(distance_SN, left_context), -math.inf)
    return distance_SN.clamp(0, left_context), hidden_SN
