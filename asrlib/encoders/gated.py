"""Parts of a Transformer that can be switched off frame by frame (arXiv 2207.02393, section 2).

Each part computes the same in two ways: masked (training: everything is computed, and weighed
by its toggles) and skipping (streaming: only what is on is gathered and computed).

Shapes: B batch, S output frames, H heads, K features per head, C = 2 K (key and value), L frames
of left context, N = L + S keys, D = H K, R gathered rows, M most queries and P most keys that any
head has on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asrlib.encoders.attention import check_heads, distances, within_reach
from asrlib.encoders.conformer import FeedForward
from asrlib.encoders.toggles import Toggles

_TINY = 1e-9


@dataclass(frozen=True)
class GatedAttentionState:
    """Keys with values, and the keys' toggles, of the last L frames; zeros: nothing to attend to.

    count_B1: how many of them were heard.
    """

    cache_BHLC: Tensor
    keep_BHL: Tensor
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
        x_RD, on_R = x_BSD.flatten(0, 1), toggle_BS.flatten() > 0
        rows = on_R.nonzero().squeeze(1)
        if len(rows) == 0:
            return x_BSD
        if len(rows) == len(x_RD):
            return x_BSD + self.inner(x_BSD)
        return x_RD.index_add(0, rows, self.inner(x_RD[rows])).view_as(x_BSD)


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
        count_B1 = zeros_BHLC.new_zeros(batch_size, 1)
        return GatedAttentionState(zeros_BHLC, zeros_BHLC[..., 0], count_B1)

    def forward(
        self, x_BSD: Tensor, toggles: Toggles, state: GatedAttentionState, skip: bool
    ) -> tuple[Tensor, GatedAttentionState]:
        query_BHS, key_BHS = (t.transpose(1, 2) for t in (toggles.query_BSH, toggles.key_BSH))
        new_BHSC = self._keys_and_values(x_BSD, key_BHS, skip)
        cache_BHNC = torch.cat([state.cache_BHLC, new_BHSC], dim=2)
        keep_BHN = torch.cat([state.keep_BHL, key_BHS], dim=2)
        attend = self._attend_kept if skip else self._attend
        y_BSD = attend(x_BSD, cache_BHNC, keep_BHN, query_BHS)
        first = cache_BHNC.shape[2] - self.left_context
        count_B1 = (state.count_B1 + x_BSD.shape[1]).clamp(max=self.left_context)
        state = GatedAttentionState(cache_BHNC[:, :, first:], keep_BHN[:, :, first:], count_B1)
        return y_BSD, state

    def _keys_and_values(self, x_BSD: Tensor, key_BHS: Tensor, skip: bool) -> Tensor:
        """(B, H, S, C); with `skip` zeros where a key is off."""
        if not skip or all_on(key_BHS):
            return self._by_head(self.key_value(x_BSD))
        _, rows_BHP = most_on(key_BHS)
        new_BHSC = x_BSD.new_zeros(*key_BHS.shape, 2 * self.head_dim)
        if rows_BHP.shape[2] == 0:
            return new_BHSC
        kept_BHPC = self._project_rows(self.key_value, x_BSD, rows_BHP)
        return new_BHSC.scatter_(2, _along(rows_BHP, kept_BHPC.shape[3]), kept_BHPC)

    def _by_head(self, y_BSX: Tensor) -> Tensor:
        return y_BSX.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    # ---- masked

    def _attend(
        self, x_BSD: Tensor, cache_BHNC: Tensor, keep_BHN: Tensor, query_BHS: Tensor
    ) -> Tensor:
        key_BHNK, value_BHNK = cache_BHNC.chunk(2, dim=3)
        scores_BHSN = self._by_head(self.query(x_BSD)) @ key_BHNK.transpose(2, 3)
        distance_SN = distances(x_BSD.shape[1], self.left_context).to(x_BSD.device)
        bias_HSN = self.distance_bias_HL[:, distance_SN.clamp(0, self.left_context)]
        scores_BHSN = scores_BHSN / math.sqrt(self.head_dim) + bias_HSN
        keep_BH1N = keep_BHN.unsqueeze(2)
        usable_BHSN = within_reach(distance_SN, self.left_context) & (keep_BH1N > 0)
        scores_BHSN = scores_BHSN.masked_fill(~usable_BHSN, -1e9)
        highest_BHS1 = scores_BHSN.amax(dim=-1, keepdim=True).detach()
        raw_BHSN = (scores_BHSN - highest_BHS1).exp() * keep_BH1N * usable_BHSN
        y_BHSK = (raw_BHSN / (raw_BHSN.sum(dim=-1, keepdim=True) + _TINY)) @ value_BHNK
        return self.output((y_BHSK * query_BHS.unsqueeze(3)).transpose(1, 2).flatten(2))

    # ---- skipping

    def _project_rows(self, linear: nn.Linear, x_BSD: Tensor, rows_BHM: Tensor) -> Tensor:
        """Each head's part of a linear (B, H, M, ...), at its own rows of x alone."""
        batch, heads, length = rows_BHM.shape
        x_BHSD = x_BSD.unsqueeze(1).expand(-1, heads, -1, -1)
        x_BHMD = x_BHSD.gather(2, _along(rows_BHM, x_BSD.shape[2]))
        x_HRD = x_BHMD.transpose(0, 1).reshape(heads, batch * length, -1)
        y_HRX = x_HRD @ linear.weight.unflatten(0, (heads, -1)).transpose(1, 2)
        if linear.bias is not None:
            y_HRX = y_HRX + linear.bias.view(heads, 1, -1)
        return y_HRX.unflatten(1, (batch, length)).transpose(0, 1)

    def _attend_kept(
        self, x_BSD: Tensor, cache_BHNC: Tensor, keep_BHN: Tensor, query_BHS: Tensor
    ) -> Tensor:
        """As `_attend`, of hard toggles: queries, keys and sums of those that are on alone."""
        if all_on(query_BHS) and all_on(keep_BHN):
            return self._attend(x_BSD, cache_BHNC, keep_BHN, query_BHS)
        on_BHM, rows_BHM = most_on(query_BHS)
        kept_BHP, keys_BHP = most_on(keep_BHN)
        if rows_BHM.shape[2] == 0 or keys_BHP.shape[2] == 0:
            return self.output.bias.expand_as(x_BSD)
        query_BHMK = self._project_rows(self.query, x_BSD, rows_BHM)
        key_BHPK, value_BHPK = cache_BHNC.gather(2, _along(keys_BHP, cache_BHNC.shape[3])).chunk(
            2, dim=3
        )
        scores_BHMP = query_BHMK @ key_BHPK.transpose(2, 3) / math.sqrt(self.head_dim)
        distance_BHMP = rows_BHM.unsqueeze(3) + self.left_context - keys_BHP.unsqueeze(2)
        usable_BHMP = within_reach(distance_BHMP, self.left_context) & (kept_BHP.unsqueeze(2) > 0)
        reach_BHMP = distance_BHMP.clamp(0, self.left_context)
        bias_BHMP = (
            self.distance_bias_HL.expand(len(x_BSD), -1, -1)
            .gather(2, reach_BHMP.flatten(2))
            .view_as(scores_BHMP)
        )
        scores_BHMP = (scores_BHMP + bias_BHMP).masked_fill(~usable_BHMP, float("-inf"))
        # A row without a key is a softmax of nothing: it gives 0.
        y_BHMK = scores_BHMP.softmax(dim=3).nan_to_num(0.0) @ value_BHPK
        return self._combine(y_BHMK * on_BHM.unsqueeze(3), rows_BHM, x_BSD)

    def _combine(self, y_BHMK: Tensor, rows_BHM: Tensor, x_BSD: Tensor) -> Tensor:
        """The heads' shares of the output, added up where their queries are on."""
        batch, heads, length, _ = y_BHMK.shape
        weight_HKD = self.output.weight.T.unflatten(0, (heads, -1))
        y_HRD = y_BHMK.transpose(0, 1).reshape(heads, batch * length, -1) @ weight_HKD
        y_BXD = y_HRD.unflatten(1, (batch, length)).transpose(0, 1).flatten(1, 2)
        out_BSD = self.output.bias.expand_as(x_BSD).clone()
        return out_BSD.scatter_add_(1, _along(rows_BHM.flatten(1), x_BSD.shape[2]), y_BXD)

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


def all_on(toggles: Tensor) -> bool:
    """Whether hard toggles are all 1."""
    return bool(toggles.all())


def most_on(toggle_BHS: Tensor) -> tuple[Tensor, Tensor]:
    """The frames that are on, as many of each head as the head with the most has (M).

    Returns:
        toggles (B, H, M) and frames (B, H, M): heads with fewer are filled up with frames that
        are off, whose toggle is 0.
    """
    size = int((toggle_BHS > 0).sum(dim=-1).max())
    return toggle_BHS.topk(size, dim=-1, sorted=False)


def _along(index: Tensor, size: int) -> Tensor:
    """An index of rows for `gather` and `scatter` of rows of `size` features."""
    return index.unsqueeze(-1).expand(*index.shape, size)
