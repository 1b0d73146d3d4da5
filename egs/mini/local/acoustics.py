"""From the synthesiser's speech to what a microphone in a home hears. NumPy and SciPy only.

Signals are float64, one-dimensional; levels are RMS in dB re full scale, measured where there is
speech. Nothing shifts the speech in time, so that word times stay true.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal import fftconvolve, firwin, lfilter, resample_poly

SAMPLE_RATE = 16000
SPEECH_FLOOR_DB = -40.0  # below the loudest 10 ms of a recording: not speech
_BLOCK = 160  # samples, 10 ms


class VocalTract:
    """Changes the length of the vocal tract: plays the speech at another speed.

    A longer tract (ratio > 1) lowers formants and pitch and slows the speech down; the caller
    asks the synthesiser for a pitch and a rate that make up for it.

    Attributes:
        ratio: the nearest ratio to the one asked for that has a short polyphase filter.
    """

    def __init__(self, ratio: float, rate: int) -> None:
        step = Fraction(SAMPLE_RATE * ratio / rate).limit_denominator(150)
        self._up, self._down = step.numerator, step.denominator
        self.ratio = float(step) * rate / SAMPLE_RATE
        widest = max(self._up, self._down)
        self._filter = firwin(20 * widest + 1, 1.0 / widest, window=("kaiser", 8.0))
        self._rate = rate

    def apply(self, speech: np.ndarray) -> np.ndarray:
        """Speech at the synthesiser's rate in, at 16 kHz and with the new tract out."""
        return resample_poly(speech, self._up, self._down, window=self._filter)

    def seconds(self, sample: int) -> float:
        """Where a sample of the synthesiser's speech stands in the new speech."""
        return sample / self._rate * self.ratio


def block_levels(x: np.ndarray) -> np.ndarray:
    """RMS of each 10 ms block (16 kHz); a last partial block is zero-padded."""
    blocks = np.pad(x, (0, -len(x) % _BLOCK)).reshape(-1, _BLOCK)
    return np.sqrt(np.mean(blocks**2, axis=1))


def is_speech(x: np.ndarray) -> np.ndarray:
    """For each 10 ms block of noiseless speech, whether it is speech."""
    levels = block_levels(x)
    return levels > levels.max() * 10 ** (SPEECH_FLOOR_DB / 20)


def speech_rms(x: np.ndarray) -> float:
    """RMS of noiseless speech over its speech blocks."""
    levels = block_levels(x)
    return float(np.sqrt(np.mean(levels[is_speech(x)] ** 2)))


def word_ends(speech: np.ndarray, starts: list[float]) -> list[float]:
    """End of each word, s: the next word's start, or earlier where silence begins.

    Args:
        speech: noiseless, dry, 16 kHz.
        starts: s, of each word, increasing.
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
    """A room's impulse response: the direct sound at time 0, then decaying noise.

    The statistical model of late reverberation (Polack): Gaussian noise under an exponential
    that falls by 60 dB in rt60 seconds, from 3 ms after the direct sound on. lhotse's random
    room generator lets one choose neither reverberation time nor distance, delays the direct
    sound, and draws from torch's global state; here both are planted and word times must hold.

    Args:
        rt60: reverberation time, s.
        drr_db: energy of the direct sound over that of all the rest, dB.
    """
    n = np.arange(int(rt60 * SAMPLE_RATE))
    tail = rng.standard_normal(len(n)) * 10 ** (-3 * n / (rt60 * SAMPLE_RATE))
    tail[: int(0.003 * SAMPLE_RATE)] = 0
    tail *= 10 ** (-drr_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail


def reverberate(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve; the length stays, what rings beyond the end is cut."""
    return fftconvolve(x, response)[: len(x)]


def white(rng: np.random.Generator, n: int) -> np.ndarray:
    """White noise."""
    return rng.standard_normal(n)


def pink(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise whose power falls by 3 dB an octave: wind, traffic, ventilation."""
    pink_N = lfilter(  # Kellet's filter, within 0.5 dB of 1/f above 20 Hz
        [0.049922035, -0.095993537, 0.050612699, -0.004408786],
        [1, -2.494956002, 2.017265875, -0.522189400],
        rng.standard_normal(n),
    )
    return np.asarray(pink_N)


def hum(rng: np.random.Generator, n: int) -> np.ndarray:
    """A motor: harmonics of 120 Hz with random phases, half its power; the rest is pink."""
    t = np.arange(n) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * (120.0 * k * t + rng.random())) / k**0.75 for k in range(1, 17))
    other = pink(rng, n)
    return tones / np.std(tones) + other / np.std(other)


def babble(rng: np.random.Generator, n: int, voices: list[np.ndarray]) -> np.ndarray:
    """A television in the next room: other voices, played backwards, looped and added."""
    total = np.zeros(n)
    for voice in voices:
        line = voice[::-1] / speech_rms(voice)
        total += np.resize(np.roll(line, int(rng.integers(len(line)))), n)
    return total


def mix(speech: np.ndarray, noise: np.ndarray, level_dbfs: float, snr_db: float) -> np.ndarray:
    """Speech at its level, noise below it by snr_db; both softer where a peak would clip."""
    level = 10 ** (level_dbfs / 20)
    scaled = noise * (level * 10 ** (-snr_db / 20) / np.sqrt(np.mean(noise**2)))
    mixed = speech * (level / speech_rms(speech)) + scaled
    return mixed * min(1.0, 0.97 / np.max(np.abs(mixed)))


NOISES = {"white": white, "pink": pink, "hum": hum}
