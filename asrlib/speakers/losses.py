"""Metric-learning losses of speaker embeddings, one value for each speaker of a batch.

A batch has U utterances of each of S different speakers. All losses return one loss per speaker,
differentiable with respect to embeddings and weights, so that a caller may weight speakers by
multiplying the result (row weights). Weights of pairs enter `AngularPrototypical` itself.

A speaker with an embedding that is not finite gets a loss that is not finite, and does not enter
the losses of the others: the trainer then drops this speaker only.

Shapes: S speakers of a batch, U utterances of each, D width of an embedding, C training speakers
(classes).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.numbers import NonNegative, PositiveFloat

# Smallest weight of a pair, whose logarithm is taken.
_LEAST_WEIGHT = 1e-12


@configclass
class SpeakerLossConfig:
    """A weighted sum of losses; a loss of weight 0 is not computed.

    Angular prototypical alone, prototypical + softmax (arXiv 2009.14153) and AAM-softmax alone are
    special cases.

    Attributes:
        prototypical: weight of the angular prototypical loss.
        softmax: weight of the softmax loss over the training speakers.
        aam: weight of the additive angular margin softmax loss over the training speakers.
        aam_margin: its margin, in radians.
        aam_scale: its factor on cosines.
    """

    prototypical: NonNegative = 1.0
    softmax: NonNegative = 0.0
    aam: NonNegative = 1.0
    aam_margin: NonNegative = 0.2
    aam_scale: PositiveFloat = 30.0

    def __post_init__(self) -> None:
        if not self.prototypical + self.softmax + self.aam > 0:
            raise ConfigError(
                "model.loss: prototypical, softmax and aam are all 0",
                "give one of them a weight above 0, for example model.loss.prototypical: 1.0",
            )
        if not self.aam_margin < math.pi / 2:
            raise ConfigError(
                f"model.loss.aam_margin: {self.aam_margin} is not within [0, pi/2)",
                "give a margin in radians, for example 0.2",
            )

    def build(self, dim: int, num_classes: int) -> SpeakerLoss:
        """Build the loss, with random weights, for embeddings of width `dim`."""
        return SpeakerLoss(self, dim, num_classes)


class AngularPrototypical(nn.Module):
    """The angular prototypical loss (arXiv 2003.11982), as a sum over pairs of speakers.

    The query q_i is the last utterance of speaker i, the prototype p_j the mean of the other
    utterances of speaker j. With s_ij = a cos(q_i, p_j) + b, a > 0 and b learned,

        L_i = -log( exp(s_ii) / sum_j exp(s_ij) ) = log( 1 + sum_{j != i} w_ij exp(s_ij - s_ii) )

    where w_ij = 1 in the paper. A weight w_ij above 1 makes impostor j count more in the loss of
    speaker i, so L_i grows with each weight; the weights of the diagonal have no effect. A weight
    outside the logarithm, r_i L_i, is left to the caller. The initial values of a and b are the
    paper's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def similarities(self, embeddings_SUD: Tensor) -> Tensor:
        """Return s_ij (S, S); row i is the query of speaker i, column j the prototype of j."""
        query_SD = functional.normalize(embeddings_SUD[:, -1], dim=-1)
        prototype_SD = functional.normalize(embeddings_SUD[:, :-1].mean(dim=1), dim=-1)
        return query_SD @ prototype_SD.T * self.scale.clamp(min=1e-6) + self.bias

    def forward(self, embeddings_SUD: Tensor, pair_weights_SS: Tensor | None = None) -> Tensor:
        """Compute the loss (S) of each speaker.

        Args:
            embeddings_SUD: U >= 2 embeddings of each speaker.
            pair_weights_SS: w_ij > 0 of query i and prototype j; None for 1.

        Raises:
            ValueError: U is below 2.
        """
        if embeddings_SUD.shape[1] < 2:
            raise ValueError("the prototypical loss needs two utterances of each speaker")
        finite_S = torch.isfinite(embeddings_SUD).all(dim=-1).all(dim=-1)
        s_SS = self.similarities(embeddings_SUD)
        margins_SS = s_SS - s_SS.diagonal().unsqueeze(1)
        own_SS = torch.eye(len(s_SS), dtype=torch.bool, device=s_SS.device)
        if pair_weights_SS is not None:
            log_SS = pair_weights_SS.clamp(min=_LEAST_WEIGHT).log()
            margins_SS = margins_SS + log_SS.masked_fill(own_SS, 0.0)
        others_SS = ~finite_S.unsqueeze(0) & ~own_SS
        return torch.logsumexp(margins_SS.masked_fill(others_SS, -math.inf), dim=1)


