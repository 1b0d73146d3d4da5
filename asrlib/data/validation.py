"""Checks that find unusable utterances; each audio file is decoded once.

Shapes: N samples. The limits are our choice; they are meant to catch only what is broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from asrlib.audio.io import Audio, AudioError, read_audio
from asrlib.config import configclass
from asrlib.errors import DataError
from asrlib.numbers import NonNegative, Positive, PositiveFloat, Share

_LOUDNESS_WINDOW = 0.1  # seconds; so long that one click does not make a silent file pass


@configclass
class ValidationConfig:
    """Section `manifests` of the configuration; conf/manifests.yaml explains each key."""

    expected_sample_rate: Positive
    resample: bool
    min_duration: NonNegative
    max_duration: PositiveFloat
    silence_db: float = Field(le=0)
    max_chars_per_second: PositiveFloat
    permit_empty_text: bool
    permit_shared_speakers: bool
    error_budget: Share


@dataclass(frozen=True)
class Reason:
    """Reason for quarantine: a kind, which is counted, and a detail; never a transcript."""

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass(frozen=True)
class Quarantined:
    """An unusable utterance: one line of `data/quarantine.tsv`."""

    id: str
    path: str
    reason: Reason


def decode(path: Path, config: ValidationConfig) -> Audio | Reason:
    """Decode a whole file, or return the reason why none of its utterances is usable."""
    try:
        audio = read_audio(path)
    except AudioError as e:
        return Reason(e.kind, e.detail)
    channels = audio.samples_NC.shape[1]
    if audio.truncated:
        return Reason("truncated", audio.truncated)
    if channels != 1:
        return Reason("not mono", f"{channels} channels")
    if audio.rate != config.expected_sample_rate and not config.resample:
        return Reason("wrong rate", f"{audio.rate} Hz, expected {config.expected_sample_rate} Hz")
    return audio


def validate_utterance(
    samples_N: np.ndarray, rate: int, text: str, config: ValidationConfig
) -> Reason | None:
    """Check one utterance.

    Args:
        samples_N: samples of the utterance, in [-1, 1].
        rate: sample rate, Hz.
        text: normalised transcript of the utterance.
        config: limits.

    Returns:
        The reason for quarantine, or None if the utterance is usable.
    """
    duration = len(samples_N) / rate
    if len(samples_N) == 0:
        return Reason("zero-length", "no samples")
    if not np.isfinite(samples_N).all():
        return Reason("not finite", "NaN or infinity among the samples")
    if duration < config.min_duration:
        return Reason("too short", f"{duration:.3f} s, at least {config.min_duration:g} s")
    if duration > config.max_duration:
        return Reason("too long", f"{duration:.1f} s, at most {config.max_duration:g} s")
    loudest = loudest_db(samples_N, rate)
    if loudest < config.silence_db:
        return Reason("silent", f"{loudest:.0f} dB at its loudest")
    if not text and not config.permit_empty_text:
        return Reason("transcript empty")
    chars = len(text) / duration
    if chars > config.max_chars_per_second:
        return Reason("transcript too long", f"{chars:.0f} characters a second")
    return None


def loudest_db(samples_N: np.ndarray, rate: int) -> float:
    """Return the RMS level of the loudest 0.1 s, in dB relative to full scale."""
    window = min(len(samples_N), max(1, round(_LOUDNESS_WINDOW * rate)))
    whole = len(samples_N) // window * window
    power = np.square(samples_N[:whole].reshape(-1, window), dtype=np.float64).mean(axis=1).max()
    return float(10 * np.log10(max(power, 1e-20)))


def printable(text: object) -> str:
    """Return text with escapes for what cannot be printed; csv refuses to write a NUL."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


class QuarantineCounts:
    """How many utterances are unusable for each kind of reason, with the first ids of each."""

    def __init__(self, bad: Iterable[Quarantined] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}
        for item in bad:
            self.add(item)

    def add(self, item: Quarantined) -> None:
        """Count an utterance."""
        self._counts[item.reason.kind] += 1
        first = self._first.setdefault(item.reason.kind, [])
        if len(first) < 3:
            first.append(printable(item.id))

    def __len__(self) -> int:
        return self._counts.total()

    def __str__(self) -> str:
        """Tell the counts, most frequent first."""
        return "; ".join(
            f"{count} {kind} ({', '.join(self._first[kind])}{', ...' if count > 3 else ''})"
            for kind, count in self._counts.most_common()
        )

    def check_budget(self, total: int, budget: float, table: Path) -> None:
        """Stop if more than the fraction `budget` of `total` utterances is unusable.

        Raises:
            DataError: the budget is exceeded; the message counts the reasons and names the first
                ids of each.
        """
        if len(self) > budget * total:
            raise DataError(
                f"{table}: {len(self)} of {total} utterances are unusable, more than the budget of "
                f"{budget:.2%}: {self}",
                "fix what the table lists, or raise manifests.error_budget to continue without it",
            )
