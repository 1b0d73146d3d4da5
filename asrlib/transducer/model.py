"""The transducer: encoder, predictor, joiner, and what only training needs.

Shapes: B batch, T input frames, S output frames, F features, D width, U tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders import EncoderConfig, build_encoder
from asrlib.encoders.lstm import Positive
from asrlib.errors import ConfigError
from asrlib.transducer.joiner import Joiner
from asrlib.transducer.loss import (
    BLANK,
    LossConfig,
    LossInputs,
    ctc_loss,
    loss_scales,
    pruned_loss,
)
from asrlib.transducer.predictor import PredictorConfig, build_predictor


@configclass
class TransducerConfig:
    """A transducer (`conf/model/*.yaml`).

    Attributes:
        joiner_dim: width of the joint network.
        joiner_project: project encoder and predictor outputs to that width; False: they have it.
    """

    encoder: EncoderConfig
    predictor: PredictorConfig
    joiner_dim: Positive = 256
    joiner_project: bool = True
    loss: LossConfig = LossConfig()


@dataclass(frozen=True)
class TransducerLoss:
    """Losses per utterance, in nats, not normalised; not finite where no path exists.

    Attributes:
        total_B: the weighted sum to minimise; the only one with a use for its gradient.
        simple_B, pruned_B, ctc_B: its parts, unweighted; ctc_B is None without such a layer.
        frames_B: encoder output frames.
        emission_frames_BU: expected output frame of each token, 0 at padding; times the
            encoder's `subsampling` and the frame shift these are seconds.
        cost_B: full-work frames that the encoder spent (its share of work, summed over frames);
            None where it always does all of it.
    """

    total_B: Tensor
    simple_B: Tensor
    pruned_B: Tensor
    ctc_B: Tensor | None
    frames_B: Tensor
    emission_frames_BU: Tensor
    cost_B: Tensor | None = None


class Transducer(nn.Module):
    """RNN-T (arXiv 1211.3711) over any streaming encoder.

    `simple_am_proj`, `simple_lm_proj` and `ctc_output` serve the training loss alone.

    Raises:
        ConfigError: sizes that do not fit together.
    """

    def __init__(self, config: TransducerConfig, num_bins: int, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 2:
            raise ConfigError(
                f"vocab_size: {vocab_size} leaves no symbol beside blank", "train the tokens again"
            )
        self.config = config
        self.vocab_size = vocab_size
        self.encoder = build_encoder(config.encoder, num_bins)
        self.predictor = build_predictor(config.predictor, vocab_size)
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
        tokens_BU: Tensor,
        token_lengths_B: Tensor,
        step: int,
    ) -> TransducerLoss:
        """The training loss of a padded batch.

        Args:
            x_BTF: raw log filter-bank energies.
            tokens_BU: labels, any value at padding; U may be 0.
            step: the training step, for the warm-up of the weights.
        """
        positions_U = torch.arange(tokens_BU.shape[1], device=tokens_BU.device)
        tokens_BU = tokens_BU.masked_fill(positions_U >= token_lengths_B.unsqueeze(1), BLANK)
        self.encoder.set_step(step)
        h_BSD, lengths_B, cost_BS = self.encoder(x_BTF, x_lengths_B, with_cost=True)
        d_BUD = self.predictor(F.pad(tokens_BU, (1, 0), value=BLANK))
        inputs = LossInputs(
            h_BSD=h_BSD,
            am_BSV=self.simple_am_proj(h_BSD),
            lengths_B=lengths_B,
            d_BUD=d_BUD,
            lm_BUV=self.simple_lm_proj(d_BUD),
            tokens_BU=tokens_BU,
            token_lengths_B=token_lengths_B,
        )
        parts = pruned_loss(self.joiner, inputs, self.config.loss)
        simple_scale, pruned_scale = loss_scales(step, self.config.loss)
        total_B = simple_scale * parts.simple_B + pruned_scale * parts.pruned_B
        ctc_B = None
        if self.ctc_output is not None:
            log_probs_BSV = self.ctc_output(h_BSD).float().log_softmax(dim=-1)
            ctc_B = ctc_loss(log_probs_BSV, lengths_B, tokens_BU, token_lengths_B)
            total_B = total_B + self.config.loss.ctc_scale * ctc_B
        cost_B = None
        if cost_BS is not None:
            frames_S = torch.arange(cost_BS.shape[1], device=cost_BS.device)
            cost_B = (cost_BS * (frames_S < lengths_B.unsqueeze(1))).sum(dim=1)
            total_B = total_B + self.encoder.cost_weight() * cost_B
        return TransducerLoss(
            total_B,
            parts.simple_B,
            parts.pruned_B,
            ctc_B,
            lengths_B,
            parts.emission_frames_BU,
            cost_B,
        )

    def parameter_counts(self) -> dict[str, int]:
        """Parameters per module; `training_only` are those that no decoding uses."""
        counts = {
            name: sum(p.numel() for p in getattr(self, name).parameters())
            for name in ("encoder", "predictor", "joiner")
        }
        total = sum(p.numel() for p in self.parameters())
        return counts | {"training_only": total - sum(counts.values())}
