"""A small real task of telling speakers apart, in which a minority of speakers is hard.

Utterances are vectors. Speakers of the majority lie far apart; those of the minority lie close
together, in a corner of the space of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tiny_task import strike
from torch import Tensor, nn

from asrlib.data.share import WHOLE, RankShare
from asrlib.layers.over_ranks import gathered
from asrlib.speakers.adversary import ReweightingConfig
from asrlib.speakers.losses import SpeakerLossConfig
from asrlib.training.speaker_task import SpeakerTask
from asrlib.training.speaker_weights import SampleWeights
from asrlib.training.task import LossSums

SPEAKERS, MINORITY = 16, 4  # the first ones are the minority
CROPS, DIM, BATCHES = 2, 8, 6


@dataclass(frozen=True)
class Crops:
    """`x_SUD` are utterances of speakers, `classes_S` the numbers of the speakers."""

    x_SUD: Tensor
    classes_S: Tensor
    ids: list[str]


class Extractor(nn.Module):
    """A linear extractor with its loss."""

    def __init__(self, loss: SpeakerLossConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, DIM)
        self.loss = loss.build(DIM, SPEAKERS)


class PlantedTask:
    """An extractor of planted speakers; batches hold 12 of 16 speakers."""

    # What keeps the weights is the real task's.
    begin, after_update = SpeakerTask.begin, SpeakerTask.after_update
    state, load_state = SpeakerTask.state, SpeakerTask.load_state

    def __init__(
        self,
        config: ReweightingConfig,
        strike: tuple[str, int] | None = None,
        poison: Mapping[str, float] | None = None,
        room: int = 99,
    ) -> None:
        torch.manual_seed(0)
        self.model = Extractor(SpeakerLossConfig(aam=0.5, aam_scale=10.0))
        self.strike, self.poison, self.room = strike, poison or {}, room
        self.weights = None
        if config.kind != "none":
            self.weights = SampleWeights(config, self.model.loss, DIM, seed=1)
        generator = torch.Generator().manual_seed(7)
        self.means_CD = 2.0 * torch.randn(SPEAKERS, DIM, generator=generator)
        close = 0.25 * torch.randn(MINORITY, DIM, generator=generator)
        self.means_CD[:MINORITY] = 4.0 * torch.eye(DIM)[0] + close

    def batches_per_epoch(self) -> int:
        return BATCHES

    def utterances(self, seed: int, count: int) -> Tensor:
        """Some utterances of each speaker."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(SPEAKERS, count, DIM, generator=generator)
        return self.means_CD.unsqueeze(1) + 0.4 * noise

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterator[Crops]:
        if self.weights is not None and start_batch == 0:
            with torch.no_grad():
                self.weights.refresh(self.model.linear(self.utterances(5, 3).flatten(0, 1)))
        for number in range(start_batch, BATCHES):
            seed = 1000 * epoch + number
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(SPEAKERS, generator=generator)[:12]
            yield self.of(chosen, seed)

    def of(self, chosen: Tensor, seed: int) -> Crops:
        x_SUD = self.utterances(seed, CROPS)[chosen]
        ids = [f"spk{i:02d}" for i in chosen.tolist()]
        for row, name in enumerate(ids):
            x_SUD[row] += self.poison.get(name, 0.0)
        return Crops(x_SUD, chosen, ids)

    def loss(self, batch: Crops, step: int) -> LossSums:
        if self.strike and self.strike[1] == step:
            strike(self.strike[0])
        if len(batch.ids) > self.room:
            torch.empty(1 << 60, dtype=torch.uint8)
        embeddings_SUD = self.model.linear(batch.x_SUD)
        parts = self.model.loss(embeddings_SUD, batch.classes_S)
        stats = {"aam": (float(parts["aam"].detach().sum()), float(len(batch.ids)))}
        sums = LossSums(parts["total"], batch.ids, len(batch.ids), stats)
        if self.weights is None:
            return sums
        return self.weights.weighted(sums, gathered(embeddings_SUD), parts, step)

    def drop(self, batch: Crops, ids: Collection[str]) -> Crops | None:
        keep = [i for i, name in enumerate(batch.ids) if name not in ids]
        if not keep:
            return None
        return Crops(batch.x_SUD[keep], batch.classes_S[keep], [batch.ids[i] for i in keep])

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        loss = self.model.loss(self.model.linear(self.utterances(99, CROPS)), None)
        return {"loss": float(loss["total"].mean())}

    def payload(self) -> dict[str, Any]:
        return {"kind": "planted"}
