"""Parts of a Transformer that can be switched off frame by frame (arXiv 2207.02393, section 2).

Each part, behind its LayerNorm and with its residual connection, computes the same in two ways:
masked (training: everything is computed, and weighed by its toggles) and skipping (inference on a
CPU: only what is on is computed, by gated_block.cc).

Shapes: B batch, S output frames, P pieces of the batch's inputs, W frames of a piece, H heads,
K features per head, C = 2 K (key and value), L frames of left context, N keys: L and S or W,
D = H K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asrlib.encoders.toggles import Toggles
from asrlib.layers.attention import (
    Pieces,
    by_key,
    check_heads,
    distances,
    keys_within_reach,
    sum_within_reach,
    within_reach,
)
from asrlib.layers.compiled_ops import kernels
from asrlib.layers.feed_forward import FeedForward

_NEVER = -1e9


def weights_of_keys(scores_XN: Tensor, keep_XN: Tensor) -> Tensor:
    """`softmax(scores + ln keep)` over the last axis; zeros where no key is on and within reach.

    The logarithm is not taken, and a key that is off has a gradient: it would be on as one whose
    score is that of the best that is on, at most, so that it is no larger than anything there.

    Args:
        scores_XN: about -1e9 where a key is out of reach.
    """
    ahead_XN = scores_XN.detach()
    top_X1 = ahead_XN.masked_fill(keep_XN == 0, _NEVER).amax(-1, keepdim=True)
    nearest_X1 = ahead_XN.amax(-1, keepdim=True)  # where none is on: for the gradient
    top_X1 = torch.where(top_X1 > 0.5 * _NEVER, top_X1, nearest_X1).clamp(min=0.5 * _NEVER)
    parts_XN = keep_XN * (scores_XN - top_X1).clamp(max=0.0).exp()
    sum_X1 = parts_XN.sum(-1, keepdim=True)
    return parts_XN / sum_X1.masked_fill(sum_X1 == 0, 1.0)


@dataclass(frozen=True)
class GatedAttentionState:
    """Keys with values, and their toggles, of the last L frames; zeros: nothing to attend to."""

    cache_BHLC: Tensor
    keep_BHL: Tensor


class GatedFeedForward(nn.Module):
    """A feed-forward whose output counts as its toggle says; 0: the input passes unchanged."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.inner = FeedForward(dim, hidden_dim, dropout)
        self.multiplications = 2 * dim * hidden_dim  # of a frame
        self._weights = list(self.inner.parameters())  # norm, expand, contract: the kernel's order

    def forward(self, x_BSD: Tensor, toggle_BS: Tensor, skip: bool) -> Tensor:
        if not skip:
            return x_BSD + toggle_BS.unsqueeze(-1) * self.inner(x_BSD)
        return kernels().gated_feed_forward(x_BSD, toggle_BS, self._weights)


