"""Noise to add to training speech: the user's own, or noise generated here from a seed.

Suffixes: N samples, K frequencies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from lhotse import CutSet, MonoCut, Recording

from asrlib.data.cuts import read_cuts
from asrlib.errors import DataError
from asrlib.files import atomic_path
from asrlib.seeds import named_generator

_SECONDS = 20
_LEVEL = 0.1  # RMS; mixing scales the noise to the wanted SNR anyway
NOISE_SET = "noise"


def load_noise(data: Path) -> CutSet | None:
    """Read the noise cuts with features that stage 2 left in a recipe's `data/`, or None."""
    path = data / NOISE_SET / "cuts_fbank.jsonl.gz"
    return read_cuts(path, "run stage 2 again with --force") if path.exists() else None


def import_noise(manifest: Path, sample_rate: int) -> CutSet:
    """Read a user's noise cuts (for example lhotse's of MUSAN), resampled to `sample_rate` Hz.

    Raises:
        DataError: the file is not a readable cut manifest, or it is empty.
    """
    try:
        cuts = [cut.drop_supervisions() for cut in CutSet.from_file(manifest)]
    except Exception as e:  # lhotse passes on whatever its parsers raise
        raise DataError(
            f"{manifest}: not a cut manifest: {e}", "give a lhotse cut manifest, cuts.jsonl.gz"
        ) from e
    if not cuts:
        raise DataError(f"{manifest}: holds no cuts", "give a manifest of noise recordings")
    return CutSet.from_cuts(
        cut if cut.sampling_rate == sample_rate else cut.resample(sample_rate) for cut in cuts
    )


def make_noise_cuts(out: Path, sample_rate: int, *, seed: int = 0, per_kind: int = 8) -> CutSet:
    """Write white, pink, brown, hum and babble-like noise, 20 s each, into directory `out`.

    Args:
        out: directory for the FLAC files.
        sample_rate: sample rate, Hz.
        seed: seed of the noise.
        per_kind: number of recordings of each kind.

    Returns:
        The cuts of the recordings.
    """
    cuts = []
    for number, (kind, make) in enumerate(_KINDS.items()):
        for index in range(per_kind):
            rng = named_generator(seed, number, index)
            samples_N = make(rng, _SECONDS * sample_rate, sample_rate)
            samples_N *= _LEVEL / np.sqrt(np.mean(samples_N**2))
            name = f"{kind}-{index:02d}"
            path = out / f"{name}.flac"
            with atomic_path(path) as temp:
                soundfile.write(temp, np.clip(samples_N, -1, 1), sample_rate)
            cuts.append(_cut(name, path.resolve()))
    return CutSet.from_cuts(cuts)


def _cut(name: str, path: Path) -> MonoCut:
    recording = Recording.from_file(path, recording_id=name)
    return MonoCut(name, start=0.0, duration=recording.duration, channel=0, recording=recording)


def _coloured(slope: float) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    """Return a generator of Gaussian noise whose power falls as frequency to the `slope`."""

    def make(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
        spectrum_K = np.fft.rfft(rng.standard_normal(length))
        frequency_K = np.maximum(np.fft.rfftfreq(length, 1 / rate), 20.0)
        return np.fft.irfft(spectrum_K * frequency_K ** (-slope / 2), length)

    return make


def _hum(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    """Make mains hum of 50 or 60 Hz with decreasing harmonics, over faint pink noise."""
    time_N = np.arange(length) / rate
    base = float(rng.choice([50.0, 60.0])) * rng.uniform(0.998, 1.002)
    hum_N = np.zeros(length)
    for harmonic in range(1, 16):
        phase, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0) / harmonic
        hum_N += level * np.sin(2 * np.pi * base * harmonic * time_N + phase)
    pink_N = _coloured(1.0)(rng, length, rate)
    return hum_N + 0.05 * pink_N / pink_N.std() * hum_N.std()


def _babble(rng: np.random.Generator, length: int, rate: int, talkers: int = 6) -> np.ndarray:
    """Imitate voices without words: buzzes of moving pitch in formants, switched like syllables."""
    total_N = np.zeros(length)
    for _ in range(talkers):
        pitch = rng.uniform(90, 240) * (1 + 0.1 * _slow(rng, length, rate, 2.0))
        buzz_N = scipy.signal.sawtooth(2 * np.pi * np.cumsum(pitch) / rate)
        voice_N = np.zeros(length)
        for centre in (rng.uniform(300, 800), rng.uniform(900, 2200), rng.uniform(2300, 3200)):
            b, a = scipy.signal.iirpeak(centre, Q=6, fs=rate)
            voice_N += scipy.signal.lfilter(b, a, buzz_N)
        total_N += voice_N * np.maximum(_slow(rng, length, rate, 4.0), 0) * rng.uniform(0.5, 1.0)
    return total_N + 1e-3 * rng.standard_normal(length)


def _slow(rng: np.random.Generator, length: int, rate: int, hertz: float) -> np.ndarray:
    """Make a random curve with unit deviation that changes about `hertz` times per second."""
    knots = int(length / rate * hertz) + 2
    return np.interp(
        np.linspace(0, knots - 1, length), np.arange(knots), rng.standard_normal(knots)
    )


_KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "white": _coloured(0.0),
    "pink": _coloured(1.0),
    "brown": _coloured(2.0),
    "hum": _hum,
    "babble": _babble,
}
