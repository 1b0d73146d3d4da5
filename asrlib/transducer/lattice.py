"""Log-probabilities of the simple and the pruned lattice, and the pruning between them.

The functions give the same values as k2's `get_rnnt_logprobs_smoothed`, `get_rnnt_prune_ranges`,
`do_rnnt_pruning` and `get_rnnt_logprobs_pruned` (tests compare them). They do not gather from an
expanded tensor of B x U x S x V, whose gradient takes k2 a fifth of the time of a training step on
a CPU; and they accept what k2 or fast_rnnt refuse: utterances without labels, and utterances with
fewer frames than labels.

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
    return _without_labels_after_the_end(px, boundary_B4) if rnnt_type == "regular" else px, py


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


def _without_labels_after_the_end(px_BUS: Tensor, boundary_B4: Tensor) -> Tensor:
    """Labels of a `regular` lattice (B, U, S + 1): -inf after the last frame of each utterance."""
    px = F.pad(px_BUS, (0, 1), value=float("-inf"))
    end_BU1 = boundary_B4[:, 3].reshape(-1, 1, 1).expand(-1, px.shape[1], 1)
    return px.scatter(2, end_BU1, float("-inf"))


def prune_ranges(px_grad: Tensor, py_grad: Tensor, boundary_B4: Tensor, prune_range: int) -> Tensor:
    """Choose the R symbols of each frame that the pruned loss keeps (arXiv 2206.13236, 3.2).

    Args:
        px_grad: occupation probabilities of labels, as `smoothed_logprobs` shapes them.
        py_grad: those of blanks (B, U + 1, S).
        boundary_B4: `[0, 0, labels, frames]` of each utterance.
        prune_range: R; it becomes U + 1 if it is larger.

    Returns:
        Indices (B, S, R) of consecutive symbols. The first of a frame never decreases, starts at 0
        and grows by less than R a frame (by at most 1 in a `modified` lattice), so that some path
        survives wherever one exists.
    """
    num_frames, kept = py_grad.shape[2], min(prune_range, py_grad.shape[1])
    # The mass that stays in a window: it leaves by blanks, less what comes in from below.
    leaving_BWS = py_grad.unfold(1, kept, 1).transpose(2, 3).sum(2)
    entering_BWS = F.pad(px_grad, (0, 0, 1, 0))[:, : leaving_BWS.shape[1], :num_frames]
    first_BS = (leaving_BWS - entering_BWS).argmax(dim=1)
    frames_S = torch.arange(num_frames, device=py_grad.device)
    last_B1 = (boundary_B4[:, 2:3] - kept + 1).clamp(min=0)
    first_BS = torch.where(frames_S < boundary_B4[:, 3:] - 1, first_BS, last_B1)
    # At most this many symbols a frame: then `fastest - first` never decreases either.
    fastest_S = frames_S * (1 if px_grad.shape[2] == num_frames else kept - 1)
    first_BS = _never_decreasing(first_BS)
    first_BS = fastest_S - _never_decreasing(fastest_S - first_BS).clamp(min=0)
    return first_BS.unsqueeze(2) + torch.arange(kept, device=py_grad.device)


def _never_decreasing(x_BS: Tensor) -> Tensor:
    """The largest sequence below x that never decreases: the minimum of each frame and later."""
    return x_BS.flip(1).cummin(dim=1).values.flip(1)


def pruned_logprobs(
    logits_BSRV: Tensor,
    symbols_BU: Tensor,
    ranges_BSR: Tensor,
    boundary_B4: Tensor,
    *,
    blank: int,
    rnnt_type: str,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of labels and blanks under the joiner, -inf where they are pruned.

    Args:
        logits_BSRV: joiner outputs of the kept symbols.
        symbols_BU: labels.
        ranges_BSR: the kept symbols, from `prune_ranges`.
        boundary_B4: `[0, 0, labels, frames]` of each utterance.
        blank: id of the blank symbol.
        rnnt_type: `regular`, or `modified` (at most one symbol per frame).

    Returns:
        px and py as `smoothed_logprobs` shapes them.
    """
    normalizer_BSR = logits_BSRV.logsumexp(dim=3)
    symbols_and_end = F.pad(symbols_BU, (0, 1), value=blank)
    kept_BSR = symbols_and_end.gather(1, ranges_BSR.flatten(1)).reshape(ranges_BSR.shape)
    px_BSR = logits_BSRV.gather(3, kept_BSR.unsqueeze(3)).squeeze(3) - normalizer_BSR
    py_BSR = logits_BSRV[..., blank] - normalizer_BSR
    shape = (*ranges_BSR.shape[:2], symbols_and_end.shape[1])
    pruned_BSU = px_BSR.new_full(shape, float("-inf"))
    px, py = (pruned_BSU.scatter(2, ranges_BSR, x).transpose(1, 2) for x in (px_BSR, py_BSR))
    px = px[:, :-1]
    return _without_labels_after_the_end(px, boundary_B4) if rnnt_type == "regular" else px, py


def gather_ranges(d_BUD: Tensor, ranges_BSR: Tensor) -> Tensor:
    """Gather the predictor outputs that pruning keeps at each frame: (B, S, R, D)."""
    batch, num_positions, dim = d_BUD.shape
    offset_B11 = torch.arange(batch, device=d_BUD.device).reshape(-1, 1, 1) * num_positions
    return F.embedding(ranges_BSR + offset_B11, d_BUD.reshape(-1, dim))
