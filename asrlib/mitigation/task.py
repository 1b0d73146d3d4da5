"""Training tasks with cohorts: a transducer whose epochs repeat speech, and its adaptation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from lhotse import CutSet
from lhotse.cut import Cut

from asrlib.data.dataset import Batch, eval_batches
from asrlib.layers.norm import MaskedBatchNorm
from asrlib.mitigation.anchor import Anchor
from asrlib.mitigation.epoch_mix import EpochMix
from asrlib.training.config import TrainConfig
from asrlib.training.task import LossSums
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.training.transducer_task_base import LATE
from asrlib.transducer.model import Transducer, TransducerLoss

Figures = Callable[[Transducer], dict[str, float]]


@dataclass(frozen=True)
class CohortDev:
    """Speech of the cohort that is not trained on, for the dev metrics `cohort_*`.

    Attributes:
        cuts: the speech.
        figures: function that computes further metrics of the model; see `TransducerTask`.
    """

    cuts: CutSet
    figures: Figures | None


class MixTask(TransducerTask):
    """The task of training a transducer on epochs in which some speech is repeated.

    Args:
        model, source, config, dev_figures: see `TransducerTask`.
        mix: the utterances of each epoch; those of `source.train` are not used.
        cohort: None if no speech of the cohort is left for dev metrics.
    """

    def __init__(
        self,
        model: Transducer,
        source: TransducerData,
        config: TrainConfig,
        dev_figures: Figures | None,
        mix: EpochMix,
        cohort: CohortDev | None,
    ) -> None:
        super().__init__(model, source, config, dev_figures)
        self.mix, self.cohort = mix, cohort

    def epoch_cuts(self, epoch: int) -> CutSet:
        return self.mix.of_epoch(epoch)

    def training_items(self) -> list[tuple[Cut, float]]:
        drawn = [(cut, draw.times) for draw in self.mix.draws for cut in draw.cuts]
        return [*((cut, 1.0) for cut in self.mix.base), *drawn]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Compute the usual metrics, the same of the cohort, and `balanced_loss`.

        `balanced_loss` is the mean of `loss` and `cohort_loss`: a setting that it chooses is good
        for both.
        """
        figures = super().evaluate()
        if self.cohort is None:
            return figures
        source = self.source
        batches = eval_batches(
            self.cohort.cuts,
            self.tokenizer,
            source.data.max_frames,
            membership=source.membership,
            sources=source.sources,
        )
        cohort = self._means(batches)
        if self.cohort.figures is not None:
            cohort |= self.cohort.figures(self.model)
        balanced = {"balanced_loss": (figures["loss"] + cohort["loss"]) / 2}
        return figures | {f"cohort_{name}": value for name, value in cohort.items()} | balanced


class AdaptTask(MixTask):
    """The task of adapting a trained transducer.

    The statistics of batch normalisation stay those of the start, and every scheduled module and
    loss weight is as at the end of a training.

    Args:
        model: the model with the weights of its start; only weights with `requires_grad` change.
        source, config, dev_figures, mix, cohort: see `MixTask`.
        anchor: holds the weights near the start; None for fine-tuning.
        in_loss: whether the penalty is a term of the loss, instead of a proximal step.
    """

    def __init__(
        self,
        model: Transducer,
        source: TransducerData,
        config: TrainConfig,
        dev_figures: Figures | None,
        mix: EpochMix,
        cohort: CohortDev | None,
        anchor: Anchor | None,
        in_loss: bool,
    ) -> None:
        super().__init__(model, source, config, dev_figures, mix, cohort)
        self.anchor, self.in_loss = anchor, in_loss
        self.norms = [m for m in model.modules() if isinstance(m, MaskedBatchNorm)]

    def _loss(self, batch: Batch, step: int) -> TransducerLoss:
        for norm in self.norms:  # at each step, because the trainer sets the mode of all modules
            norm.eval()
        return super()._loss(batch, LATE)

    def loss(self, batch: Batch, step: int) -> LossSums:
        sums = super().loss(batch, step)
        if self.anchor is None or not self.in_loss:
            return sums
        # The trainer divides the gradient by the summed weights of the parts of a batch, so this
        # adds the penalty once, whatever the length of the batch.
        penalty = self.anchor.penalty() * sums.weight
        stats = {**sums.stats, "penalty": (float(penalty.detach()), sums.weight)}
        per_item_B = sums.per_item_B + penalty / len(sums.ids)
        return replace(sums, per_item_B=per_item_B, stats=stats)

    def after_update(self, step: int, lr: float, sums: LossSums) -> None:
        if self.anchor is not None and not self.in_loss:
            self.anchor.pull(lr)
