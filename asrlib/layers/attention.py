"""Self-attention for streaming: a frame attends to itself and to a bounded number of past frames.

The bound is the same in training and in streaming, so both compute the same output. Positions are
relative (Transformer-XL, arXiv 1901.02860, as in the Conformer, arXiv 2005.08100): the score of
query i and key j has a term that depends on the distance i - j, from 0 to L.

Long inputs are cut into pieces, and each piece attends to the frames before it as a stream does.
This avoids most products of queries with keys that are out of their reach.

Shapes: B batch, S output frames, P pieces (all pieces of all inputs in the batch), W frames per
piece, H heads, K features per head, L frames of left context, N keys (N = L + S, or L + W within
pieces), D = H K width.
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
    """Keys and values of the last L frames.

    Attributes:
        key_BLHK: keys, oldest frame first.
        value_BLHK: values in the same order.
        count_B1: number of these frames, counted from the end, that belong to the stream; the
            others are zeros that stand for the time before its start.
    """

    key_BLHK: Tensor
    value_BLHK: Tensor
    count_B1: Tensor


def check_heads(dim: int, heads: int) -> None:
    """Check that the number of heads divides the width.

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """
    if dim % heads:
        raise ConfigError(
            f"encoder.heads: {heads} does not divide encoder.dim = {dim}",
            "choose a number of heads that divides the width",
        )


def sinusoids(count: int, dim: int) -> Tensor:
    """Sinusoidal encodings (count, dim) of the distances 0 .. count - 1 (arXiv 1706.03762)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(count).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim]


@functools.lru_cache(maxsize=64)
def distances(num_frames: int, left_context: int) -> Tensor:
    """Distances i - j (S, N) from query i to key j; the first key is L frames before query 0."""
    return torch.arange(num_frames).unsqueeze(1) - torch.arange(-left_context, num_frames)


def within_reach(distance: Tensor, left_context: int) -> Tensor:
    """Mask, True where a key is neither in the future nor more than `left_context` frames back."""
    return (distance >= 0) & (distance <= left_context)


def sum_within_reach(x_XN: Tensor, left_context: int) -> Tensor:
    """Moving sums (..., S) over each frame and the L frames before it.

    Args:
        x_XN: values (..., L + S); the first L belong to the frames before the S summed ones.
    """
    sums_XN = F.pad(x_XN, (1, 0)).cumsum(-1)
    return sums_XN[..., left_context + 1 :] - sums_XN[..., : x_XN.shape[-1] - left_context]


def keys_within_reach(num_frames: int, heard_B1: Tensor, left_context: int) -> Tensor:
    """Number of keys (B, S) that each frame attends to, its own included.

    Args:
        heard_B1: number of frames before the first one; values above L count as L.
    """
    frames_S = torch.arange(1, num_frames + 1, device=heard_B1.device)
    return (heard_B1 + frames_S).clamp(max=left_context + 1)


def by_key(scores_XSL: Tensor) -> Tensor:
    """Rearrange scores by distance into scores by key, (..., S, N).

    This is the relative shift of arXiv 1901.02860, appendix B. It pads and reshapes instead of
    gathering, because the gradient of a gather is slow.

    Args:
        scores_XSL: scores (..., S, L + 1) of each query for the distances L .. 0.

    Returns:
        Scores of each query for each key; the first key is L frames before query 0. The score is
        0 where a key is out of reach.
    """
    num_frames, reach = scores_XSL.shape[-2:]
    num_keys = num_frames + reach - 1
    rows = F.pad(scores_XSL, (0, num_frames)).flatten(-2)  # rows of N + 1: each shifts by one
    return rows[..., : num_frames * num_keys].unflatten(-1, (num_frames, num_keys))


