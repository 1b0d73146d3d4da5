"""The transducer: encoder, predictor, joiner, and layers that only training needs.

Shapes: B batch, T input frames, S output frames, F features, D width, U tokens, V vocabulary, C
values of a condition, R rows. A row is one output channel of one utterance; the channels of an
utterance are adjacent. Most encoders have one channel, so that R = B.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders import EncoderConfig, SeparatorConfig
from asrlib.encoders.base import HasCost, StreamingEncoder, Work
from asrlib.errors import ConfigError
from asrlib.layers.schedule import set_step
from asrlib.numbers import Positive
from asrlib.text.tokenizer import BLANK_ID
from asrlib.text.turn_labels import TurnStyle
from asrlib.transducer.joiner import Joiner
from asrlib.transducer.loss import (
    LossConfig,
    LossInputs,
    PrunedLoss,
    ctc_loss,
    loss_scales,
    masking_loss,
    pruned_loss,
)
from asrlib.transducer.predictor import Predictor, PredictorConfig


@configclass
class TransducerConfig:
    """A transducer (`conf/model/*.yaml`).

    Attributes:
        task: kind of the model.
        joiner_dim: width of the joint network.
        joiner_project: whether the joiner projects encoder and predictor outputs to its width; if
            False, they must have this width already.
    """

    task: Literal["transducer"] = "transducer"
    encoder: EncoderConfig
    predictor: PredictorConfig
    joiner_dim: Positive = 256
    joiner_project: bool = True
    loss: LossConfig = LossConfig()

    def __post_init__(self) -> None:
        if self.loss.eot_penalty > 0 and self.turn_style != "sot_eot":
            raise ConfigError(
                f"loss.eot_penalty: {self.loss.eot_penalty:g}, but the model emits no <eot>",
                "set it to 0, or choose a model that emits <eot>, such as sts",
            )

    @property
    def turn_style(self) -> TurnStyle | None:
        """Symbols that separate the turns of a channel; None for a model of one talker."""
        encoder = self.encoder
        if isinstance(encoder, SeparatorConfig) and encoder.channels > 1:
            return encoder.turn_style
        return None


@dataclass(frozen=True)
class TransducerLoss:
    """Losses per utterance in nats, not normalised; they are not finite where no path exists.

    With several output channels, a loss is the sum over the channels, because the labels fix the
    assignment of turns to channels.

    Attributes:
        total_B: weighted sum of the losses; training minimises it and uses no other gradient.
        simple_B: simple transducer loss, unweighted.
        pruned_B: pruned transducer loss, unweighted.
        ctc_B: CTC loss, unweighted; None if the model has no CTC layer.
        frames_B: number of encoder output frames per channel.
        emission_frames_RU: expected output frame of each token, 0 at padding; multiply by the
            encoder's `subsampling` and by the frame shift to get seconds.
        spent_B: number of multiplications that the encoder made, or expects to make; None if the
            encoder never skips work.
        full_B: number of multiplications at full compute; None if the encoder never skips work.
        late_B: expected penalty on late ends of turns in nats, without gradient; the losses
            include it. None if turns are not known.
        masking_B: masking loss of channels without speech, unweighted; None if turns are not
            known.
    """

    total_B: Tensor
    simple_B: Tensor
    pruned_B: Tensor
    ctc_B: Tensor | None
    frames_B: Tensor
    emission_frames_RU: Tensor
    spent_B: Tensor | None = None
    full_B: Tensor | None = None
    late_B: Tensor | None = None
    masking_B: Tensor | None = None


@dataclass(frozen=True)
class TurnTargets:
    """Training targets for turns, in addition to the labels.

    Attributes:
        label_ends_RU: time at which the turn of an `<eot>` label ends, in input frames from the
            start; infinity for other labels.
        speech_RT: True where an input frame of a channel contains speech.
    """

    label_ends_RU: Tensor
    speech_RT: Tensor


class Transducer(nn.Module):
    """RNN-T (arXiv 1211.3711) over any streaming encoder.

    Only the training loss uses `simple_am_proj`, `simple_lm_proj` and `ctc_output`.

    Raises:
        ConfigError: sizes do not fit together, or the vocabulary holds nothing but blank.
    """

    def __init__(self, config: TransducerConfig, num_bins: int, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 2:
            raise ConfigError(
                f"vocab_size: {vocab_size} leaves no symbol besides blank", "train the tokens again"
            )
        self.config = config
        self.vocab_size = vocab_size
        self.encoder: StreamingEncoder = config.encoder.build(num_bins)
        self.predictor: Predictor = config.predictor.build(vocab_size)
        encoder_dim, predictor_dim = self.encoder.output_dim, self.predictor.output_dim
        self.joiner = Joiner(
            encoder_dim, predictor_dim, config.joiner_dim, vocab_size, config.joiner_project
        )
        self.simple_am_proj = nn.Linear(encoder_dim, vocab_size)
        self.simple_lm_proj = nn.Linear(predictor_dim, vocab_size)
        self.ctc_output = nn.Linear(encoder_dim, vocab_size) if config.loss.ctc_scale else None

    def loss(
        self,
        x_BTF: Tensor,
        x_lengths_B: Tensor,
        tokens_RU: Tensor,
        token_lengths_R: Tensor,
        step: int,
        turns: TurnTargets | None = None,
        condition_BC: Tensor | None = None,
        first_R: Tensor | None = None,
    ) -> TransducerLoss:
        """Compute the training loss of a padded batch.

        Args:
            x_BTF: raw log filter-bank energies.
            x_lengths_B: number of valid frames per utterance.
            tokens_RU: labels of each channel, with any value at padding. U may be 0; a channel
                without labels is valid and is trained to emit nothing.
            token_lengths_R: number of valid labels per channel.
            step: number of the training step, for the warm-up of the loss weights and for
                scheduled modules.
            turns: targets for the masking loss and for the penalty on late ends of turns; None
                if turns are not known.
            condition_BC: condition of the encoder for each utterance; None if it is not known.
            first_R: first symbol of the predictor; None for blank everywhere.
        """
        positions_U = torch.arange(tokens_RU.shape[1], device=tokens_RU.device)
        tokens_RU = tokens_RU.masked_fill(positions_U >= token_lengths_R.unsqueeze(1), BLANK_ID)
        set_step(self, step)
        work = None
        if isinstance(self.encoder, HasCost):
            h_RSD, lengths_R, work = self.encoder(x_BTF, x_lengths_B, condition_BC, with_cost=True)
        else:
            h_RSD, lengths_R = self.encoder(x_BTF, x_lengths_B, condition_BC)
        y_RU = F.pad(tokens_RU, (1, 0), value=BLANK_ID)
        if first_R is not None:
            y_RU[:, 0] = first_R
        d_RUD = self.predictor(y_RU)
        inputs = LossInputs(
            h_BSD=h_RSD,
            am_BSV=self.simple_am_proj(h_RSD),
            lengths_B=lengths_R,
            d_BUD=d_RUD,
            lm_BUV=self.simple_lm_proj(d_RUD),
            tokens_BU=tokens_RU,
            token_lengths_B=token_lengths_R,
            label_ends_BU=(
                None if turns is None else turns.label_ends_RU / self.encoder.subsampling
            ),
        )
        parts = pruned_loss(self.joiner, inputs, self.config.loss)
        ctc_R = None
        if self.ctc_output is not None:
            log_probs_RSV = self.ctc_output(h_RSD).float().log_softmax(dim=-1)
            ctc_R = ctc_loss(log_probs_RSV, lengths_R, tokens_RU, token_lengths_R)
        return self._summed(parts, ctc_R, work, self._masking(h_RSD, lengths_R, turns), step)

    def _masking(
        self, h_RSD: Tensor, lengths_R: Tensor, turns: TurnTargets | None
    ) -> Tensor | None:
        """Masking loss per row; an output frame has speech if any of its input frames has."""
        if turns is None:
            return None
        factor = self.encoder.subsampling
        speech_RT = turns.speech_RT[:, : h_RSD.shape[1] * factor]
        return masking_loss(h_RSD, lengths_R, speech_RT.unflatten(1, (-1, factor)).any(dim=2))

    def _summed(
        self,
        parts: PrunedLoss,
        ctc_R: Tensor | None,
        work: Work | None,
        masking_R: Tensor | None,
        step: int,
    ) -> TransducerLoss:
        """Sum the losses over the channels of each utterance, and weight them."""
        config, channels = self.config.loss, self.encoder.num_channels

        def by_item(rows_R: Tensor) -> Tensor:
            return rows_R.reshape(-1, channels).sum(dim=1)

        loss = TransducerLoss(
            total_B=by_item(parts.simple_B),
            simple_B=by_item(parts.simple_B),
            pruned_B=by_item(parts.pruned_B),
            ctc_B=None if ctc_R is None else by_item(ctc_R),
            frames_B=parts.lengths_B[::channels],
            emission_frames_RU=parts.emission_frames_BU,
            late_B=None if masking_R is None else by_item(parts.penalty_B),
            masking_B=None if masking_R is None else by_item(masking_R),
        )
        simple_scale, pruned_scale = loss_scales(step, config)
        total_B = simple_scale * loss.simple_B + pruned_scale * loss.pruned_B
        if loss.ctc_B is not None:
            total_B = total_B + config.ctc_scale * loss.ctc_B
        if loss.masking_B is not None:
            total_B = total_B + config.masking * loss.masking_B
        if work is None or not isinstance(self.encoder, HasCost):
            return replace(loss, total_B=total_B)
        spent_B, full_B = work.of_utterances(loss.frames_B)
        # The cost is the share of full compute over the whole batch, times the number of frames;
        # each utterance contributes the part that it spent.
        share_B = spent_B / full_B.sum().clamp(min=1.0) * loss.frames_B.sum()
        total_B = total_B + self.encoder.cost_weight() * share_B
        return replace(loss, total_B=total_B, spent_B=spent_B, full_B=full_B)

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters per module; decoding does not use those in `training_only`."""
        counts = {
            name: sum(p.numel() for p in getattr(self, name).parameters())
            for name in ("encoder", "predictor", "joiner")
        }
        total = sum(p.numel() for p in self.parameters())
        return counts | {"training_only": total - sum(counts.values())}
