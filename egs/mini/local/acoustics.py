"""Convert synthesised speech to the signal of a microphone in a home, with NumPy and SciPy only.

Signals are float64 and one-dimensional; levels are RMS in dB re full scale, measured where there is
speech. No function shifts the speech in time, so that word times remain correct.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal import fftconvolve, firwin, lfilter, resample_poly

SAMPLE_RATE = 16000
SPEECH_FLOOR_DB = -40.0  # relative to a recording's loudest 10 ms; no speech below
_BLOCK = 160  # samples, 10 ms


class VocalTract:
    """Changes the length of the vocal tract by playing the speech at another speed.

    A longer tract (ratio > 1) lowers formants and pitch and makes the speech slower. The caller
    compensates for this with the pitch and the rate that it requests from the synthesiser.

    Attributes:
        ratio: the ratio nearest to the requested one for which the polyphase filter is short.
    """

    def __init__(self, ratio: float, rate: int) -> None:
        step = Fraction(SAMPLE_RATE * ratio / rate).limit_denominator(150)
        self._up, self._down = step.numerator, step.denominator
        self.ratio = float(step) * rate / SAMPLE_RATE
        widest = max(self._up, self._down)
        self._filter = firwin(20 * widest + 1, 1.0 / widest, window=("kaiser", 8.0))
        self._rate = rate

    def apply(self, speech: np.ndarray) -> np.ndarray:
        """Convert speech at the synthesiser's sample rate to 16 kHz and the new vocal tract."""
        return resample_poly(speech, self._up, self._down, window=self._filter)

    def seconds(self, sample: int) -> float:
        """Return the time (s) in the new speech of a sample of the synthesiser's speech."""
        return sample / self._rate * self.ratio


def block_levels(x: np.ndarray) -> np.ndarray:
    """Return the RMS of each 10 ms block (16 kHz); a partial last block is zero-padded."""
    blocks = np.pad(x, (0, -len(x) % _BLOCK)).reshape(-1, _BLOCK)
    return np.sqrt(np.mean(blocks**2, axis=1))


def is_speech(x: np.ndarray) -> np.ndarray:
    """Return, for each 10 ms block of noiseless speech, whether it contains speech."""
    levels = block_levels(x)
    return levels > levels.max() * 10 ** (SPEECH_FLOOR_DB / 20)


def speech_rms(x: np.ndarray) -> float:
    """Return the RMS of noiseless speech over the blocks that contain speech."""
    levels = block_levels(x)
    return float(np.sqrt(np.mean(levels[is_speech(x)] ** 2)))


def word_ends(speech: np.ndarray, starts: list[float]) -> list[float]:
    """Return the end of each word (s): the next word's start, or an earlier start of silence.

    Args:
        speech: speech at 16 kHz without noise and reverberation.
        starts: start times of the words, seconds, increasing.
    """
    active = is_speech(speech)
    ends = []
    for start, limit in zip(starts, starts[1:] + [len(speech) / SAMPLE_RATE], strict=True):
        first = int(start * SAMPLE_RATE / _BLOCK)
        last = int(np.ceil(limit * SAMPLE_RATE / _BLOCK))
        blocks = np.flatnonzero(active[first:last])
        silence = (first + blocks[-1] + 1) * _BLOCK / SAMPLE_RATE if len(blocks) else limit
        ends.append(min(silence, limit))
    return ends


def room_response(rng: np.random.Generator, rt60: float, drr_db: float) -> np.ndarray:
    """Make a room's impulse response: the direct sound at time 0, then decaying noise.

    This is Polack's statistical model of late reverberation: Gaussian noise that starts 3 ms after
    the direct sound and decays exponentially by 60 dB in rt60 seconds. lhotse's random room
    generator is not used: it allows no choice of reverberation time and distance, which are planted
    here, it delays the direct sound, which would shift word times, and it draws from torch's global
    random state.

    Args:
        rng: source of the noise.
        rt60: reverberation time, seconds.
        drr_db: energy of the direct sound relative to that of all later sound, dB.
    """
    n = np.arange(int(rt60 * SAMPLE_RATE))
    tail = rng.standard_normal(len(n)) * 10 ** (-3 * n / (rt60 * SAMPLE_RATE))
    tail[: int(0.003 * SAMPLE_RATE)] = 0
    tail *= 10 ** (-drr_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail


def reverberate(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with an impulse response; the result is cut to the input's length."""
    return fftconvolve(x, response)[: len(x)]


def white(rng: np.random.Generator, n: int) -> np.ndarray:
    """Make white noise of `n` samples."""
    return rng.standard_normal(n)


def pink(rng: np.random.Generator, n: int) -> np.ndarray:
    """Make noise whose power falls by 3 dB per octave, like wind, traffic or ventilation."""
    pink_N = lfilter(  # Kellet's filter, within 0.5 dB of 1/f above 20 Hz
        [0.049922035, -0.095993537, 0.050612699, -0.004408786],
        [1, -2.494956002, 2.017265875, -0.522189400],
        rng.standard_normal(n),
    )
    return np.asarray(pink_N)


def hum(rng: np.random.Generator, n: int) -> np.ndarray:
    """Make the noise of a motor: half harmonics of 120 Hz with random phases, half pink noise."""
    t = np.arange(n) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * (120.0 * k * t + rng.random())) / k**0.75 for k in range(1, 17))
    other = pink(rng, n)
    return tones / np.std(tones) + other / np.std(other)


def babble(rng: np.random.Generator, n: int, voices: list[np.ndarray]) -> np.ndarray:
    """Imitate a television in the next room: other voices, reversed, looped and added."""
    total = np.zeros(n)
    for voice in voices:
        line = voice[::-1] / speech_rms(voice)
        total += np.resize(np.roll(line, int(rng.integers(len(line)))), n)
    return total


def mix(speech: np.ndarray, noise: np.ndarray, level_dbfs: float, snr_db: float) -> np.ndarray:
    """Add speech at `level_dbfs` and noise `snr_db` below it; scale both down if they clip."""
    level = 10 ** (level_dbfs / 20)
    scaled = noise * (level * 10 ** (-snr_db / 20) / np.sqrt(np.mean(noise**2)))
    mixed = speech * (level / speech_rms(speech)) + scaled
    return mixed * min(1.0, 0.97 / np.max(np.abs(mixed)))


NOISES = {"white": white, "pink": pink, "hum": hum}
