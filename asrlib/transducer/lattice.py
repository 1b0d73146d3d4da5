"""Log-probabilities of the simple lattice, and the pruning of the joiner's inputs.

The functions give the same values as k2's `get_rnnt_logprobs_smoothed` and `do_rnnt_pruning`
(tests compare them). They do not gather from an expanded tensor of B x U x S x V, whose gradient
takes k2 a fifth of the time of a training step on a CPU.

Shapes: B batch, S encoder frames, U tokens, R prune range, D width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Smaller probabilities are set to this one and get no gradient. k2 computes `log(p + tiny)`, whose
# gradients overflow float32 when they are summed. A sum of V products is below this bound only
# where logits differ by 69 nats.
_LEAST = 1e-30


def smoothed_logprobs(
    am_BSV: Tensor,
    lm_BUV: Tensor,
    symbols_BU: Tensor,
    boundary_B4: Tensor,
    *,
    blank: int,
    lm_scale: float,
    am_scale: float,
    rnnt_type: str,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of labels and blanks under the additive joiner (arXiv 2206.13236).

    Args:
        am_BSV: logits from the encoder alone.
        lm_BUV: logits from the predictor alone; it has U + 1 outputs.
        symbols_BU: labels.
        boundary_B4: `[0, 0, labels, frames]` of each utterance.
        blank: id of the blank symbol.
        lm_scale: share of the distribution of the predictor alone.
        am_scale: share of the distribution of the encoder alone.
        rnnt_type: `regular`, or `modified` (at most one symbol per frame).

    Returns:
        px, log-probabilities of labels (B, U, S + 1 if `regular`, else S), which are -inf after
        each utterance's last frame if `regular`; py, those of blanks (B, U + 1, S).
    """
    am_max = am_BSV.amax(dim=2, keepdim=True).detach()
    lm_max = lm_BUV.amax(dim=2, keepdim=True).detach()
    am_probs, lm_probs = (am_BSV - am_max).exp(), (lm_BUV - lm_max).exp()
    product_BUS = torch.matmul(lm_probs, am_probs.transpose(1, 2))
    normalizer_BUS = product_BUS.clamp(min=_LEAST).log() + lm_max + am_max.transpose(1, 2)
    joint = 1.0 - lm_scale - am_scale
    px, py = (joint * x for x in _pick(am_BSV, lm_BUV, normalizer_BUS, symbols_BU, blank))
    if lm_scale:
        log_lm_BUV = lm_BUV.log_softmax(dim=2)
        px = px + lm_scale * log_lm_BUV[:, :-1].gather(2, symbols_BU.unsqueeze(2))
        py = py + lm_scale * log_lm_BUV[:, :, blank].unsqueeze(2)
    if am_scale:
        # The predictor's distribution, averaged over all histories, approximates a unigram model.
        unigram_V = lm_BUV.softmax(dim=2).mean(dim=(0, 1)).clamp(min=_LEAST)
        amonly_BS = (am_probs @ unigram_V).clamp(min=_LEAST).log() + am_max.squeeze(2)
        log_unigram_11V = unigram_V.log().reshape(1, 1, -1)
        am_lm_BUV = log_unigram_11V.expand_as(lm_BUV)
        only_px, only_py = _pick(am_BSV, am_lm_BUV, amonly_BS.unsqueeze(1), symbols_BU, blank)
        px, py = px + am_scale * only_px, py + am_scale * only_py
    if rnnt_type == "regular":
        px = F.pad(px, (0, 1), value=float("-inf"))
        end_B11 = boundary_B4[:, 3].reshape(-1, 1, 1).expand(-1, px.shape[1], 1)
        px = px.scatter(2, end_B11, float("-inf"))
    return px, py


def _pick(
    am_BSV: Tensor, lm_BUV: Tensor, normalizer_BUS: Tensor, symbols_BU: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Normalised sums of both logits for the labels and for blank."""
    index_BSU = symbols_BU.unsqueeze(1).expand(-1, am_BSV.shape[1], -1)
    px_am_BUS = am_BSV.gather(2, index_BSU).transpose(1, 2)
    px_lm_BU1 = lm_BUV[:, :-1].gather(2, symbols_BU.unsqueeze(2))
    px = px_am_BUS + px_lm_BU1 - normalizer_BUS[:, : symbols_BU.shape[1]]
    py = am_BSV[:, :, blank].unsqueeze(1) + lm_BUV[:, :, blank].unsqueeze(2) - normalizer_BUS
    return px, py


def gather_ranges(d_BUD: Tensor, ranges_BSR: Tensor) -> Tensor:
    """Gather the predictor outputs that pruning keeps at each frame: (B, S, R, D)."""
    batch, num_positions, dim = d_BUD.shape
    offset_B11 = torch.arange(batch, device=d_BUD.device).reshape(-1, 1, 1) * num_positions
    return F.embedding(ranges_BSR + offset_B11, d_BUD.reshape(-1, dim))
