"""The pruned transducer loss (arXiv 2206.13236), per utterance; only here does training use k2.

Of the backend, k2 or fast_rnnt, it uses the recursion over the lattice. It adds FastEmit (arXiv
2010.11148) as an exact scaling of the label gradients, a penalty on late ends of turns (arXiv
2205.05199), empty transcripts, utterances with fewer frames than labels (their loss is infinite and
the caller can drop it, while the occupations stay finite), and expected emission frames.

Shapes: B batch, S encoder frames, U tokens, R prune range, D width, J joiner width, V vocabulary.
Names follow k2: `px` (B, U, S+1) are log-probabilities of emitting a label, `py` (B, U+1, S) those
of a blank, which moves on to the next frame.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from asrlib.config import configclass
from asrlib.errors import UserError
from asrlib.numbers import Count, NonNegative, Share
from asrlib.text.tokenizer import BLANK_ID
from asrlib.transducer.joiner import Joiner
from asrlib.transducer.lattice import (
    gather_ranges,
    prune_ranges,
    pruned_logprobs,
    smoothed_logprobs,
)

# Libraries of the recursion, which are by the same authors; the first that is installed is used.
BACKENDS = ("k2", "fast_rnnt")


@configclass
class LossConfig:
    """The training loss.

    Attributes:
        prune_range: number of symbols kept per frame in the pruned loss.
        simple_scale: weight of the simple loss after the warm-up; at its start the weight is 1.
        warmup_steps: number of training steps over which the weights change from (simple 1,
            pruned 0.1) to (`simple_scale`, 1); 0 means no warm-up.
        lm_scale: share of the predictor-only part in the simple loss.
        am_scale: share of the encoder-only part in the simple loss. Above 0, the loss of an
            utterance depends on the others in its batch (k2 averages the predictor over them).
        ctc_scale: weight of an auxiliary CTC loss; with 0 the model has no CTC layer.
        delay_penalty: k2's penalty per frame: `((S - 1) / 2 - s) * penalty` is added to the
            log-probability of labels at frame s. A negative value rewards late labels, which are
            based on more audio.
        fast_emit: FastEmit's lambda: gradients of label emissions are multiplied by 1 + lambda.
        masking: gamma, the weight of the masking loss: the mean square of the encoder's output,
            summed over frames of channels without speech (arXiv 2205.05199). The mean over
            features is our choice, so that gamma does not depend on the width.
        eot_penalty: alpha, in nats per output frame. The log-probability of `<eot>` is reduced by
            alpha for each frame that it is later than `eot_grace` after the end of its turn
            (also arXiv 2205.05199).
        eot_grace: tau, in output frames.
        eot_penalty_max: largest penalty, in nats. This bound is our choice; it keeps the loss
            in range where every path of a lattice is late.
        rnnt_type: `regular`, or `modified`, which permits at most one symbol per frame.
    """

    prune_range: Annotated[int, Field(ge=2)] = 5
    simple_scale: NonNegative = 0.5
    warmup_steps: Count = 500
    lm_scale: Share = 0.25
    am_scale: Share = 0.0
    ctc_scale: NonNegative = 0.0
    delay_penalty: float = 0.0
    fast_emit: NonNegative = 0.0
    masking: NonNegative = 0.0
    eot_penalty: NonNegative = 0.0
    eot_grace: NonNegative = 3.0
    eot_penalty_max: NonNegative = 30.0
    rnnt_type: Literal["regular", "modified"] = "regular"


@dataclass(frozen=True)
class LossInputs:
    """Encoder outputs, predictor outputs and labels of a batch.

    Attributes:
        h_BSD: encoder output.
        am_BSV: encoder output projected to the vocabulary, for the simple loss.
        lengths_B: number of valid encoder frames per utterance.
        d_BUD: predictor output for `[blank, tokens]`, which has U + 1 positions.
        lm_BUV: predictor output projected to the vocabulary, for the simple loss.
        tokens_BU: padded labels; U may be 0.
        token_lengths_B: number of valid labels per utterance.
        label_ends_BU: time at which the turn of each `<eot>` label ends, in output frames from
            the start; infinity for other labels. None if there are no `<eot>` labels.
    """

    h_BSD: Tensor
    am_BSV: Tensor
    lengths_B: Tensor
    d_BUD: Tensor
    lm_BUV: Tensor
    tokens_BU: Tensor
    token_lengths_B: Tensor
    label_ends_BU: Tensor | None = None

    def padded(self) -> LossInputs:
        """Pad to at least one label and one frame; the lattices themselves do not change."""
        label_pad = max(0, 1 - self.tokens_BU.shape[1])
        frame_pad = max(0, 1 - self.h_BSD.shape[1])
        ends_BU = self.label_ends_BU
        if ends_BU is not None:
            ends_BU = F.pad(ends_BU, (0, label_pad), value=float("inf"))
        return dataclasses.replace(
            self,
            h_BSD=F.pad(self.h_BSD, (0, 0, 0, frame_pad)),
            am_BSV=F.pad(self.am_BSV, (0, 0, 0, frame_pad)),
            d_BUD=F.pad(self.d_BUD, (0, 0, 0, label_pad)),
            lm_BUV=F.pad(self.lm_BUV, (0, 0, 0, label_pad)),
            tokens_BU=F.pad(self.tokens_BU, (0, label_pad)),
            label_ends_BU=ends_BU,
        )

    def boundary(self) -> Tensor:
        """Boundaries (B, 4) in k2's format: `[0, 0, labels, frames]` of each utterance."""
        zeros_B = torch.zeros_like(self.lengths_B)
        return torch.stack([zeros_B, zeros_B, self.token_lengths_B, self.lengths_B], dim=1)


