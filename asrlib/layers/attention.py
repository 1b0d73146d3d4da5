"""Self-attention that streams: every frame sees itself and a bounded number of frames before it.

The bound is the same in training and in streaming, so that both compute the same. Positions are
relative (Transformer-XL, arXiv 1901.02860, as in the Conformer, arXiv 2005.08100): the score of
query i and key j has a term for the distance i - j, 0 .. L.

Long inputs are cut into pieces that see their past as a stream does, so that what no frame sees
is hardly computed.

Shapes: B batch, S output frames, P pieces of the batch's inputs, W frames of a piece, H heads,
K features per head, L frames of left context, N keys: L and S or W, D = H K.
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


def sum_within_reach(x_XN: Tensor, left_context: int) -> Tensor:
    """Sums (..., S) over every frame and the L before it, of values (..., L + S) whose first L are
    of frames before."""
    sums_XN = F.pad(x_XN, (1, 0)).cumsum(-1)
    return sums_XN[..., left_context + 1 :] - sums_XN[..., : x_XN.shape[-1] - left_context]


def keys_within_reach(num_frames: int, heard_B1: Tensor, left_context: int) -> Tensor:
    """How many keys (B, S) each frame sees, its own included, after `heard_B1` frames; more than L
    are as L."""
    frames_S = torch.arange(1, num_frames + 1, device=heard_B1.device)
    return (heard_B1 + frames_S).clamp(max=left_context + 1)


def by_key(scores_XSL: Tensor) -> Tensor:
    """Scores of every query for the distances L .. 0 as scores (..., S, N) for keys, the first key
    L frames before query 0; 0 where a key is not within reach.

    The relative shift of arXiv 1901.02860, appendix B, without a gather, whose gradient is slow.
    """
    num_frames, reach = scores_XSL.shape[-2:]
    num_keys = num_frames + reach - 1
    rows = F.pad(scores_XSL, (0, num_frames)).flatten(-2)  # of N + 1 each: the next begins 1 later
    return rows[..., : num_frames * num_keys].unflatten(-1, (num_frames, num_keys))


@dataclass(frozen=True)
class Pieces:
    """Cuts frames into pieces of at least the left context, which become a batch of streams: their
    products grow with the number of frames, not with its square."""

    num_frames: int
    left_context: int

    @property
    def length(self) -> int:
        """Frames W of a piece; the last piece of an input is filled up."""
        return math.ceil(self.num_frames / max(1, self.num_frames // self.left_context))

    @property
    def count(self) -> int:
        """Pieces of each input."""
        return math.ceil(self.num_frames / self.length)

    def cut(self, x: Tensor, dim: int, past: int = 0) -> Tensor:
        """Pieces (P, ...) of x (B, ...) along `dim`, each with `past` frames before it, which x has
        at its beginning."""
        if self.count == 1:
            return x
        missing = past + self.count * self.length - x.shape[dim]
        x = F.pad(x, (0, 0) * (x.ndim - dim - 1) + (0, missing))
        windows = x.unfold(dim, past + self.length, self.length)
        return windows.movedim((dim, -1), (1, dim + 1)).flatten(0, 1)

    def join(self, y: Tensor, dim: int) -> Tensor:
        """Whole inputs (B, ...) of pieces (P, ...) without a past."""
        if self.count == 1:
            return y
        y = y.unflatten(0, (-1, self.count)).movedim(1, dim).flatten(dim, dim + 1)
        return y.narrow(dim, 0, self.num_frames)

    def heard(self, heard_B1: Tensor) -> Tensor:
        """Frames (P, 1) heard before each piece, at most L, of those heard before each input."""
        starts_C = self.length * torch.arange(self.count, device=heard_B1.device)
        return (heard_B1 + starts_C).clamp(max=self.left_context).reshape(-1, 1)


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
        self.register_buffer("codes", sinusoids(left_context + 1, dim).flip(0), persistent=False)
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def product_multiplications(self, num_frames: int, state: AttentionState) -> float:
        """Multiplications of scores and weighted sums for frames after `state`, Linears left out.

        Every frame against itself and what of the left context was heard, in three products:
        content, position, values. What masking throws away is not counted, since a stream need not
        compute it; nor are the projected codes, which are constants.
        """
        seen_BS = keys_within_reach(num_frames, state.count_B1, self.left_context)
        return 3.0 * float(seen_BS.sum()) * self.heads * self.head_dim

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
        y_BSHK = self._attend(query_BSHK, key_BNHK, value_BNHK, state.count_B1)
        count_B1 = (state.count_B1 + x_BSD.shape[1]).clamp(max=self.left_context)
        first = key_BNHK.shape[1] - self.left_context
        state = AttentionState(key_BNHK[:, first:], value_BNHK[:, first:], count_B1)
        return self.output(y_BSHK.flatten(2)), state

    def _attend(
        self, query_BSHK: Tensor, key_BNHK: Tensor, value_BNHK: Tensor, count_B1: Tensor
    ) -> Tensor:
        """Weighted values (B, S, H, K)."""
        pieces = Pieces(query_BSHK.shape[1], self.left_context)
        count_P1 = pieces.heard(count_B1)
        unheard = self.left_context - int(count_P1.max())  # in every piece: not worth computing
        query_PWHK = pieces.cut(query_BSHK, 1)
        key_PNHK = pieces.cut(key_BNHK, 1, self.left_context)[:, unheard:]
        value_PNHK = pieces.cut(value_BNHK, 1, self.left_context)[:, unheard:]
        scores_PHWN = self._scores(query_PWHK, key_PNHK, unheard)
        mask_PWN = self._visible(pieces.length, count_P1)[..., unheard:]
        weights_PHWN = scores_PHWN.masked_fill(~mask_PWN.unsqueeze(1), -math.inf).softmax(dim=-1)
        return pieces.join(torch.einsum("phwn,pnhk->pwhk", weights_PHWN, value_PNHK), 1)

    def _scores(self, query_PWHK: Tensor, key_PNHK: Tensor, unheard: int) -> Tensor:
        """Scaled scores (P, H, W, N); those of invisible keys mean nothing."""
        query_PWHK = query_PWHK / math.sqrt(self.head_dim)
        scale = 1 / math.sqrt(self.head_dim)
        content_bias, position_bias = scale * self.content_bias_HK, scale * self.position_bias_HK
        content = torch.einsum("pwhk,pnhk->phwn", query_PWHK + content_bias, key_PNHK)
        by_distance = torch.einsum("pwhk,lhk->phwl", query_PWHK + position_bias, self._codes())
        return content + by_key(by_distance)[..., unheard:]

    def _codes(self) -> Tensor:
        """Projected codes (L + 1, H, K) of the distances L .. 0; kept in inference, as long as the
        weights stay as they are: in streams of small pieces they would cost as much as the
        queries."""
        weight = self.position.weight
        if torch.is_grad_enabled() or weight.is_inference():  # the latter do not tell of changes
            return self._projected()
        version = (weight.data_ptr(), weight._version)
        if self._kept is None or self._kept[0] != version:
            self._kept = version, self._projected()
        return self._kept[1]

    def _projected(self) -> Tensor:
        projected = F.linear(self.codes, self.position.weight)  # a constant: hooks do not count it
        return projected.unflatten(-1, (self.heads, self.head_dim))

    def _visible(self, num_frames: int, count_B1: Tensor) -> Tensor:
        """Which keys (B, S, N) a query sees: not the future, within L, and heard."""
        distance_SN = distances(num_frames, self.left_context).to(count_B1.device)
        within_SN = within_reach(distance_SN, self.left_context)
        keys_N = torch.arange(-self.left_context, num_frames, device=count_B1.device)
        return within_SN & (keys_N >= -count_B1).unsqueeze(1)
