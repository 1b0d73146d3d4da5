"""The task of training a speaker extractor on crops of several utterances of each speaker.

Shapes: S speakers, U crops of each, T frames, F features, D width of an embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
from statistics import fmean
from typing import Any

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from torch import Tensor

from asrlib.data.augment import AugmentConfig
from asrlib.data.share import WHOLE, RankShare
from asrlib.data.speaker_dataset import (
    SpeakerBatch,
    SpeakerCrops,
    SpeakerCuts,
    SpeakerDataConfig,
    speaker_batches,
)
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig
from asrlib.layers.over_ranks import gathered
from asrlib.speakers.embed import embed_features
from asrlib.speakers.model import SpeakerModel
from asrlib.speakers.model_io import speaker_payload
from asrlib.training.config import TrainConfig
from asrlib.training.dev_eer import eer_of_pairs
from asrlib.training.meter import Sums
from asrlib.training.speaker_weights import SampleWeights
from asrlib.training.task import LossSums

logger = logging.getLogger(__name__)

# Largest number of times that a dev speaker occurs in the dev loss.
_DEV_ROUNDS = 4


@dataclass(frozen=True)
class SpeakerSource:
    """Data to train a speaker extractor on.

    Attributes:
        train: training speakers; their order is that of the model's classes.
        dev: speakers of the dev metrics, who are not among the training speakers.
        noise: noise to add to the training crops; None if there is none.
        fbank: settings of the features.
        data: settings of the batches.
        augment: settings of the augmentation.
    """

    train: SpeakerCuts
    dev: SpeakerCuts
    noise: CutSet | None
    fbank: FbankConfig
    data: SpeakerDataConfig
    augment: AugmentConfig


class SpeakerTask:
    """The task of training a speaker extractor; an item of its batches is a speaker.

    The samples have weights if `model.config.reweighting` asks for them. Then the task keeps the
    state of `SampleWeights`. The regions are found in embeddings of the training speakers, first
    when the weights begin, and anew at the start of each later epoch.

    Args:
        model: the model, with a class for each training speaker.
        source: the data.
        config: settings of training.
    """

    def __init__(self, model: SpeakerModel, source: SpeakerSource, config: TrainConfig) -> None:
        self.device = torch.device(config.device)
        self.model = model.to(self.device)
        self.source, self.config = source, config
        self.weights = None
        if model.config.reweighting.kind != "none":
            self.weights = SampleWeights(
                model.config.reweighting,
                model.loss,
                model.extractor.embedding_dim,
                config.seed,
                self.device,
            )

    def batches_per_epoch(self) -> int:
        return len(self._plain_crops(self.source.train))

    def begin(self, total_steps: int) -> None:
        """Check that the weights begin within the training; no module has a schedule.

        Raises:
            ConfigError: the warm-up of the reweighting does not end before the training.
        """
        if self.weights is None:
            return
        warm_up = self.weights.config.warmup_steps
        if warm_up >= total_steps:
            raise ConfigError(
                f"model.reweighting.warmup_steps: {warm_up}, but the training has {total_steps} "
                "steps (train.max_steps, train.epochs), so no sample would ever have a weight",
                f"set model.reweighting.warmup_steps below {total_steps}, or raise train.max_steps "
                "or train.epochs, or set model.reweighting.kind=none",
            )

    def _plain_crops(self, speakers: SpeakerCuts) -> SpeakerCrops:
        """Return batches of crops without augmentation, which are the same for every seed."""
        source = self.source
        return SpeakerCrops(speakers, source.data, source.fbank.frame_shift, seed=0, epoch=0)

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[SpeakerBatch]:
        if self.weights is not None and start_batch == 0 and self.weights.have_begun:
            self._find_regions(self.weights)
        source = self.source
        return speaker_batches(
            source.train,
            source.data,
            source.augment,
            frame_shift=source.fbank.frame_shift,
            seed=self.config.seed,
            epoch=epoch,
            start_batch=start_batch,
            noise=source.noise,
            num_workers=self.config.num_workers,
            share=share,
        )

    def loss(self, batch: SpeakerBatch, step: int) -> LossSums:
        """Compute the loss of each speaker; `LossSums.weight` is the number of speakers.

        A speaker's impostors are the others in the batch, those of all ranks. So a part of a batch
        that does not fit into memory as a whole has fewer of them.
        """
        if self.weights is not None and self.weights.begin_at(step):
            self._find_regions(self.weights)
        every = gathered(self.model.embed(batch.x_SUTF.to(self.device)).float())
        classes_S = gathered(batch.classes_S.to(self.device)).items
        with torch.autocast(self.device.type, enabled=False):
            parts = self.model.loss(every.items, classes_S)
            right_S = self._nearest(every.items)
        own = {name: part_S[every.own] for name, part_S in parts.items()}
        count = float(len(own["total"]))
        stats = {k: (float(v.detach().sum()), count) for k, v in own.items() if k != "total"}
        frames = batch.x_SUTF.shape[1] * batch.x_SUTF.shape[2]
        sums = LossSums(
            per_item_B=own["total"],
            ids=batch.ids if count else [],
            weight=count,
            stats=stats | {"accuracy": (float(right_S[every.own].sum()), count)},
            seconds=count * frames * self.source.fbank.frame_shift,
        )
        if self.weights is None:
            return sums
        with torch.autocast(self.device.type, enabled=False):
            return self.weights.weighted(sums, every, parts, step)

    def after_update(self, step: int, lr: float, sums: LossSums) -> None:
        """Let the adversary make its step; see `Task.after_update`."""
        if self.weights is not None:
            self.weights.after_update(sums)

    def state(self) -> dict[str, Any]:
        return {} if self.weights is None else self.weights.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        if self.weights is not None:
            self.weights.load_state(state)

    def _find_regions(self, weights: SampleWeights) -> None:
        """Find the regions of the embedding space in the present embeddings.

        They are float32 whatever the precision of the training, in the midst of a step, too.
        """
        self.model.eval()
        limit = self.model.config.reweighting.utterances
        with torch.autocast(self.device.type, enabled=False):
            weights.refresh(self._embedded(self.source.train, limit)[1])
        self.model.train()

    @torch.no_grad()
    def weights_of_speakers(self, speakers: Collection[str], limit: int) -> dict[str, float]:
        """Return the mean weight that the player gives to each of some training speakers now.

        The weights are those of whole utterances without augmentation, before any permutation;
        their mean over all of these is 1. Speakers without a finite embedding are left out.

        Args:
            speakers: the speakers; those who are not trained on are left out.
            limit: largest number of utterances of a speaker.

        Raises:
            ConfigError: the training has no weights, or they have not begun.
        """
        if self.weights is None or not self.weights.have_begun:
            raise ConfigError(
                f"model.reweighting.kind: {self.model.config.reweighting.kind}, without a weight",
                "name a model that was trained with reweighting, beyond its warm-up",
            )
        self.model.eval()
        named, vectors_ND = self._embedded(self.source.train.only(speakers), limit)
        finite_N = torch.isfinite(vectors_ND).all(dim=1)
        embeddings_N1D = vectors_ND[finite_N].unsqueeze(1)
        regions_N1 = self.weights.regions.assign(embeddings_N1D)
        weights_N = self.weights.player.weights(embeddings_N1D, regions_N1)[:, 0].tolist()
        own: dict[str, list[float]] = {}
        for (name, _), weight in zip(compress(named, finite_N.tolist()), weights_N, strict=True):
            own.setdefault(name, []).append(weight)
        return {name: fmean(weights) for name, weights in own.items()}

    def _embedded(self, speakers: SpeakerCuts, limit: int) -> tuple[list[tuple[str, Cut]], Tensor]:
        """Embed at most `limit` utterances of each speaker, spread over the speaker's cuts.

        Returns:
            (speaker, cut) of each, and the embeddings (N, D).
        """
        chosen = [
            (name, cut)
            for name, own in zip(speakers.names, speakers.cuts, strict=True)
            for cut in own[:: -(-len(own) // limit)]
        ]
        features = [torch.from_numpy(cut.load_features()) for _, cut in chosen]
        return chosen, embed_features(self.model.extractor, features)

    @torch.no_grad()
    def _nearest(self, embeddings_SUD: Tensor) -> Tensor:
        """Return for each speaker whether the nearest prototype of the query is its own (S)."""
        nearest_S = self.model.loss.prototypical.similarities(embeddings_SUD).argmax(dim=1)
        return nearest_S == torch.arange(len(nearest_S), device=nearest_S.device)

    def drop(self, batch: SpeakerBatch, ids: Collection[str]) -> SpeakerBatch | None:
        keep = [i for i, name in enumerate(batch.ids) if name not in ids]
        if not keep:
            return None
        names = [batch.ids[i] for i in keep]
        return SpeakerBatch(batch.x_SUTF[keep], batch.classes_S[keep], names)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Compute the dev metrics.

        Returns:
            `loss`: prototypical loss per dev speaker, since dev speakers have no class. `accuracy`:
            share of crops whose nearest prototype is that of their speaker. `eer`: equal error rate
            over all pairs of dev utterances, whole, as a fraction. `eer_threshold`: the cosine at
            which it occurs.
        """
        self.model.eval()
        return self._dev_loss() | self._dev_eer()

    def _dev_loss(self) -> dict[str, float]:
        crops = self._plain_crops(self.source.dev)
        sums = Sums()
        for number in range(_DEV_ROUNDS * crops.per_round):
            batch = crops[number]
            embeddings_SUD = self.model.embed(batch.x_SUTF.to(self.device))
            finite_S = torch.isfinite(embeddings_SUD).all(dim=-1).all(dim=-1)
            embeddings_SUD = embeddings_SUD[finite_S]
            if not len(embeddings_SUD):
                continue
            loss_S = self.model.loss(embeddings_SUD, None)["total"]
            sums.add({"loss": (float(loss_S.sum()), len(loss_S))})
            sums.add({"accuracy": (float(self._nearest(embeddings_SUD).sum()), len(loss_S))})
        return {"loss": torch.nan} | sums.means()

    def _dev_eer(self) -> dict[str, float]:
        named, vectors_ND = self._embedded(self.source.dev, self.source.data.dev_utts)
        finite_N = torch.isfinite(vectors_ND).all(dim=1).tolist()
        if not all(finite_N):
            bad = [cut.id for (_, cut), finite in zip(named, finite_N, strict=True) if not finite]
            logger.warning("dev: embedding is not finite, left out: %s", " ".join(bad))
        kept = [one for one, finite in zip(named, finite_N, strict=True) if finite]
        names = [name for name, _ in kept]
        recordings = [cut.supervisions[0].recording_id for _, cut in kept]
        try:
            eer, threshold = eer_of_pairs(vectors_ND[finite_N].numpy(), names, recordings)
        except ValueError as e:
            logger.warning("dev: %s", e)
            eer = threshold = torch.nan
        return {"eer": eer, "eer_threshold": threshold}

    def payload(self) -> dict[str, Any]:
        return speaker_payload(self.model, self.source.fbank)
