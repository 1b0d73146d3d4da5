"""Error rates of speakers as sums, and the interval of the rate that they have together.

The sample is the speakers, not their words, because the words of one speaker are not independent.
The rate is a ratio of sums, r = sum(e) / sum(n); its standard error comes from the residuals
z_s = e_s - r n_s (Cochran, "Sampling Techniques", 1977, section 6.4), and the interval is computed
on the logarithm, because error rates are positive and their distribution is skewed.

Shapes: S is the number of speakers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, stdtrit

from asrlib.scoring.wer import ErrorRate

CONFIDENCE = 0.95
_LARGEST = 300.0  # reach of a log-t interval; two speakers at 99.9 % would overflow a float
_TINY = 1e-9  # a relative standard error below it is that of speakers whose rates are all equal


class Interval(NamedTuple):
    """Lower and upper end of a confidence interval, in the unit of the estimated quantity."""

    low: float
    high: float

    def percent(self) -> Interval:
        """Convert the interval of a rate from a fraction to per cent."""
        return Interval(100 * self.low, 100 * self.high)


@dataclass(frozen=True, eq=False)
class SpeakerSums:
    """Errors and reference words of each speaker, in order of speaker id.

    Other counts than words may stand in `words_S`: characters, or sessions.

    Attributes:
        speakers: ids, S of them.
        errors_S, words_S: float64 (S,).
    """

    speakers: tuple[str, ...]
    errors_S: np.ndarray
    words_S: np.ndarray

    @classmethod
    def of(cls, rates: Mapping[str, ErrorRate]) -> SpeakerSums:
        """Take the sums of a mapping from speaker to error counts."""
        ids = tuple(sorted(rates))
        errors, words = ([getattr(rates[s], k) for s in ids] for k in ("errors", "words"))
        return cls(ids, np.array(errors, np.float64), np.array(words, np.float64))

    @classmethod
    def arrays(
        cls, speakers: Sequence[str], errors: Sequence[float], words: Sequence[float]
    ) -> SpeakerSums:
        """Take the sums of three sequences of one length; a speaker may occur several times."""
        ids, index_N = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        errors_S, words_S = (np.bincount(index_N, x, len(ids)) for x in (errors, words))
        return cls(tuple(ids.tolist()), errors_S, words_S)

    def __len__(self) -> int:
        return len(self.speakers)

    def take(self, chosen: Iterable[str]) -> SpeakerSums:
        """Return the sums of these speakers alone; those that do not occur here are ignored."""
        wanted = set(chosen)
        at = [i for i, s in enumerate(self.speakers) if s in wanted]
        names = tuple(self.speakers[i] for i in at)
        return SpeakerSums(names, self.errors_S[at], self.words_S[at])

    @cached_property
    def errors(self) -> float:
        return float(self.errors_S.sum())

    @cached_property
    def words(self) -> float:
        return float(self.words_S.sum())

    @property
    def rate(self) -> float:
        """Errors per word; without words, 0 if no errors, else infinite."""
        if self.words == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.words

    @property
    def counted(self) -> int:
        """Number of speakers who have words or errors."""
        return int(np.count_nonzero((self.words_S > 0) | (self.errors_S > 0)))

    @property
    def residuals_S(self) -> np.ndarray:
        """z_s = e_s - r n_s; they sum to zero."""
        return self.errors_S - self.rate * self.words_S

    def standard_error(self) -> float | None:
        """Standard error of the rate; None with fewer than two speakers or without words."""
        speakers = self.counted
        if speakers < 2 or self.words == 0:
            return None
        square = speakers / (speakers - 1) * float((self.residuals_S**2).sum())
        return math.sqrt(square) / self.words

    def sampling_error(self) -> float | None:
        """Standard error of the rate that is never 0: where the speakers show no spread, Poisson's.

        Without an error that of one error (our choice). None as for `standard_error`.
        """
        error = self.standard_error()
        if error is None or error >= _TINY * self.rate > 0:
            return error
        return math.sqrt(max(self.errors, 1)) / self.words

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Compute the interval of the rate, as a fraction.

        The log-t interval r exp(+- t se / r), with S - 1 degrees of freedom. Without an error, and
        where all speakers have exactly the same rate, the speakers show no spread: then the exact
        Poisson interval of the number of errors, divided by the words.

        Returns:
            The interval; None with fewer than two speakers, who tell nothing of others, or
            without words.
        """
        error = self.standard_error()
        if error is None:
            return None
        if self.errors == 0 or error < _TINY * self.rate:
            return poisson_interval(self.errors, self.words, confidence)
        reach = t_quantile(confidence, self.counted - 1) * error / self.rate
        factor = math.exp(min(reach, _LARGEST))
        return Interval(self.rate / factor, self.rate * factor)

    def t_interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Compute the interval rate +- t se of a mean that may be negative, such as a delay."""
        error = self.standard_error()
        if error is None:
            return None
        reach = t_quantile(confidence, self.counted - 1) * error
        return Interval(self.rate - reach, self.rate + reach)


def speaker_interval(
    rates: Mapping[str, ErrorRate], confidence: float = CONFIDENCE
) -> Interval | None:
    """Compute the interval of the rate of speakers (or sessions); see `SpeakerSums.interval`."""
    return SpeakerSums.of(rates).interval(confidence)


def poisson_interval(errors: float, words: float, confidence: float = CONFIDENCE) -> Interval:
    """Compute the exact interval of a Poisson rate (Garwood, Biometrika 1936).

    >>> [round(end, 3) for end in poisson_interval(0, 1)]
    [0.0, 3.689]
    """
    tail = (1 - confidence) / 2
    low = float(chdtri(2 * errors, 1 - tail)) / 2 if errors else 0.0
    return Interval(low / words, float(chdtri(2 * errors + 2, tail)) / 2 / words)


def t_quantile(confidence: float, degrees: float) -> float:
    """Return the quantile of Student's t that a two-sided interval of this confidence takes."""
    return float(stdtrit(degrees, (1 + confidence) / 2))