@dataclass(frozen=True)
class PrunedLoss:
    """Losses per utterance in nats; they are infinite where no path exists.

    Attributes:
        simple_B: loss of the smoothed lattice with an additive joiner.
        pruned_B: loss of the joiner's lattice within the pruning bounds.
        emission_frames_BU: expected encoder frame of each label under the pruned posterior,
            without gradient; 0 at padding.
        lengths_B: number of encoder frames per utterance.
        penalty_B: expected penalty on late ends of turns in nats, without gradient. The losses
            include it.
    """

    simple_B: Tensor
    pruned_B: Tensor
    emission_frames_BU: Tensor
    lengths_B: Tensor
    penalty_B: Tensor


def pruned_loss(joiner: Joiner, inputs: LossInputs, config: LossConfig) -> PrunedLoss:
    """Compute the pruned transducer loss in float32.

    The simple (smoothed) loss comes first; its gradient gives the pruning bounds for the second
    pass, which computes the pruned loss.
    """
    num_tokens = inputs.tokens_BU.shape[1]
    inputs = inputs.padded()
    boundary_B4 = inputs.boundary()
    with torch.autocast(inputs.h_BSD.device.type, enabled=False):
        px, py = smoothed_logprobs(
            inputs.am_BSV.float(),
            inputs.lm_BUV.float(),
            inputs.tokens_BU,
            boundary_B4,
            blank=BLANK_ID,
            lm_scale=config.lm_scale,
            am_scale=config.am_scale,
            rnnt_type=config.rnnt_type,
        )
        simple_B, px_grad, py_grad = _recurse(px, py, boundary_B4, config, inputs.label_ends_BU)
    ranges_BSR = prune_ranges(px_grad, py_grad, boundary_B4, config.prune_range)
    am_BS1J = joiner.encoder_proj(inputs.h_BSD).unsqueeze(2)
    lm_BSRJ = gather_ranges(joiner.decoder_proj(inputs.d_BUD), ranges_BSR)
    logits_BSRV = joiner(am_BS1J, lm_BSRJ, project_input=False)
    with torch.autocast(inputs.h_BSD.device.type, enabled=False):
        px, py = pruned_logprobs(
            logits_BSRV.float(),
            inputs.tokens_BU,
            ranges_BSR,
            boundary_B4,
            blank=BLANK_ID,
            rnnt_type=config.rnnt_type,
        )
        pruned_B, px_grad, _ = _recurse(px, py, boundary_B4, config, inputs.label_ends_BU)
    emissions_BU = _expected_frames(px_grad[:, :num_tokens])
    penalty_B = _expected_penalty(px_grad, inputs.label_ends_BU, config)
    return PrunedLoss(simple_B, pruned_B, emissions_BU, inputs.lengths_B, penalty_B)


