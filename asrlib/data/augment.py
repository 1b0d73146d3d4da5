"""Augmentation of training features.

A result depends only on the features and on the state of the random generators (see `seeded`).

Suffixes: T frames, F mel bins.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from lhotse import CutSet
from lhotse.dataset import CutMix, SpecAugment
from torch import Tensor

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig
from asrlib.seeds import derive_seed

# Log energy of digital silence in kaldifeat: log of float32's epsilon.
SILENCE = float(np.log(np.finfo(np.float32).eps))


@configclass
class AugmentConfig:
    """Augmentation of the training set, in stage 2 (speeds, noise) and in training (the rest).

    Attributes:
        speeds: speed factors; every training cut is stored once at each. [1.0] is off.
        spec_probability: probability that an utterance is masked at all; 0 turns SpecAugment off.
        spec_start_epoch: first epoch with masks. On a small corpus some epochs without masks may
            help, since the model learns the alignment first.
        feature_masks: number of masked bands of mel bins in an utterance.
        max_feature_width: bins; the width of each band is uniform below this value.
        frame_masks: largest number of masked spans of frames in an utterance.
        max_frame_width: frames; the width of each span is uniform below this value.
        max_frames_fraction: largest share of an utterance that all spans cover together.
        time_warp: largest shift of a point in time, in frames; 0 is off.
        vocal_tract: largest relative change of the frequency axis; 0 is off. An utterance's factor
            is uniform within 1 +- this value and imitates a shorter or longer vocal tract.
        gain: largest change of an utterance's level, dB; uniform within +- this value; 0 is off.
        equaliser: largest change of the level at a few points of the spectrum, dB, uniform within
            +- this value; it imitates another microphone; 0 is off.
        frame_offset: largest number of frames that are put before an utterance; 0 is off. The
            frames repeat its first one. Their number is uniform and depends on seed, epoch and
            utterance, so that the encoder's groups of frames begin at other places each time.
        silence_probability: probability that a batch gets silence; 0 is off. Then silence is added
            before an utterance with probability 0.5, and after it with probability 0.5; one half
            is digital silence, the other repeats the utterance's quietest frames. The choice is
            made per batch, since one longer utterance makes the whole batch longer.
        max_silence: longest silence at each end, seconds.
        noise_probability: probability that noise is added to an utterance; 0 is off.
        noise_snr: range of the signal-to-noise ratio, dB.
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    spec_probability: float = 0.9
    spec_start_epoch: int = 0
    feature_masks: int = 2
    max_feature_width: int = 27
    frame_masks: int = 10
    max_frame_width: int = 50
    max_frames_fraction: float = 0.15
    time_warp: int = 0
    vocal_tract: float = 0.0
    gain: float = 0.0
    equaliser: float = 0.0
    frame_offset: int = 0
    silence_probability: float = 0.2
    max_silence: float = 0.6
    noise_probability: float = 0.0
    noise_snr: tuple[float, float] = (10.0, 30.0)

    def __post_init__(self) -> None:
        shares = ("spec_probability", "max_frames_fraction", "noise_probability")
        for key in (*shares, "silence_probability"):
            value = getattr(self, key)
            if not 0 <= value <= 1:
                raise ConfigError(
                    f"augment.{key}: {value} is not within [0, 1]", "give a value from 0 to 1"
                )
        if not 0 <= self.vocal_tract <= 0.5:
            raise ConfigError(
                f"augment.vocal_tract: {self.vocal_tract} is not within [0, 0.5]",
                "give a value from 0 to 0.5; 0 is off",
            )
        for key in ("gain", "equaliser"):
            value = getattr(self, key)
            if not 0 <= value <= 40:
                raise ConfigError(
                    f"augment.{key}: {value} dB is not within [0, 40]",
                    "give a value from 0 to 40 dB; 0 is off",
                )
        if not self.max_silence > 0:
            raise ConfigError(
                f"augment.max_silence: {self.max_silence} is not above 0",
                "give seconds above 0; augment.silence_probability: 0 turns silence off",
            )
        if not self.speeds or min(self.speeds) <= 0 or len(set(self.speeds)) < len(self.speeds):
            raise ConfigError(
                f"augment.speeds: {list(self.speeds)} must be different positive factors",
                "give each factor once, or write [1.0] for no perturbation",
            )
        counts = ("feature_masks", "frame_masks", "time_warp", "spec_start_epoch", "frame_offset")
        if min(getattr(self, key) for key in counts) < 0:
            raise ConfigError(
                "augment: a number of masks, frames or epochs is negative",
                f"give 0 or more for {', '.join(counts[:-1])} and {counts[-1]}",
            )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the random generators of Python, NumPy and torch (CPU); restore their states on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SpecMasks:
    """lhotse's SpecAugment (arXiv 1904.08779), applied to one utterance at a time.

    The mask's value is the utterance's mean. Masks are applied before padding, so that this mean
    does not depend on the other utterances in the batch.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        self._augment = SpecAugment(
            time_warp_factor=config.time_warp,
            num_feature_masks=config.feature_masks,
            features_mask_size=max(1, config.max_feature_width),
            # lhotse divides by the number of masks; a width of 1 frame leaves all frames unmasked.
            num_frame_masks=max(1, config.frame_masks),
            frames_mask_size=max(1, config.max_frame_width) if config.frame_masks else 1,
            max_frames_mask_fraction=config.max_frames_fraction,
            p=config.spec_probability,
        )

    def __call__(self, x_TF: Tensor) -> Tensor:
        """Return a masked copy, or the utterance itself if it is too short for a one-frame mask."""
        allowed = self._config.max_frames_fraction * x_TF.shape[0]
        masks = min(
            self._augment.num_frame_masks, math.ceil(allowed / self._augment.frames_mask_size)
        )
        if self._config.spec_probability == 0 or masks == 0 or allowed // masks < 1:
            return x_TF
        return self._augment(x_TF[None])[0]


def shift(x_TF: Tensor, most: int, *key: int | str) -> Tensor:
    """Put 0 to `most` copies of the first frame before an utterance; `key` decides how many."""
    frames = derive_seed("offset", *key) % (most + 1)
    return torch.cat([x_TF[:1].expand(frames, -1), x_TF]) if frames else x_TF


class Silence:
    """Adds silence around utterances, so that a model does not output words in silence.

    In use, a recogniser receives silence that no utterance of a corpus contains, for example from
    a muted microphone or as zeros after the last word. The kinds of silence and their shares are
    our choice.

    Args:
        config: probability and longest duration of silence.
        frame_shift: seconds from one frame to the next.
    """

    def __init__(self, config: AugmentConfig, frame_shift: float) -> None:
        self._probability = config.silence_probability
        self._max_frames = max(1, round(config.max_silence / frame_shift))

    def __call__(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
        """Return a batch's utterances (T, F), and the number of frames added before each."""
        if random.random() >= self._probability:
            return list(features), [0] * len(features)
        ends = [(self._draw(x_TF), self._draw(x_TF)) for x_TF in features]
        longer = [torch.cat([a, x, b]) for (a, b), x in zip(ends, features, strict=True)]
        return longer, [len(before) for before, _ in ends]

    def _draw(self, x_TF: Tensor) -> Tensor:
        """Draw frames of silence (0 or more, F) with Python's random generator."""
        frames = random.randint(1, self._max_frames)
        if random.random() < 0.5:
            return x_TF[:0]
        if random.random() < 0.5:
            return x_TF.new_full((frames, x_TF.shape[1]), SILENCE)
        quietest = x_TF.mean(dim=1).argsort()[: max(1, len(x_TF) // 10)]
        return x_TF[random.choices(quietest.tolist(), k=frames)]


class VocalTractWarp:
    """Vocal tract length perturbation (Jaitly and Hinton, 2013) of filter banks.

    Bin centres are scaled in Hz; log energies at the new centres are interpolated between the old
    bins, linearly in mel. Above the highest bin, its own value is used (our choice; no new centre
    is far above it).
    """

    def __init__(self, width: float, fbank: FbankConfig) -> None:
        self.width = width
        high = fbank.high_freq if fbank.high_freq > 0 else fbank.sample_rate / 2 + fbank.high_freq
        edges_2 = _mel(torch.tensor([fbank.low_freq, high], dtype=torch.float64))
        self._low, self._step = edges_2[0], (edges_2[1] - edges_2[0]) / (fbank.num_bins + 1)
        centres_F = self._low + self._step * torch.arange(1, fbank.num_bins + 1)
        self._centres_F = 700.0 * (torch.exp(centres_F / 1127.0) - 1.0)  # Hz

    def __call__(self, x_TF: Tensor) -> Tensor:
        """Return a copy warped by a random factor (Python's generator); unchanged if width is 0."""
        if self.width == 0:
            return x_TF
        return self.warp(x_TF, random.uniform(1 - self.width, 1 + self.width))

    def warp(self, x_TF: Tensor, factor: float) -> Tensor:
        """Read energies at `factor` times each bin's frequency; above 1 the voice gets deeper."""
        at_F = (_mel(self._centres_F * factor) - self._low) / self._step - 1
        at_F = at_F.clamp(0, x_TF.shape[1] - 1)
        left_F = at_F.floor().long().clamp(max=x_TF.shape[1] - 2)
        share_F = (at_F - left_F).to(x_TF.dtype)
        return torch.lerp(x_TF[:, left_F], x_TF[:, left_F + 1], share_F)


class Equaliser:
    """Imitates another level and microphone: FilterAugment (arXiv 2110.03282), linear variant.

    The level of an utterance changes by one random amount, plus a further random amount at each of
    3 to 6 bins; between these bins the change is linear in bins and dB. The number of bins is the
    paper's; the change of the overall level is our addition. Energies stay above kaldifeat's floor.

    Args:
        gain: largest change of the overall level, dB.
        equaliser: largest further change at one of the bins, dB.
    """

    def __init__(self, gain: float, equaliser: float) -> None:
        self.gain, self.equaliser = gain, equaliser

    def __call__(self, x_TF: Tensor) -> Tensor:
        """Return a randomly changed copy (Python's generator); unchanged if both are 0."""
        if self.gain == 0 and self.equaliser == 0:
            return x_TF
        last = x_TF.shape[1] - 1
        inner = sorted(random.sample(range(1, last), k=min(random.randint(1, 4), last - 1)))
        places = [0, *inner, last]
        level = random.uniform(-self.gain, self.gain)
        change = [level + random.uniform(-self.equaliser, self.equaliser) for _ in places]
        change_F = np.interp(np.arange(last + 1), places, change) * (math.log(10.0) / 10.0)
        return (x_TF + torch.from_numpy(change_F).to(x_TF.dtype)).clamp(min=SILENCE)


def _mel(hz: Tensor) -> Tensor:
    """Convert Hz to Kaldi's mel scale."""
    return 1127.0 * torch.log1p(hz / 700.0)


def add_noise(cuts: CutSet, noise: CutSet, config: AugmentConfig, seed: int) -> CutSet:
    """Mix noise into a random selection of the cuts, in the feature domain (lhotse's CutMix)."""
    mix = CutMix(
        noise,
        snr=tuple(config.noise_snr),
        p=config.noise_probability,
        pad_to_longest=False,
        preserve_id=True,
        seed=random.Random(seed),
        random_mix_offset=True,
    )
    return mix(cuts)
