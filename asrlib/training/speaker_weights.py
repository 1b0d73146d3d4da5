"""Weights of the samples of a speaker extractor's training: adversarial, group DRO, or permuted.

Shapes: S speakers of a batch, U utterances of each, N utterances, D width of an embedding,
K regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from asrlib.errors import ConfigError
from asrlib.layers.over_ranks import Gathered
from asrlib.seeds import derive_seed, named_generator
from asrlib.speakers.adversary import (
    Opponent,
    ReweightingConfig,
    Variant,
    arl_weights,
    speaker_weights,
    weighted_loss,
)
from asrlib.speakers.losses import SpeakerLoss
from asrlib.speakers.regions import Regions
from asrlib.training.item_weights import GroupDro, permuted_over_groups
from asrlib.training.task import LossSums

# The embeddings (S, U, D) of a batch, or of a part of it, and the parts of its loss, by name.
Memory = tuple[Tensor, Mapping[str, Tensor]]


class Player(Protocol):
    """What chooses the weights of samples, and learns from the losses of each step."""

    pairs: bool  # whether weights of pairs enter inside the loss

    def weights(self, embeddings_SUD: Tensor, regions_SU: Tensor) -> Tensor:
        """Return positive weights (S, U) of mean 1."""
        ...

    def learn(self, memories: Sequence[Memory], regions: Regions) -> None:
        """Make a step with a batch, which may have been processed in parts."""
        ...

    def regions_found(self, counts_K: Tensor) -> None:
        """Take notice of new regions with so many utterances each."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


class AdversaryPlayer(Opponent):
    """The adversary: it raises the weighted loss."""

    def __init__(
        self,
        config: ReweightingConfig,
        variant: Variant,
        loss: SpeakerLoss,
        dim: int,
        seed: int,
        device: torch.device | None,
    ) -> None:
        super().__init__(
            variant,
            dim,
            config.regions,
            hidden_dim=config.hidden_dim,
            lr=config.lr,
            seed=derive_seed(seed, "adversary"),
            device=device,
        )
        self.loss, self.pairs, self.penalty = loss, self.reading.pairs, config.penalty

    def learn(self, memories: Sequence[Memory], regions: Regions) -> None:
        self.ascend(lambda: self._objective(memories, regions))

    def _objective(self, memories: Sequence[Memory], regions: Regions) -> Tensor:
        """Return the weighted loss relative to that without weights, less the penalty."""
        weighted = total = penalty = torch.zeros(())
        count = 0
        for embeddings_SUD, parts in memories:
            scores_SU = self.scores(embeddings_SUD, regions.assign(embeddings_SUD))
            weights_SU = arl_weights(scores_SU)
            loss = weighted_loss(self.loss, embeddings_SUD, parts, weights_SU, self.pairs)
            weighted = loss + weighted
            total = parts["total"].sum() + total
            penalty = scores_SU.square().sum() + penalty
            count += scores_SU.numel()
        return weighted / total.clamp(min=1e-6) - self.penalty * penalty / count

    def regions_found(self, counts_K: Tensor) -> None:
        """Do nothing: what is learned about a region stays with it."""


class RegionDro(GroupDro):
    """Group DRO whose groups are the regions."""

    pairs = False

    def weights(self, embeddings_SUD: Tensor, regions_SU: Tensor) -> Tensor:
        weights_SU = self.group_weights(regions_SU).to(embeddings_SUD)
        return weights_SU / weights_SU.mean()

    def learn(self, memories: Sequence[Memory], regions: Regions) -> None:
        regions_SU = torch.cat([regions.assign(embeddings_SUD) for embeddings_SUD, _ in memories])
        losses_S = torch.cat([parts["total"] for _, parts in memories])
        losses_SU = losses_S.unsqueeze(1).expand(regions_SU.shape)
        self.update(regions_SU.flatten(), losses_SU.flatten())

    def regions_found(self, counts_K: Tensor) -> None:
        self.set_shares(counts_K / counts_K.sum())


