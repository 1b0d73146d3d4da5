"""How often the statistics of `asrlib.scoring` are right, on simulated speakers.

Errors of speakers are drawn from a speaker model whose true rate is known, and judged by the code
that judges real ones:

- gamma: a speaker's rate is gamma distributed with mean m and coefficient of variation `cv`, and
  the errors are Poisson distributed. This is the model of `SpeakerVariation`, which can be fitted
  to a decoded set.
- beta: each word is wrong with a probability that is beta distributed over speakers, with the same
  coefficient of variation; at rates above 50 %, where speakers differ less, with `high_cv`.
- skewed: beta(2, 2 / m - 2), the hardest case at a rate of 80 %: half of the speakers are then
  above 89 %, a few far below. Real decodes are milder (see `high_cv`).

The numbers of words are uniform. Everything depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from asrlib.json_record import JsonRecord
from asrlib.scoring.between_groups import SpeakerVariation, detectable_gap
from asrlib.scoring.confirmation import confirm
from asrlib.scoring.gaps import Resampling, contrast
from asrlib.scoring.groups import gap_between
from asrlib.scoring.speaker_sums import Interval, SpeakerSums
from asrlib.seeds import named_generator

Model = Literal["gamma", "beta", "skewed"]
MODELS: tuple[Model, ...] = ("gamma", "beta", "skewed")
SPEAKERS, RATES = (5, 9, 20, 44), (0.02, 0.1, 0.8)
GROUPS = ((5, 16), (10, 8), (50, 20))  # number of groups, speakers in each
POWER_SIZES = ((20, 20), (20, 60), (44, 356))  # speakers in bottom and top
HALF, CLUSTERS = 400, 20  # speakers of a half, and clusters among which the worst is searched
_RATE = 0.1  # of the cells that are not about the rate
_PERMUTATIONS = 499


@dataclass(frozen=True, kw_only=True)
class SpeakerErrorModel(JsonRecord):
    """What speakers are drawn from.

    Attributes:
        cv: between-speaker coefficient of variation.
        high_cv: the same of the beta model at rates above 50 %.
        words: smallest and largest number of words of a speaker.
        fitted_to: what `cv` was fitted to, and where `high_cv` comes from.
    """

    cv: float = 0.7
    high_cv: float = 0.2
    words: tuple[int, int] = (50, 150)
    fitted_to: str = (
        "Whisper base on the test of speechocean762 (125 speakers, 32 % WER, cv 0.71); above 50 % "
        "twice the 0.10 of the pooled LSTM on the same speakers (77 % WER)"
    )

    def draw(
        self,
        rng: np.random.Generator,
        count: int,
        mean: float,
        kind: Model = "gamma",
        name: str = "s",
    ) -> SpeakerSums:
        """Draw speakers whose mean rate is `mean`."""
        words_S = rng.integers(self.words[0], self.words[1] + 1, count)
        if kind == "gamma":
            shape = 1 / self.cv**2
            errors_S = rng.poisson(rng.gamma(shape, mean / shape, count) * words_S)
        else:
            first, second = (2, 2 / mean - 2) if kind == "skewed" else self._beta(mean)
            errors_S = rng.binomial(words_S, rng.beta(first, second, count))
        ids = tuple(f"{name}{i:05d}" for i in range(count))
        return SpeakerSums(ids, errors_S.astype(np.float64), words_S.astype(np.float64))

    def _beta(self, mean: float) -> tuple[float, float]:
        """Parameters of the beta distribution with this mean and coefficient of variation."""
        cv = self.high_cv if mean > 0.5 else self.cv
        size = (1 - mean) / (mean * cv**2) - 1
        return mean * size, (1 - mean) * size


@dataclass(frozen=True)
class Share(JsonRecord):
    """How many of the draws had a property.

    Attributes:
        interval: exact 95 % interval of the share.
    """

    hits: int
    draws: int
    interval: Interval

    @classmethod
    def of(cls, found: Sequence[bool]) -> Share:
        ends = binomtest(sum(found), len(found)).proportion_ci(0.95, "exact")
        return cls(sum(found), len(found), Interval(float(ends.low), float(ends.high)))

    @property
    def value(self) -> float:
        return self.hits / self.draws


@dataclass(frozen=True, kw_only=True)
class Coverage(JsonRecord):
    """How often the 95 % interval of a rate contains the true rate (a fraction)."""

    model: Model
    speakers: int
    rate: float
    covered: Share


@dataclass(frozen=True, kw_only=True)
class Alarms(JsonRecord):
    """How often a gap shows between groups of one true rate.

    Attributes:
        groups, speakers: number of groups, and of speakers in each.
        by_test: the permutation test has p < .05.
        by_interval: the simultaneous interval of the gap lies above zero.
        above_null: the gap is above its 95th percentile over permutations.
    """

    groups: int
    speakers: int
    by_test: Share
    by_interval: Share
    above_null: Share


@dataclass(frozen=True, kw_only=True)
class ConfirmedAlarms(JsonRecord):
    """How often a gap without an effect survives: the worst of random clusters, then confirmed.

    Attributes:
        speakers: number of speakers of each half; `clusters` is the number of clusters.
        median_found, median_confirmed: medians of the found and of the confirmed gap, in per cent.
        confirmed: p < .05 on confirmation speakers.
    """

    speakers: int
    clusters: int
    median_found: float
    median_confirmed: float
    confirmed: Share


@dataclass(frozen=True, kw_only=True)
class Power(JsonRecord):
    """How often the smallest detectable gap shows; it should be in 80 %.

    Attributes:
        bottom, top: numbers of speakers.
        gap: the smallest detectable gap, in per cent, by `detectable_gap`; it is planted.
        shown: the interval of the gap lies above zero.
    """

    bottom: int
    top: int
    gap: float
    shown: Share


@dataclass(frozen=True, kw_only=True)
class Simulation(JsonRecord):
    """results/statistics/simulation.json.

    Attributes:
        command: what repeats it.
        draws: number of draws of each cell.
    """

    command: str
    seed: int
    draws: int
    model: SpeakerErrorModel
    coverage: tuple[Coverage, ...]
    alarms: tuple[Alarms, ...]
    confirmed: tuple[ConfirmedAlarms, ...]
    power: tuple[Power, ...]


def simulate(model: SpeakerErrorModel, draws: int, seed: int, command: str) -> Simulation:
    """Run all cells."""
    return Simulation(
        command=command,
        seed=seed,
        draws=draws,
        model=model,
        coverage=tuple(
            _coverage(model, kind, count, rate, draws, seed)
            for kind, count, rate in product(MODELS, SPEAKERS, RATES)
        ),
        alarms=tuple(_alarms(model, groups, each, draws, seed) for groups, each in GROUPS),
        confirmed=(_confirmed(model, draws, seed),),
        power=tuple(_power(model, bottom, top, draws, seed) for bottom, top in POWER_SIZES),
    )


def _generators(draws: int, *cell: int | str) -> Iterator[np.random.Generator]:
    """A generator for each draw, so that a cell's draws are the same however many there are."""
    return (named_generator("statistics", *cell, draw) for draw in range(draws))


