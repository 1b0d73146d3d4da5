"""Augmentation of training features, a function of the random state it runs under.

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

# What kaldifeat gives for digital silence: log of float32's epsilon.
SILENCE = float(np.log(np.finfo(np.float32).eps))


@configclass
class AugmentConfig:
    """What stage 2 (speeds, noise) and training (the rest) do to the train set.

    Attributes:
        speeds: every training cut is stored once at each; [1.0] for no perturbation.
        spec_probability: of an utterance to be masked at all; 0 turns SpecAugment off.
        spec_start_epoch: the first epoch with masks. Small corpora may want some without:
            the alignment is learned first.
        feature_masks: bands of mel bins masked in an utterance.
        max_feature_width: bins; each band's width is uniform below this.
        frame_masks: spans of frames masked in an utterance, at most.
        max_frame_width: frames; each span's width is uniform below this.
        max_frames_fraction: of an utterance that the spans may cover together.
        time_warp: frames by which a point in time may move; 0 is off.
        vocal_tract: the frequency axis of an utterance is stretched by a factor drawn uniformly
            within 1 +- this, as if its speaker's vocal tract were shorter or longer; 0 is off.
        gain: dB; an utterance's level is changed by an amount uniform within +- this; 0 is off.
        equaliser: dB; so is the level at a few places of its spectrum, as if it came through
            another microphone; 0 is off.
        silence_probability: of a batch to get silence, before every second of its utterances and
            after every second; 0 is off. Half of it digital, half from the utterance's own
            quietest frames. By batches, since one longer utterance makes a whole batch longer.
        max_silence: seconds of it, at each end.
        noise_probability: of an utterance to get noise added; 0 is off.
        noise_snr: dB, the range of the signal-to-noise ratio.
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
    silence_probability: float = 0.2
    max_silence: float = 0.6
    noise_probability: float = 0.0
    noise_snr: tuple[float, float] = (10.0, 30.0)

    def __post_init__(self) -> None:
        shares = ("spec_probability", "max_frames_fraction", "noise_probability")
        for key in (*shares, "silence_probability"):
            value = getattr(self, key)
            if not 0 <= value <= 1:
                raise ConfigError(f"augment.{key}: {value} is not within [0, 1]", "fix the value")
        if not 0 <= self.vocal_tract <= 0.5:
            raise ConfigError(
                f"augment.vocal_tract: {self.vocal_tract} is not within [0, 0.5]", "0 is off"
            )
        for key in ("gain", "equaliser"):
            value = getattr(self, key)
            if not 0 <= value <= 40:
                raise ConfigError(f"augment.{key}: {value} dB is not within [0, 40]", "0 is off")
        if not self.max_silence > 0:
            raise ConfigError(
                f"augment.max_silence: {self.max_silence} is not above 0",
                "give seconds; augment.silence_probability: 0 is off",
            )
        if not self.speeds or min(self.speeds) <= 0 or len(set(self.speeds)) < len(self.speeds):
            raise ConfigError(
                f"augment.speeds: {list(self.speeds)} must be different positive factors",
                "write [1.0] for no perturbation",
            )
        if min(self.feature_masks, self.frame_masks, self.time_warp, self.spec_start_epoch) < 0:
            raise ConfigError(
                "augment: a number of masks, frames or epochs is negative", "write 0 for none"
            )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the random generators of python, numpy and torch (CPU); restore them at the end."""
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
    """lhotse's SpecAugment (arXiv 1904.08779) on one utterance at a time.

    Utterance by utterance, before padding, so that the mask's value, the utterance's mean,
    does not depend on what else is in the batch.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        self._augment = SpecAugment(
            time_warp_factor=config.time_warp,
            num_feature_masks=config.feature_masks,
            features_mask_size=max(1, config.max_feature_width),
            # lhotse divides by the number of masks; a mask narrower than one frame is none.
            num_frame_masks=max(1, config.frame_masks),
            frames_mask_size=max(1, config.max_frame_width) if config.frame_masks else 1,
            max_frames_mask_fraction=config.max_frames_fraction,
            p=config.spec_probability,
        )

    def __call__(self, x_TF: Tensor) -> Tensor:
        """Masked copy; an utterance too short for a mask of one frame comes back as it is."""
        allowed = self._config.max_frames_fraction * x_TF.shape[0]
        masks = min(
            self._augment.num_frame_masks, math.ceil(allowed / self._augment.frames_mask_size)
        )
        if self._config.spec_probability == 0 or masks == 0 or allowed // masks < 1:
            return x_TF
        return self._augment(x_TF[None])[0]


