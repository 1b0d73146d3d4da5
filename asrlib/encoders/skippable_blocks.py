"""Parts of a Transformer that can be switched off frame by frame (arXiv 2207.02393, section 2).

Each part includes the LayerNorm at its input and its residual connection. There are two ways to
compute the same output. With masking, as in training, everything is computed and multiplied by its
toggles. With skipping, for inference on a CPU, gated_block.cc computes only what is on.

Shapes: B batch, S output frames, P pieces (all pieces of all inputs in the batch), W frames per
piece, H heads, K features per head, C = 2 K (key and value), L frames of left context, N keys
(N = L + S, or L + W within pieces), D = H K width.
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
    """Attention weights `softmax(scores + ln keep)` over the last axis.

    A row is zero if no key in it is both on and within reach. The function does not compute the
    logarithm, so that a key that is off (`keep` = 0) still has a gradient. Its score is limited to
    the best score among the keys that are on, so that this gradient is no larger than theirs.

    Args:
        scores_XN: scores, about -1e9 where a key is out of reach.
        keep_XN: toggles of the keys, from 0 (off) to 1 (on).
    """
    ahead_XN = scores_XN.detach()
    top_X1 = ahead_XN.masked_fill(keep_XN == 0, _NEVER).amax(-1, keepdim=True)
    nearest_X1 = ahead_XN.amax(-1, keepdim=True)  # for the gradient where no key is on
    top_X1 = torch.where(top_X1 > 0.5 * _NEVER, top_X1, nearest_X1).clamp(min=0.5 * _NEVER)
    parts_XN = keep_XN * (scores_XN - top_X1).clamp(max=0.0).exp()
    sum_X1 = parts_XN.sum(-1, keepdim=True)
    return parts_XN / sum_X1.masked_fill(sum_X1 == 0, 1.0)


@dataclass(frozen=True)
class GatedAttentionState:
    """Keys, values and toggles of the last L frames.

    Attributes:
        cache_BHLC: keys and values, oldest frame first.
        keep_BHL: toggles of the keys; 0 where a key is off or before the start of the stream.
    """

    cache_BHLC: Tensor
    keep_BHL: Tensor


class GatedFeedForward(nn.Module):
    """A feed-forward with a residual connection; its toggle multiplies the feed-forward's output.

    With a toggle of 0 the input passes unchanged.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.inner = FeedForward(dim, hidden_dim, dropout)
        self.multiplications = 2 * dim * hidden_dim  # per frame
        self._weights = list(self.inner.parameters())  # in the order of the kernel

    def forward(self, x_BSD: Tensor, toggle_BS: Tensor, skip: bool) -> Tensor:
        if not skip:
            return x_BSD + toggle_BS.unsqueeze(-1) * self.inner(x_BSD)
        return kernels().gated_feed_forward(x_BSD, toggle_BS, self._weights)


class GatedAttention(nn.Module):
    """Attention with a residual connection, whose queries and keys can be switched off.

    Each frame attends to itself and to the `left_context` frames before it. A toggle per head and
    frame switches a query or a key off. A query that is off gives zero for its head; no frame
    attends to a key that is off: the output is `A V` with `A = softmax(P + ln s)`, and 0 in a row
    without keys. Positions enter as a learned bias per head and distance, which is our choice,
    since it needs no multiplications.

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, left_context: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.head_dim, self.left_context = heads, dim // heads, left_context
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)  # per head: key, then value
        self.output = nn.Linear(dim, dim)
        self.distance_bias_HL = nn.Parameter(torch.zeros(heads, left_context + 1))
        self.query_multiplications = 2 * dim * self.head_dim  # per head and frame: input and output
        self.key_multiplications = 2 * dim * self.head_dim  # key and value
        self.pair_multiplications = 2 * self.head_dim  # per query and key that it attends to
        # In the order of the kernel; a list, since module attributes are slow to read.
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
        """Attend to the frames so far.

        Args:
            x_BSD: input.
            toggles: toggles of the block.
            state: state before these frames.
            skip: whether to skip what is off instead of masking it.

        Returns:
            Output, state after these frames and, if `skip`, the number of multiplications (B, S)
            that `cost` would return, else None. The kernel counts them itself, because a separate
            count takes noticeable time in small pieces.
        """
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
        first = int((keep_PHN > 0).flatten(0, 1).any(0).int().argmax())  # on in some piece
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
        """Expected multiplications (B, S) per frame, summed over Z attentions of equal size.

        Args:
            query_ZBHS: toggles of the queries.
            keep_ZBHN: toggles of the keys, including those of the L frames before.
        """
        seen_ZBHS = sum_within_reach(keep_ZBHN, self.left_context)
        per_query_ZBHS = self.query_multiplications + self.pair_multiplications * seen_ZBHS
        key_ZBHS = keep_ZBHN[..., self.left_context :]
        cost_ZBHS = query_ZBHS * per_query_ZBHS + key_ZBHS * self.key_multiplications
        return cost_ZBHS.sum(dim=(0, 2))

    def full_cost(self, num_frames: int, heard_B1: Tensor) -> Tensor:
        """Number of multiplications (B, S) per frame if all queries and keys are on.

        Args:
            num_frames: number of frames.
            heard_B1: number of frames before the first of them; values above L count as L.
        """
        seen_BS = keys_within_reach(num_frames, heard_B1, self.left_context)
        projections = self.query_multiplications + self.key_multiplications
        return self.heads * (projections + self.pair_multiplications * seen_BS)