def _recurse(
    px: Tensor,
    py: Tensor,
    boundary_B4: Tensor,
    config: LossConfig,
    label_ends_BU: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss per utterance, and occupation probabilities of labels and blanks."""
    if config.eot_penalty > 0.0 and label_ends_BU is not None:
        px = px - _lateness(label_ends_BU.to(px.dtype), px.shape[2], config)
    if config.delay_penalty != 0.0:
        middle_B11 = ((boundary_B4[:, 3] - 1) / 2).reshape(-1, 1, 1)
        frames = torch.arange(px.shape[2], device=px.device)
        px = px + ((middle_B11 - frames) * config.delay_penalty).to(px.dtype)
    if config.fast_emit > 0.0:
        px = _ScaleGradient.apply(px, 1.0 + config.fast_emit)
    # A backend without code for GPUs computes on the CPU; the lattices are small.
    where = px.device if px.device.type == "cpu" or backend_has_cuda() else torch.device("cpu")
    scores_B, grads = backend().mutual_information_recursion(
        px=px.to(where), py=py.to(where), boundary=boundary_B4.to(where), return_grad=True
    )
    px_grad, py_grad = (grad.to(px.device) for grad in grads)
    return -scores_B.to(px.device), px_grad, py_grad


def _lateness(ends_BU: Tensor, num_frames: int, config: LossConfig) -> Tensor:
    """Penalty `max(0, alpha (t - tau - t_end))` per label and frame, at most `eot_penalty_max`.

    Frame s has the time t = s + 1, in frames, because it is complete only at its end.
    """
    heard_S = torch.arange(1, num_frames + 1, device=ends_BU.device, dtype=ends_BU.dtype)
    late_BUS = heard_S - config.eot_grace - ends_BU.unsqueeze(2)
    return (config.eot_penalty * late_BUS.clamp(min=0.0)).clamp(max=config.eot_penalty_max)


def _expected_penalty(
    occupation_BUS: Tensor, label_ends_BU: Tensor | None, config: LossConfig
) -> Tensor:
    """Expected penalty (B) on late ends of turns, given the occupations of labels."""
    if label_ends_BU is None:
        return occupation_BUS.new_zeros(len(occupation_BUS))
    ends_BU = label_ends_BU.to(occupation_BUS.dtype)
    late_BUS = _lateness(ends_BU, occupation_BUS.shape[2], config)
    return (occupation_BUS * late_BUS).sum(dim=(1, 2))


def masking_loss(h_BSD: Tensor, lengths_B: Tensor, speech_BS: Tensor) -> Tensor:
    """Masking loss (B): `||h o m||^2` of arXiv 2205.05199.

    It is the mean square of h over the features, summed over the valid frames without speech.

    Args:
        h_BSD: encoder output.
        lengths_B: number of valid frames.
        speech_BS: True where a frame contains speech.
    """
    frames_S = torch.arange(h_BSD.shape[1], device=h_BSD.device)
    silent_BS = ~speech_BS & (frames_S < lengths_B.unsqueeze(1))
    return (h_BSD.float().square().mean(dim=2) * silent_BS).sum(dim=1)


class _ScaleGradient(torch.autograd.Function):
    """The identity with a scaled gradient; on label log-probabilities, this is exact FastEmit."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        return grad * ctx.factor, None


def _expected_frames(occupation_BUS: Tensor) -> Tensor:
    """Mean frame (B, U) of each label, weighted by its occupation; 0 where that is 0."""
    frames_S = torch.arange(
        occupation_BUS.shape[2], device=occupation_BUS.device, dtype=occupation_BUS.dtype
    )
    weight_BU = occupation_BUS.sum(dim=2)
    mean_BU = (occupation_BUS @ frames_S) / weight_BU.clamp(min=1e-8)
    return torch.where(weight_BU > 0, mean_BU, torch.zeros_like(mean_BU))


def ctc_loss(
    log_probs_BSV: Tensor, lengths_B: Tensor, tokens_BU: Tensor, token_lengths_B: Tensor
) -> Tensor:
    """CTC loss (Graves et al. 2006) per utterance, in nats.

    The loss is infinite and its gradient is zero where there are fewer frames than labels plus
    the blanks between equal neighbours. torch alone gives NaN gradients for infinite losses.
    """
    loss_B = F.ctc_loss(
        log_probs_BSV.transpose(0, 1),
        tokens_BU,
        lengths_B,
        token_lengths_B,
        blank=BLANK_ID,
        reduction="none",
        zero_infinity=True,
    )
    positions_U = torch.arange(1, max(1, tokens_BU.shape[1]), device=tokens_BU.device)
    repeats_BU = (tokens_BU[:, 1:] == tokens_BU[:, :-1]) & (
        positions_U < token_lengths_B.unsqueeze(1)
    )
    infeasible_B = lengths_B < token_lengths_B + repeats_BU.sum(dim=1)
    return loss_B.masked_fill(infeasible_B, float("inf"))


def loss_scales(step: int, config: LossConfig) -> tuple[float, float]:
    """Weights of the simple and the pruned loss at a training step.

    They change linearly from (1, 0.1) to (`simple_scale`, 1) over the warm-up.
    """
    done = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    return 1.0 - done * (1.0 - config.simple_scale), 0.1 + 0.9 * done


def backend_name() -> str:
    """Return the name of the library that computes the recursion of the loss.

    Raises:
        UserError: neither k2 nor fast_rnnt is installed.
    """
    for name in BACKENDS:
        if importlib.util.find_spec(name):
            return name
    raise UserError(
        f"the transducer loss needs {' or '.join(BACKENDS)}, but neither is installed",
        "run tools/install.sh",
    )


@functools.cache
def backend() -> ModuleType:
    """Import the library that computes the recursion of the loss."""
    return importlib.import_module(backend_name())


def backend_has_cuda() -> bool:
    """Return whether the backend computes the recursion on GPUs; else it does so on the CPU."""
    has = backend().with_cuda
    return bool(has() if callable(has) else has)