class GatedAttention(nn.Module):
    """Attention over this frame and the `left_context` before it, by head and frame on or off,
    added to its input.

    A query that is off gives a zero for its head; a key that is off is seen by no later frame:
    `A V` with `A = softmax(P + ln s)`, where a row without a key gives 0. Positions are a learned
    bias for each head and distance (ours: it costs no product).

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, left_context: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.head_dim, self.left_context = heads, dim // heads, left_context
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)  # by head: its key, its value
        self.output = nn.Linear(dim, dim)
        self.distance_bias_HL = nn.Parameter(torch.zeros(heads, left_context + 1))
        self.query_multiplications = 2 * dim * self.head_dim  # of a head and frame: in and out
        self.key_multiplications = 2 * dim * self.head_dim  # key and value
        self.pair_multiplications = 2 * self.head_dim  # of a query and a key that it sees
        # In the kernel's order; a list, since a module's attributes take time to find.
        both = [w for m in (self.norm, self.query) for w in (m.weight, m.bias)]
        output = [self.output.weight, self.output.bias]
        self._weights = [*both, self.key_value.weight, *output, self.distance_bias_HL]

    def initial_state(self, batch_size: int, device: torch.device) -> GatedAttentionState:
        shape = (batch_size, self.heads, self.left_context, 2 * self.head_dim)
        zeros_BHLC = self.output.weight.new_zeros(shape, device=device)
        return GatedAttentionState(zeros_BHLC, zeros_BHLC[..., 0])

    def forward(
        self, x_BSD: Tensor, toggles: Toggles, state: GatedAttentionState, skip: bool
    ) -> tuple[Tensor, GatedAttentionState, Tensor | None]:
        """Output, the memory after it and, where it skips, what `cost` would give (B, S): what is
        not made is known best there, and in small pieces another count would take its time."""
        if skip:
            y_BSD, cache_BHLC, keep_BHL, spent_BS = kernels().gated_attention(
                *(x_BSD, toggles.query_BSH, toggles.key_BSH, state.cache_BHLC, state.keep_BHL),
                self._weights,
            )
            return y_BSD, GatedAttentionState(cache_BHLC, keep_BHL), spent_BS
        query_BHS, key_BHS = (t.transpose(1, 2) for t in (toggles.query_BSH, toggles.key_BSH))
        normed_BSD = self.norm(x_BSD)
        new_BHSC = self._by_head(self.key_value(normed_BSD))
        cache_BHNC = torch.cat([state.cache_BHLC, new_BHSC], dim=2)
        keep_BHN = torch.cat([state.keep_BHL, key_BHS], dim=2)
        y_BSD = self._attend(normed_BSD, cache_BHNC, keep_BHN, query_BHS)
        first = cache_BHNC.shape[2] - self.left_context
        state = GatedAttentionState(cache_BHNC[:, :, first:], keep_BHN[:, :, first:])
        return x_BSD + self.dropout(y_BSD), state, None

    def _by_head(self, y_BSX: Tensor) -> Tensor:
        return y_BSX.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(
        self, x_BSD: Tensor, cache_BHNC: Tensor, keep_BHN: Tensor, query_BHS: Tensor
    ) -> Tensor:
        pieces = Pieces(x_BSD.shape[1], self.left_context)
        keep_PHN = pieces.cut(keep_BHN, 2, self.left_context)
        first = int((keep_PHN > 0).flatten(0, 1).any(0).int().argmax())  # usable in any piece
        keep_PHN = keep_PHN[..., first:]
        within_WN = within_reach(distances(pieces.length, self.left_context), self.left_context)
        within_WN = within_WN[:, first:].to(x_BSD.device)
        bias_HWL = self.distance_bias_HL.flip(1).unsqueeze(1).expand(-1, pieces.length, -1)
        bias_HWN = by_key(bias_HWL)[..., first:].masked_fill(~within_WN, _NEVER)
        query_PHWK = pieces.cut(self._by_head(self.query(x_BSD)) / math.sqrt(self.head_dim), 2)
        cache_PHNC = pieces.cut(cache_BHNC, 2, self.left_context)[:, :, first:]
        key_PHNK, value_PHNK = cache_PHNC.chunk(2, dim=3)
        scores_PHWN = query_PHWK @ key_PHNK.transpose(2, 3) + bias_HWN
        y_PHWK = weights_of_keys(scores_PHWN, keep_PHN.unsqueeze(2)) @ value_PHNK
        y_BHSK = pieces.join(y_PHWK, 2)
        return self.output((y_BHSK * query_BHS.unsqueeze(3)).transpose(1, 2).flatten(2))

    def cost(self, query_ZBHS: Tensor, keep_ZBHN: Tensor) -> Tensor:
        """Expected multiplications (B, S) of each frame in Z equal attentions together.

        Args:
            query_ZBHS: toggles of the queries.
            keep_ZBHN: toggles of the keys, those of the L frames before included.
        """
        seen_ZBHS = sum_within_reach(keep_ZBHN, self.left_context)
        per_query_ZBHS = self.query_multiplications + self.pair_multiplications * seen_ZBHS
        key_ZBHS = keep_ZBHN[..., self.left_context :]
        cost_ZBHS = query_ZBHS * per_query_ZBHS + key_ZBHS * self.key_multiplications
        return cost_ZBHS.sum(dim=(0, 2))

    def full_cost(self, num_frames: int, heard_B1: Tensor) -> Tensor:
        """Multiplications (B, S) of each frame when everything is and was on.

        Args:
            heard_B1: frames heard before; more than L are as L.
        """
        seen_BS = keys_within_reach(num_frames, heard_B1, self.left_context)
        projections = self.query_multiplications + self.key_multiplications
        return self.heads * (projections + self.pair_multiplications * seen_BS)