class SampleWeights:
    """The weights of a speaker extractor's training, with all that changes from step to step.

    The learner's step and the adversary's alternate: after each update of the learner, the
    adversary makes a step on the same batch, with the embeddings from before the update.

    Args:
        config: settings; `kind` is not `none`.
        loss: the loss of the extractor.
        dim: D.
        seed: seed of the adversary, the regions and the permutation.
        device: device of the extractor.

    Raises:
        ConfigError: pairs are weighted, but the loss has no pairs.
    """

    def __init__(
        self,
        config: ReweightingConfig,
        loss: SpeakerLoss,
        dim: int,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        self.config, self.loss = config, loss
        self.regions = Regions(config.regions, derive_seed(seed, "regions"))
        order_K = named_generator(seed, "permuted regions").permutation(config.regions)
        self.order_K: list[int] = order_K.tolist()
        self.player: Player
        if config.kind == "none":
            raise ValueError("a training without weights needs no SampleWeights")
        if config.kind == "group_dro":
            shares_K = torch.full((config.regions,), 1.0 / config.regions)
            self.player = RegionDro(shares_K, config.step_size, config.smoothing)
        else:
            self.player = AdversaryPlayer(config, config.kind, loss, dim, seed, device)
        if self.player.pairs and not loss.config.prototypical:
            raise ConfigError(
                f"model.reweighting.kind: {config.kind}, but model.loss.prototypical is 0, so the "
                "loss has no pairs",
                "give model.loss.prototypical a weight above 0, or choose accumulated",
            )

    @property
    def have_begun(self) -> bool:
        """Whether there are regions, which are found when the warm-up has ended."""
        return self.regions.centroids_KD is not None

    def begin_at(self, step: int) -> bool:
        """Whether the weights begin with this step, so that regions have to be found."""
        return step >= self.config.warmup_steps and not self.have_begun

    def refresh(self, vectors_ND: Tensor) -> None:
        """Find the regions anew in embeddings of the same utterances each time."""
        self.regions.search(vectors_ND)
        counts_K = self.regions.counts()
        if counts_K.any():
            self.player.regions_found(counts_K)

    def weighted(
        self, sums: LossSums, every: Gathered, parts: Mapping[str, Tensor], step: int
    ) -> LossSums:
        """Return the losses of a training step with weights.

        Args:
            sums: the losses without weights; their items are the speakers of this rank.
            every: embeddings of the batch, of all ranks.
            parts: what the loss returned for them without weights.
            step: the training step, counted from 0.
        """
        if step < self.config.warmup_steps:
            return sums
        detached_SUD = every.items.detach()
        regions_SU = self.regions.assign(detached_SUD)
        with torch.no_grad():
            weights_SU = self.player.weights(detached_SUD, regions_SU)
            if self.config.permuted:
                weights_SU = permuted_over_groups(weights_SU, regions_SU, self.order_K)
                weights_SU = weights_SU / weights_SU.mean()
        memory: Memory = detached_SUD, {name: part_S.detach() for name, part_S in parts.items()}
        sums = replace(sums, kept=(memory,), stats={**sums.stats, **_figures(weights_SU)})
        if not self.player.pairs:
            return replace(sums, weights_B=speaker_weights(weights_SU)[every.own])
        loss = weighted_loss(self.loss, every.items, parts, weights_SU, pairs=True)
        # Each rank computes the loss of all of them.
        return replace(sums, objective=loss if every.ranks == 1 else loss / every.ranks)

    def after_update(self, sums: LossSums) -> None:
        """Let the player make its step after an update of the learner."""
        if sums.kept:
            self.player.learn(sums.kept, self.regions)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"regions": self.regions.state(), "player": self.player.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.regions.load_state(state["regions"])
        self.player.load_state(state["player"])


def _figures(weights_SU: Tensor) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest weight in the batch, and their standard deviation."""
    figures = {
        "weight_min": weights_SU.min(),
        "weight_max": weights_SU.max(),
        "weight_std": weights_SU.std(unbiased=False),
    }
    return {name: (float(value), 1.0) for name, value in figures.items()}