def _coverage(
    model: SpeakerErrorModel, kind: Model, count: int, rate: float, draws: int, seed: int
) -> Coverage:
    covered = []
    for rng in _generators(draws, seed, "coverage", kind, count, round(1000 * rate)):
        ends = model.draw(rng, count, rate, kind).interval()
        covered.append(ends is not None and ends.low <= rate <= ends.high)
    return Coverage(model=kind, speakers=count, rate=rate, covered=Share.of(covered))


def _alarms(model: SpeakerErrorModel, groups: int, each: int, draws: int, seed: int) -> Alarms:
    found = []
    for draw, rng in enumerate(_generators(draws, seed, "alarms", groups, each)):
        parts = {f"{g}": model.draw(rng, each, _RATE, name=f"{g}-") for g in range(groups)}
        settings = Resampling(seed=draw, permutations=_PERMUTATIONS)
        gap = gap_between(parts, settings)
        if gap is None:
            raise ValueError("a simulation of alarms needs two groups")
        interval, null = gap.gap_interval or gap.difference_interval, gap.null_gap
        above = gap.gap is not None and null is not None and gap.gap > null
        found.append((gap.p_value < 0.05, interval is not None and interval.low > 0, above))
    by_test, by_interval, above_null = (Share.of(column) for column in zip(*found, strict=True))
    return Alarms(
        groups=groups,
        speakers=each,
        by_test=by_test,
        by_interval=by_interval,
        above_null=above_null,
    )


def _confirmed(model: SpeakerErrorModel, draws: int, seed: int) -> ConfirmedAlarms:
    found_gaps, confirmed_gaps, confirmed = [], [], []
    for draw, rng in enumerate(_generators(draws, seed, "confirmed", HALF, CLUSTERS)):
        halves = tuple(model.draw(rng, HALF, _RATE, name=name) for name in ("d", "c"))
        clusters_2S = rng.integers(CLUSTERS, size=(2, HALF))
        known = [np.flatnonzero(clusters_2S[0] == k) for k in range(CLUSTERS)]
        rates = [halves[0].errors_S[i].sum() / halves[0].words_S[i].sum() for i in known]
        names = dict.fromkeys(range(CLUSTERS), "middle")
        names |= {int(np.argmin(rates)): "top", int(np.argmax(rates)): "bottom"}
        cohorts = {
            speaker: names[int(k)]
            for half, clusters_S in zip(halves, clusters_2S, strict=True)
            for speaker, k in zip(half.speakers, clusters_S, strict=True)
        }
        settings = Resampling(seed=draw, permutations=_PERMUTATIONS)
        judged = confirm("simulated", halves[0], halves[1], cohorts, settings)
        found_gaps.append(judged.found and judged.found.gap)
        confirmed_gaps.append(judged.confirmed and judged.confirmed.gap)
        confirmed.append(judged.p_value < 0.05)
    medians = (
        float(np.median([g for g in gaps if g is not None]))
        for gaps in (found_gaps, confirmed_gaps)
    )
    return ConfirmedAlarms(
        speakers=HALF,
        clusters=CLUSTERS,
        median_found=next(medians),
        median_confirmed=next(medians),
        confirmed=Share.of(confirmed),
    )


def _power(model: SpeakerErrorModel, bottom: int, top: int, draws: int, seed: int) -> Power:
    words = np.linspace(*model.words, bottom), np.linspace(*model.words, top)
    gap = detectable_gap(SpeakerVariation(model.cv, 1.0), _RATE, *words)
    if gap is None:
        raise ValueError("no gap of these groups could show")
    draw = partial(model.draw, kind="gamma")
    shown = []
    for rng in _generators(draws, seed, "power", bottom, top):
        worse = draw(rng, bottom, _RATE * (1 + gap), name="b")
        ends = contrast(worse, draw(rng, top, _RATE, name="t")).gap_interval
        shown.append(ends is not None and ends.low > 0)
    return Power(bottom=bottom, top=top, gap=100 * gap, shown=Share.of(shown))
