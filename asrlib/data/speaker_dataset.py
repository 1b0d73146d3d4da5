"""Batches of speakers: crops of equal length from several utterances of each.

A batch depends only on (seed, epoch, batch number), not on the number of loader processes and not
on the step at which training was resumed.

Suffixes: S speakers, U crops of each, T frames, F mel bins.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from lhotse import CutSet
from lhotse.augmentation import Speed
from lhotse.cut import Cut
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asrlib.config import configclass
from asrlib.data.augment import AugmentConfig, Equaliser, SpecMasks, add_noise, seeded
from asrlib.data.share import WHOLE, RankShare
from asrlib.data.thinning import Thinning
from asrlib.errors import ConfigError, DataError
from asrlib.features import lhotse_fbank, on_the_fly, storage  # noqa: F401  (for lhotse)
from asrlib.numbers import Count, Positive, PositiveFloat
from asrlib.seeds import derive_seed

logger = logging.getLogger(__name__)


@configclass
class SpeakerDataConfig:
    """Settings of batches of speakers: conf/speaker.yaml.

    Attributes:
        speakers: number of different speakers in a batch; all of them if there are fewer.
        crops: number of crops of each, from different utterances where there are enough.
        crop_seconds: length of a crop, in seconds.
        speed_speakers: whether utterances at another speed (`augment.speeds`, stage 2) are used, as
            those of further speakers. Otherwise they are left out.
        per_epoch: batches in an epoch; 0 means as many as hold the training speech once.
        dev_utts: largest number of utterances of a dev speaker in the dev metric `eer`.
        thin: rules that leave out training speakers of a group.
        train: values that replace those of conf/train.yaml when a speaker extractor is trained.
        augment: values that replace those of conf/augment.yaml likewise. Only noise, level,
            equaliser and SpecAugment apply to crops: silence would replace speech, and another
            vocal tract would be another speaker.
    """

    speakers: int = Field(default=64, ge=2)
    crops: int = Field(default=2, ge=2)
    crop_seconds: PositiveFloat = 2.0
    speed_speakers: bool = True
    per_epoch: Count = 0
    dev_utts: Positive = 20
    thin: tuple[Thinning, ...] = ()
    train: dict[str, Any] = field(
        default_factory=lambda: {"best_by": "eer", "average": 1, "epochs": 10, "peak_lr": 3e-3}
    )
    augment: dict[str, Any] = field(
        default_factory=lambda: {"max_frame_width": 20, "max_feature_width": 15}
    )


@dataclass
class SpeakerBatch:
    """A batch of speakers.

    Attributes:
        x_SUTF: float32 log filter banks of the crops.
        classes_S: numbers of the speakers in `SpeakerCuts.names`.
        ids: names of the speakers, all different.
    """

    x_SUTF: Tensor
    classes_S: Tensor
    ids: list[str]


@dataclass(frozen=True)
class SpeakerCuts:
    """Cuts with features by speaker.

    Attributes:
        names: speakers, sorted; a speaker at another speed is a speaker of its own.
        cuts: cuts of each speaker, sorted by id.
    """

    names: tuple[str, ...]
    cuts: tuple[tuple[Cut, ...], ...]

    @classmethod
    def of(
        cls, cuts: Iterable[Cut], speed_speakers: bool, without: Collection[str] = ()
    ) -> SpeakerCuts:
        """Group cuts by speaker; those without a speaker or a frame are left out, with a warning.

        Another warning says how many speakers have one utterance: all crops of such a speaker come
        from it, so they teach nothing about how a voice differs between utterances.

        Args:
            cuts: cuts with features.
            speed_speakers: whether speakers at another speed are further speakers.
            without: speakers that are left out.

        Raises:
            DataError: fewer than two speakers remain.
        """
        found: dict[str, list[Cut]] = {}
        bad = []
        for cut in cuts:
            name, speed = speaker_of(cut), _speed(cut)
            if name in without:
                continue
            if not name or not cut.num_frames:
                bad.append(cut.id)
            elif speed == 1.0:
                found.setdefault(name, []).append(cut)
            elif speed_speakers:
                found.setdefault(f"{name}_sp{speed:g}", []).append(cut)
        if bad:
            logger.warning("left out, no speaker or no frames: %s", " ".join(bad))
        if len(found) < 2:
            raise DataError(
                f"the set has {len(found)} speakers; telling speakers apart needs two",
                "check that the corpus names the speaker of each utterance (stage 1)",
            )
        names = tuple(sorted(found))
        single = [name for name in names if len(found[name]) == 1]
        if single:
            logger.warning(
                "%d of %d speakers have one utterance, from which all of their crops are taken, "
                "first %s",
                *(len(single), len(names), single[0]),
            )
        return cls(names, tuple(tuple(sorted(found[n], key=lambda c: c.id)) for n in names))

    def only(self, names: Collection[str]) -> SpeakerCuts:
        """Return the speakers of these names."""
        kept = [(n, c) for n, c in zip(self.names, self.cuts, strict=True) if n in names]
        return SpeakerCuts(tuple(n for n, _ in kept), tuple(c for _, c in kept))

    @property
    def seconds(self) -> float:
        """Seconds of speech."""
        return sum(cut.duration for cuts in self.cuts for cut in cuts)


def speaker_of(cut: Cut) -> str:
    """Return the speaker of a cut; the empty string if it has none or more than one."""
    speakers = {s.speaker for s in cut.supervisions}
    return next(iter(speakers)) or "" if len(speakers) == 1 else ""


def _speed(cut: Cut) -> float:
    """Return the factor of the speed perturbation of a cut; 1 if there is none."""
    recording = getattr(cut, "recording", None)
    for transform in (recording and recording.transforms) or ():
        if isinstance(transform, Speed):
            return transform.factor
        if isinstance(transform, Mapping) and transform.get("name") == "Speed":
            return float(transform["kwargs"]["factor"])
    return 1.0


def plan_crops(
    lengths: Sequence[int], crop: int, count: int, rng: random.Random
) -> list[tuple[list[int], int]]:
    """Choose the utterances and the place of each crop of a speaker.

    The utterances are shuffled and dealt: each crop takes the next one, and further ones while
    their joined length is below that of the crop. When all are dealt, they are shuffled and dealt
    again, so that no two crops share an utterance while others are left. A speaker with less
    speech than a crop repeats it.

    Args:
        lengths: frames of each utterance, at least 1.
        crop: frames of a crop.
        count: number of crops.
        rng: source of the choices.

    Returns:
        For each crop the numbers of its utterances, and the crop's first frame within these joined.
    """
    crops = []
    left: list[int] = []
    for _ in range(count):
        chosen: list[int] = []
        joined = 0
        while joined < crop:
            left = left or rng.sample(range(len(lengths)), len(lengths))
            chosen.append(left.pop())
            joined += lengths[chosen[-1]]
        crops.append((chosen, rng.randint(0, joined - crop)))
    return crops


class SpeakerCrops(Dataset):
    """Numbered batches of one epoch.

    Args:
        source: the speakers.
        config: settings of the batches.
        frame_shift: seconds from one frame to the next.
        seed: seed of the order of speakers, of crops and of the augmentation.
        epoch: number of the epoch.
        augment: augmentation of the crops; None for none.
        noise: noise to add; None if there is none.
        share: the share of each batch that is read. The crops do not depend on it, but a rank
            augments with seeds of its own.
    """

    def __init__(
        self,
        source: SpeakerCuts,
        config: SpeakerDataConfig,
        frame_shift: float,
        *,
        seed: int,
        epoch: int,
        augment: AugmentConfig | None = None,
        noise: CutSet | None = None,
        share: RankShare = WHOLE,
    ) -> None:
        self._source, self._config, self._noise = source, config, noise
        self._frames = max(1, round(config.crop_seconds / frame_shift))
        self._seed, self._epoch, self._augment, self._share = seed, epoch, augment, share
        self._masks = self._equaliser = None
        if augment is not None:
            self._equaliser = Equaliser(augment.gain, augment.equaliser)
            self._masks = SpecMasks(augment) if epoch >= augment.spec_start_epoch else None

    def __len__(self) -> int:
        if self._config.per_epoch:
            return self._config.per_epoch
        seconds = self._size * self._config.crops * self._config.crop_seconds
        return max(1, round(self._source.seconds / seconds))

    @property
    def _size(self) -> int:
        return min(self._config.speakers, len(self._source.names))

    @property
    def per_round(self) -> int:
        """Number of batches in which every speaker occurs at most once."""
        return len(self._source.names) // self._size

    def __getitem__(self, index: int) -> SpeakerBatch:
        seed = derive_seed(self._seed, self._epoch, index)
        with seeded(seed):
            drawn = [(number, random.getrandbits(32)) for number in self._classes(index)]
            own = self._share.of(drawn)
            if not self._share.rank:
                return self._batch(own, seed)
        with seeded(self._share.seed(seed)):
            return self._batch(own, self._share.seed(seed))

    def _batch(self, drawn: Sequence[tuple[int, int]], seed: int) -> SpeakerBatch:
        """Read the crops of speakers.

        Args:
            drawn: number of each speaker, and the seed that chooses the speaker's crops.
            seed: seed of the noise.
        """
        config, source, places = self._config, self._source, []
        pieces: list[Cut] = []
        for number, crops_seed in drawn:
            cuts, rng = source.cuts[number], random.Random(crops_seed)
            lengths = [cut.num_frames or 0 for cut in cuts]
            for chosen, start in plan_crops(lengths, self._frames, config.crops, rng):
                pieces += [cuts[i] for i in chosen]
                places.append((len(chosen), start))
        read = iter(self._noisy(pieces, seed))
        crops = [self._crop(list(islice(read, count)), start) for count, start in places]
        return SpeakerBatch(
            torch.stack(crops).unflatten(0, (len(drawn), config.crops)),
            torch.tensor([number for number, _ in drawn]),
            [source.names[number] for number, _ in drawn],
        )

    def _classes(self, number: int) -> list[int]:
        """Return the speakers of a batch.

        The speakers are shuffled and dealt to batches; those left over by the last batch of a round
        are others in each round, so that every speaker occurs equally often on average.
        """
        names, size = self._source.names, self._size
        round_number, place = divmod(number, self.per_round)
        rng = random.Random(derive_seed("speakers", self._seed, self._epoch, round_number))
        return rng.sample(range(len(names)), len(names))[place * size : (place + 1) * size]

    def _noisy(self, cuts: Sequence[Cut], seed: int) -> Iterable[Cut]:
        """Add noise to some of the cuts, if there is any."""
        if self._augment is None or not self._augment.noise_probability or self._noise is None:
            return cuts
        return add_noise(CutSet.from_cuts(cuts), self._noise, self._augment, seed)

    def _crop(self, pieces: Sequence[Cut], start: int) -> Tensor:
        """Join the features of cuts and return the crop (T, F) at frame `start`, augmented."""
        joined = [torch.from_numpy(cut.load_features()) for cut in pieces]
        x_TF = torch.cat(joined)[start : start + self._frames]
        x_TF = x_TF if self._equaliser is None else self._equaliser(x_TF)
        return x_TF if self._masks is None else self._masks(x_TF)


def speaker_batches(
    source: SpeakerCuts,
    config: SpeakerDataConfig,
    augment: AugmentConfig,
    *,
    frame_shift: float,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    noise: CutSet | None = None,
    num_workers: int = 0,
    share: RankShare = WHOLE,
) -> Iterator[SpeakerBatch]:
    """Yield an epoch's augmented batches, from number `start_batch` on.

    Skipped batches read no features; the other batches equal those of an uninterrupted epoch.

    Raises:
        ConfigError: `augment` requires noise and there is none.
    """
    if augment.noise_probability > 0 and not noise:
        raise ConfigError(
            f"augment.noise_probability: {augment.noise_probability}, but there is no noise",
            "run stage 2 with this value, which makes noise, or set it to 0",
        )
    crops = SpeakerCrops(
        source,
        config,
        frame_shift,
        seed=seed,
        epoch=epoch,
        augment=augment,
        noise=noise,
        share=share,
    )
    yield from DataLoader(
        crops,
        batch_size=None,
        sampler=range(start_batch, len(crops)),
        num_workers=num_workers,
        # The loader draws its workers' seed from this generator, not from torch's global one.
        generator=torch.Generator().manual_seed(0),
    )
