"""Statistics of MFCCs: a voice print that needs numpy, scipy and soundfile only.

The mean and the standard deviation of each of the first coefficients over the frames of an
utterance tell voice, microphone and room together; speaker embeddings of a network tell voices
apart better. Mel filters and the cosine transform follow Davis and Mermelstein, IEEE ASSP 1980.

Shapes: T samples, N frames, F filters, B bins of the spectrum, C coefficients, U utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.fft import dct

from asrlib.data import kaldi
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError

_FRAME, _STEP = 0.025, 0.010  # seconds
_FILTERS, _COEFFICIENTS = 40, 20
_LOW, _HIGH = 60.0, 7600.0  # Hz; of less than 16 kHz, up to half of the rate
_LONGEST = 60.0  # seconds of an utterance that are read


@dataclass(frozen=True)
class Measures:
    """What was measured of the audio.

    Attributes:
        table: standardised statistics of each utterance.
        seconds, level_dbfs: length, and level relative to full scale, by utterance.
        notes: sentences about audio that could not be used.
    """

    table: EmbeddingTable
    seconds: Mapping[str, float]
    level_dbfs: Mapping[str, float]
    notes: tuple[str, ...]


def mfcc_statistics(samples_T: np.ndarray, rate: int) -> np.ndarray:
    """Return mean and standard deviation of coefficients 1 to 20 over the frames, (2 C,).

    Args:
        samples_T: mono, of full scale 1.
        rate: sampling rate in Hz.

    Raises:
        ValueError: the audio is shorter than a frame.
    """
    size, step = round(_FRAME * rate), round(_STEP * rate)
    if len(samples_T) < size:
        raise ValueError("shorter than 25 ms")
    first_N = np.arange(0, len(samples_T) - size + 1, step)
    frames_NT = samples_T[first_N[:, None] + np.arange(size)]
    spectrum_NB = np.abs(np.fft.rfft(frames_NT * np.hanning(size), axis=1)) ** 2
    energy_NF = spectrum_NB @ _mel_filters(spectrum_NB.shape[1], rate).T
    logs_NF = np.log(energy_NF + 1e-10)
    coefficients_NC = np.asarray(dct(logs_NF, axis=1, norm="ortho"))[:, 1 : _COEFFICIENTS + 1]
    return np.concatenate([coefficients_NC.mean(axis=0), coefficients_NC.std(axis=0)])


def _mel_filters(bins: int, rate: int) -> np.ndarray:
    """Triangles of equal width on the mel scale; (F, B)."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(_LOW), mel(min(_HIGH, rate / 2)), _FILTERS + 2)
    at_B = mel(np.linspace(0, rate / 2, bins))
    rising = (at_B - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - at_B) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


def measure_audio(wav_scp: Path, owners: Mapping[str, str]) -> Measures:
    """Measure the audio of the audited utterances.

    Args:
        wav_scp: lines `utterance file`; beside it may lie Kaldi's `segments`. Relative paths begin
            at its directory or at the one above.
        owners: the speaker of each utterance.

    Raises:
        DataError: a table is broken or holds commands, or no audio of the utterances can be read.
    """
    sources = kaldi.audio_of(wav_scp)
    known = [u for u in owners if u in sources]
    vectors, seconds, levels, broken = {}, {}, {}, 0
    for utterance in known:
        try:
            samples_T, rate = _read(*sources[utterance])
            vectors[utterance] = mfcc_statistics(samples_T, rate)
        except (soundfile.SoundFileError, OSError, ValueError):
            broken += 1
            continue
        seconds[utterance] = len(samples_T) / rate
        power = float(np.mean(samples_T**2))
        levels[utterance] = 10 * float(np.log10(max(power, 1e-12)))
    if not vectors:
        raise DataError(
            f"{wav_scp}: no audio of the audited utterances can be read",
            "list a file that soundfile reads for each utterance id of the references",
        )
    notes = []
    if broken:
        notes.append(f"{broken} audio files cannot be read or are too short: they are left out.")
    if len(known) < len(owners):
        notes.append(f"{len(owners) - len(known)} utterances have no audio in wav.scp.")
    return Measures(_standardised(vectors, owners), seconds, levels, tuple(notes))


def _read(path: str, start: float | None, end: float | None) -> tuple[np.ndarray, int]:
    """Read an utterance, or its first minute, as the mean of its channels."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        file.seek(round((start or 0.0) * rate))
        length = _LONGEST if end is None else min(end - (start or 0.0), _LONGEST)
        samples = file.read(max(0, round(length * rate)), dtype="float64", always_2d=True)
    return samples.mean(axis=1), rate


def _standardised(vectors: Mapping[str, np.ndarray], owners: Mapping[str, str]) -> EmbeddingTable:
    """Give each statistic mean 0 and deviation 1, so that none outweighs the others."""
    ids: Sequence[str] = sorted(vectors)
    values_UC = np.stack([vectors[id] for id in ids])
    values_UC = (values_UC - values_UC.mean(axis=0)) / np.maximum(values_UC.std(axis=0), 1e-9)
    return EmbeddingTable(tuple(ids), tuple(owners[id] for id in ids), values_UC)