@dataclass(frozen=True)
class Pieces:
    """Cuts inputs into pieces, which are then processed as a batch of streams.

    A piece is at least as long as the left context. The number of products of queries with keys
    then grows linearly with the number of frames, not with its square.

    Attributes:
        num_frames: frames S of each input.
        left_context: frames L before a frame that it attends to.
    """

    num_frames: int
    left_context: int

    @property
    def length(self) -> int:
        """Number of frames W per piece; the last piece of an input is padded to it."""
        return math.ceil(self.num_frames / max(1, self.num_frames // self.left_context))

    @property
    def count(self) -> int:
        """Number of pieces per input."""
        return math.ceil(self.num_frames / self.length)

    def cut(self, x: Tensor, dim: int, past: int = 0) -> Tensor:
        """Cut x (B, ...) along `dim` into pieces (P, ...).

        Args:
            past: number of earlier frames that each piece includes; x begins with as many frames
                before the first piece.
        """
        if self.count == 1:
            return x
        missing = past + self.count * self.length - x.shape[dim]
        x = F.pad(x, (0, 0) * (x.ndim - dim - 1) + (0, missing))
        windows = x.unfold(dim, past + self.length, self.length)
        return windows.movedim((dim, -1), (1, dim + 1)).flatten(0, 1)

    def join(self, y: Tensor, dim: int) -> Tensor:
        """Join pieces (P, ...), which include no earlier frames, into whole inputs (B, ...)."""
        if self.count == 1:
            return y
        y = y.unflatten(0, (-1, self.count)).movedim(1, dim).flatten(dim, dim + 1)
        return y.narrow(dim, 0, self.num_frames)

    def heard(self, heard_B1: Tensor) -> Tensor:
        """Number of frames (P, 1) before each piece, at most L, given that before each input."""
        starts_C = self.length * torch.arange(self.count, device=heard_B1.device)
        return (heard_B1 + starts_C).clamp(max=self.left_context).reshape(-1, 1)


class CausalSelfAttention(nn.Module):
    """Multi-head attention of each frame to itself and the `left_context` frames before it.

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, left_context: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.head_dim, self.left_context = heads, dim // heads, left_context
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would not change the softmax
        self.value = nn.Linear(dim, dim)
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias_HK = nn.Parameter(torch.zeros(heads, self.head_dim))
        self.position_bias_HK = nn.Parameter(torch.zeros(heads, self.head_dim))
        self.output = nn.Linear(dim, dim)
        self.register_buffer("codes", sinusoids(left_context + 1, dim).flip(0), persistent=False)
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def product_multiplications(self, num_frames: int, state: AttentionState) -> float:
        """Count the multiplications in scores and weighted sums, without those in the Linears.

        Each frame takes part in three products with itself and the frames it attends to: content
        scores, position scores, and the weighted sum of the values. Masked products are not
        counted, since a stream need not compute them; neither is the projection of the position
        encodings, which are constants.

        Args:
            num_frames: number of frames to encode.
            state: state before the first of them.
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
        """Sums of the values (B, S, H, K), weighted by the attention."""
        pieces = Pieces(query_BSHK.shape[1], self.left_context)
        count_P1 = pieces.heard(count_B1)
        unheard = self.left_context - int(count_P1.max())  # padding in every piece, skipped
        query_PWHK = pieces.cut(query_BSHK, 1)
        key_PNHK = pieces.cut(key_BNHK, 1, self.left_context)[:, unheard:]
        value_PNHK = pieces.cut(value_BNHK, 1, self.left_context)[:, unheard:]
        scores_PHWN = self._scores(query_PWHK, key_PNHK, unheard)
        mask_PWN = self._visible(pieces.length, count_P1)[..., unheard:]
        weights_PHWN = scores_PHWN.masked_fill(~mask_PWN.unsqueeze(1), -math.inf).softmax(dim=-1)
        return pieces.join(torch.einsum("phwn,pnhk->pwhk", weights_PHWN, value_PNHK), 1)

    def _scores(self, query_PWHK: Tensor, key_PNHK: Tensor, unheard: int) -> Tensor:
        """Scaled scores (P, H, W, N); scores of keys out of reach have no meaning."""
        query_PWHK = query_PWHK / math.sqrt(self.head_dim)
        scale = 1 / math.sqrt(self.head_dim)
        content_bias, position_bias = scale * self.content_bias_HK, scale * self.position_bias_HK
        content = torch.einsum("pwhk,pnhk->phwn", query_PWHK + content_bias, key_PNHK)
        by_distance = torch.einsum("pwhk,lhk->phwl", query_PWHK + position_bias, self._codes())
        return content + by_key(by_distance)[..., unheard:]

    def _codes(self) -> Tensor:
        """Projected position encodings (L + 1, H, K) of the distances L .. 0.

        In inference they are cached until the weights change: in streams of small pieces,
        projecting them takes as much time as computing the queries.
        """
        weight = self.position.weight
        # Changes of inference tensors cannot be detected: they have no version.
        if torch.is_grad_enabled() or weight.is_inference():
            return self._projected()
        version = (weight.data_ptr(), weight._version)
        if self._kept is None or self._kept[0] != version:
            self._kept = version, self._projected()
        return self._kept[1]

    def _projected(self) -> Tensor:
        projected = F.linear(self.codes, self.position.weight)  # constant, not counted by hooks
        return projected.unflatten(-1, (self.heads, self.head_dim))

    def _visible(self, num_frames: int, count_B1: Tensor) -> Tensor:
        """Mask (B, S, N) of the keys within reach, except those before the start of a stream."""
        distance_SN = distances(num_frames, self.left_context).to(count_B1.device)
        within_SN = within_reach(distance_SN, self.left_context)
        keys_N = torch.arange(-self.left_context, num_frames, device=count_B1.device)
        return within_SN & (keys_N >= -count_B1).unsqueeze(1)