class SoftmaxLoss(nn.Module):
    """Cross-entropy of a linear classifier of the training speakers, mean over utterances."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, embeddings_SUD: Tensor, classes_S: Tensor) -> Tensor:
        """Compute the loss (S) of speakers, whose classes are `classes_S`."""
        return _cross_entropy(self.classifier(embeddings_SUD), classes_S)


class AamSoftmax(nn.Module):
    """Additive angular margin softmax (ArcFace, arXiv 1801.07698), mean over utterances.

    With the angle t_c between an embedding and the weight vector of class c, the logits are
    s cos(t_c), and s cos(t_y + m) for the utterance's own class y. Where t_y + m exceeds pi, the
    logit is s (cos(t_y) - m sin(m)), which keeps it monotonic, as in the authors' code.
    """

    def __init__(self, dim: int, num_classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.weight_CD = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight_CD)

    def forward(self, embeddings_SUD: Tensor, classes_S: Tensor) -> Tensor:
        """Compute the loss (S) of speakers, whose classes are `classes_S`."""
        unit_SUD = functional.normalize(embeddings_SUD, dim=-1)
        cosine_SUC = unit_SUD @ functional.normalize(self.weight_CD, dim=-1).T
        own_SUC = functional.one_hot(classes_S, cosine_SUC.shape[-1]).bool().unsqueeze(1)
        cosine_SU = cosine_SUC.masked_select(own_SUC).view(cosine_SUC.shape[:2])
        # The bound keeps the gradient of the root finite at an angle of 0.
        sine_SU = (1.0 - cosine_SU.square()).clamp(min=1e-8).sqrt()
        cos, sin = math.cos(self.margin), math.sin(self.margin)
        moved_SU = cosine_SU * cos - sine_SU * sin
        moved_SU = torch.where(cosine_SU > -cos, moved_SU, cosine_SU - self.margin * sin)
        logits_SUC = torch.where(own_SUC, moved_SU.unsqueeze(-1), cosine_SUC) * self.scale
        return _cross_entropy(logits_SUC, classes_S)


class SpeakerLoss(nn.Module):
    """The sum of the losses that `SpeakerLossConfig` gives a weight."""

    def __init__(self, config: SpeakerLossConfig, dim: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.prototypical = AngularPrototypical()
        self.softmax = SoftmaxLoss(dim, num_classes) if config.softmax else None
        self.aam = None
        if config.aam:
            self.aam = AamSoftmax(dim, num_classes, config.aam_margin, config.aam_scale)

    def forward(
        self,
        embeddings_SUD: Tensor,
        classes_S: Tensor | None,
        pair_weights_SS: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute each part of the loss of each speaker, times its weight; `total` adds them up.

        Args:
            embeddings_SUD: U >= 2 embeddings of each speaker.
            classes_S: training speakers; None for speakers that are none of them, who have the
                prototypical loss only, with weight 1.
            pair_weights_SS: see `AngularPrototypical.forward`.

        Returns:
            Losses (S) by name: `prototypical`, `softmax`, `aam`, `total`.
        """
        config, parts = self.config, {}
        if classes_S is None:
            parts["prototypical"] = self.prototypical(embeddings_SUD, pair_weights_SS)
            return parts | {"total": parts["prototypical"]}
        if config.prototypical:
            loss_S = self.prototypical(embeddings_SUD, pair_weights_SS)
            parts["prototypical"] = config.prototypical * loss_S
        if self.softmax is not None:
            parts["softmax"] = config.softmax * self.softmax(embeddings_SUD, classes_S)
        if self.aam is not None:
            parts["aam"] = config.aam * self.aam(embeddings_SUD, classes_S)
        return parts | {"total": torch.stack(list(parts.values())).sum(dim=0)}


def _cross_entropy(logits_SUC: Tensor, classes_S: Tensor) -> Tensor:
    """Return the mean (S) over utterances of the cross-entropy of each utterance."""
    classes_SU = classes_S.unsqueeze(1).expand(logits_SUC.shape[:2])
    return functional.cross_entropy(logits_SUC.movedim(-1, 1), classes_SU, reduction="none").mean(1)
