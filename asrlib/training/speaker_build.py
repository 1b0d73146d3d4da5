"""Build the task of a speaker extractor from a recipe's configuration."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse import CutSet
from typing_extensions import Self

from asrlib.data.augment import AugmentConfig
from asrlib.data.noise import NOISE_SET, load_noise
from asrlib.data.speaker_dataset import SpeakerCuts, SpeakerDataConfig
from asrlib.data.thinning import thinned
from asrlib.errors import ConfigError, DataError
from asrlib.features.fbank import FbankConfig
from asrlib.recipe import Recipe
from asrlib.scoring.records import read_speakers
from asrlib.speakers.model import SpeakerModel, SpeakerModelConfig
from asrlib.speakers.model_io import load_start
from asrlib.training.build import Configs, with_values
from asrlib.training.config import TrainConfig
from asrlib.training.speaker_task import SpeakerSource, SpeakerTask
from asrlib.training.training_inputs import read_features

SPEAKER_TABLE = "speakers.tsv"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SpeakerConfigs(Configs):
    """All settings that decide the result of training a speaker extractor.

    Attributes:
        model: settings of the extractor and its loss.
        speaker: settings of the batches.
        augment: settings of the augmentation.
        features: settings of the features.
    """

    model: SpeakerModelConfig
    speaker: SpeakerDataConfig
    augment: AugmentConfig
    features: FbankConfig

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Self:
        data = recipe.config(SpeakerDataConfig, "speaker")
        recipe = with_values(recipe, "speaker", "train", TrainConfig, data.train)
        recipe = with_values(recipe, "speaker", "augment", AugmentConfig, data.augment)
        configs = super().of(recipe, model)
        # Their values are now in the sections themselves.
        return replace(configs, speaker=replace(data, train={}, augment={}))

    def input_files(self, data: Path) -> tuple[Path, ...]:
        noise = data / NOISE_SET / "cuts_fbank.jsonl.gz"
        files = [data / name / "cuts_fbank.jsonl.gz" for name in ("train", "dev")]
        if self.speaker.thin:
            files.append(data / SPEAKER_TABLE)
        if self.augment.noise_probability and noise.exists():
            files.append(noise)
        return tuple(files)

    def build_task(self, data: Path, init: Path | None) -> SpeakerTask:
        train_path, dev_path = self.input_files(data)[:2]
        dropped = self._dropped(data / SPEAKER_TABLE, train_path)
        train = self._speakers(train_path, self.speaker.speed_speakers, dropped)
        dev = self._speakers(dev_path, speed_speakers=False)
        if all(len(cuts) < 2 for cuts in dev.cuts):
            raise DataError(
                f"{dev_path}: no speaker has two utterances, so there is no equal error rate",
                "hold out speakers with several utterances as the dev set",
            )
        model = SpeakerModel(self.model, self.features.num_bins, len(train.names))
        counts = {n: sum(p.numel() for p in m.parameters()) for n, m in model.named_children()}
        logger.info("parameters: %s; training speakers: %d", counts, len(train.names))
        if len(train.names) < self.speaker.speakers:
            logger.warning("every batch holds all %d training speakers", len(train.names))
        if init is not None:
            if self.train.init_part != "all":
                raise ConfigError(
                    f"train.init_part: {self.train.init_part}, but this model has no such part",
                    "set train.init_part=all: the extractor is always taken, and nothing else",
                )
            load_start(model, init)
        source = SpeakerSource(
            train, dev, load_noise(data), self.features, self.speaker, self.augment
        )
        return SpeakerTask(model, source, self.train)

    def _dropped(self, table: Path, train: Path) -> frozenset[str]:
        """Return the training speakers that `speaker.thin` leaves out."""
        if not self.speaker.thin:
            return frozenset()
        known = read_speakers(table, "train")
        heard = {s.speaker for cut in read_features(train) for s in cut.supervisions}
        ours = {name: facts for name, facts in known.items() if name in heard}
        return thinned(self.speaker.thin, ours, self.train.seed)

    def _speakers(
        self, path: Path, speed_speakers: bool, without: Collection[str] = ()
    ) -> SpeakerCuts:
        cuts: CutSet = read_features(path)
        bins = next(iter(cuts)).num_features
        if bins != self.features.num_bins:
            raise DataError(
                f"{path}: has features of {bins} mel bins, not {self.features.num_bins}",
                "run stage 2 again with this conf/features.yaml",
            )
        try:
            return SpeakerCuts.of(cuts, speed_speakers, without)
        except DataError as e:
            raise DataError(f"{path}: {e.what}", e.fix) from e