class Silence:
    """Silence around an utterance, for models that would otherwise write words into it.

    A recogniser hears silence that no utterance of a corpus has: microphones that are muted, zeros
    behind the last word. The kinds and their shares are our choice.

    Args:
        frame_shift: seconds.
    """

    def __init__(self, config: AugmentConfig, frame_shift: float) -> None:
        self._probability = config.silence_probability
        self._max_frames = max(1, round(config.max_silence / frame_shift))

    def __call__(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
        """A batch's utterances (T, F), and the frames of silence in front of each."""
        if random.random() >= self._probability:
            return list(features), [0] * len(features)
        ends = [(self._draw(x_TF), self._draw(x_TF)) for x_TF in features]
        longer = [torch.cat([a, x, b]) for (a, b), x in zip(ends, features, strict=True)]
        return longer, [len(before) for before, _ in ends]

    def _draw(self, x_TF: Tensor) -> Tensor:
        """Frames of silence (0 or more, F), from python's random state."""
        frames = random.randint(1, self._max_frames)
        if random.random() < 0.5:
            return x_TF[:0]
        if random.random() < 0.5:
            return x_TF.new_full((frames, x_TF.shape[1]), SILENCE)
        quietest = x_TF.mean(dim=1).argsort()[: max(1, len(x_TF) // 10)]
        return x_TF[random.choices(quietest.tolist(), k=frames)]


class VocalTractWarp:
    """Vocal tract length perturbation (Jaitly and Hinton, 2013), on filter banks.

    Bin centres are scaled in Hz and the log energies read between the old bins, linearly in mel.
    Beyond the highest bin its own value is kept (our choice; no bin is far beyond it).
    """

    def __init__(self, width: float, fbank: FbankConfig) -> None:
        self.width = width
        high = fbank.high_freq if fbank.high_freq > 0 else fbank.sample_rate / 2 + fbank.high_freq
        edges_2 = _mel(torch.tensor([fbank.low_freq, high], dtype=torch.float64))
        self._low, self._step = edges_2[0], (edges_2[1] - edges_2[0]) / (fbank.num_bins + 1)
        centres_F = self._low + self._step * torch.arange(1, fbank.num_bins + 1)
        self._centres_F = 700.0 * (torch.exp(centres_F / 1127.0) - 1.0)  # Hz

    def __call__(self, x_TF: Tensor) -> Tensor:
        """Warped copy, by a factor from python's random state; as it is where the width is 0."""
        if self.width == 0:
            return x_TF
        return self.warp(x_TF, random.uniform(1 - self.width, 1 + self.width))

    def warp(self, x_TF: Tensor, factor: float) -> Tensor:
        """Energies at `factor` times each bin's frequency: above 1 the voice gets deeper."""
        at_F = (_mel(self._centres_F * factor) - self._low) / self._step - 1
        at_F = at_F.clamp(0, x_TF.shape[1] - 1)
        left_F = at_F.floor().long().clamp(max=x_TF.shape[1] - 2)
        share_F = (at_F - left_F).to(x_TF.dtype)
        return torch.lerp(x_TF[:, left_F], x_TF[:, left_F + 1], share_F)


class Equaliser:
    """Another level and another microphone: FilterAugment (arXiv 2110.03282), its linear kind.

    An utterance's level changes by one random amount, and by further ones at 3 to 6 bins, between
    which the change is linear in bins and dB. The paper's numbers of places; the gain of the whole
    is ours. Energies stay above kaldifeat's floor.

    Args:
        gain: dB, most change of the level.
        equaliser: dB, most change at a place.
    """

    def __init__(self, gain: float, equaliser: float) -> None:
        self.gain, self.equaliser = gain, equaliser

    def __call__(self, x_TF: Tensor) -> Tensor:
        """Changed copy, from python's random state; as it is where both are 0."""
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
    """Kaldi's mel scale."""
    return 1127.0 * torch.log1p(hz / 700.0)


def add_noise(cuts: CutSet, noise: CutSet, config: AugmentConfig, seed: int) -> CutSet:
    """Mix noise into some of the cuts, in the feature domain (lhotse's CutMix)."""
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
