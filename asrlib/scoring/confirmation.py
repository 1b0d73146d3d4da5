"""A gap that was found on some speakers, judged once on others.

A search over cohorts always finds a gap on the speakers it searched. What counts is the gap of the
same two cohorts on confirmation speakers, beside what chance alone shows there and the smallest gap
that these speakers could show. Each method carries one bottom cohort to confirmation. The methods
of a page are corrected together (Holm), their number fixed before anything is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.between_groups import detectable_gap, fit_variation
from asrlib.scoring.gaps import Contrast, Resampling, contrast
from asrlib.scoring.permutation import permutation_test
from asrlib.scoring.speaker_sums import Interval, SpeakerSums

BOTTOM, TOP = "bottom", "top"


@dataclass(frozen=True)
class CohortRate(JsonRecord):
    """The error rate of a cohort on confirmation speakers.

    Attributes:
        speakers: number of speakers; `share` is their share of all, in per cent.
        errors, words: sums over the speakers.
        percent: errors per word, in per cent.
        interval: log-t interval in per cent; None with fewer than two speakers.
    """

    speakers: int
    share: float
    errors: float
    words: float
    percent: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Confirmation(JsonRecord):
    """What stage 9 writes of a method: its gap on the speakers of either half.

    Attributes:
        method: how the cohorts were found.
        discovery_speakers, confirmation_speakers: numbers of speakers.
        found: bottom against top on discovery speakers, which the search inflates; its intervals
            know nothing of the search. None if a cohort has no words there.
        found_null_gap: 95th percentile of the found gap, in per cent, if the errors of discovery
            speakers are permuted and the search runs again; None if the method did not compute it.
        bottom, top, rest: rates on confirmation speakers; rest is everybody but the bottom cohort.
            None if the cohort has no confirmation speaker with words.
        confirmed: bottom against top on confirmation speakers; None without either of them.
        against_rest: bottom against the rest, on the same.
        null_gap: 95th percentile of the confirmed gap, in per cent, if confirmation speakers are
            permuted among the cohorts; None if top is then often without errors.
        p_value: one-sided, of the hypothesis "bottom is not worse than the rest", by permutation;
            1 without a bottom cohort and a rest.
        p_holm: corrected for the methods of the page; None before `correct`.
        detectable_gap: smallest gap of bottom to top, in per cent, that the confirmation speakers
            would show with a probability of 80 %; None if none.
        confidence: coverage of the intervals; a gap is confirmed at p_holm < 1 - confidence.
    """

    method: str
    discovery_speakers: int
    confirmation_speakers: int
    found: Contrast | None
    found_null_gap: float | None
    bottom: CohortRate | None
    top: CohortRate | None
    rest: CohortRate | None
    confirmed: Contrast | None
    against_rest: Contrast | None
    null_gap: float | None
    p_value: float
    p_holm: float | None = None
    detectable_gap: float | None
    confidence: float

    @property
    def is_confirmed(self) -> bool:
        """Whether the bottom cohort is worse than the rest, corrected for the methods of a page.

        Raises:
            ValueError: the confirmation was not corrected.
        """
        if self.p_holm is None:
            raise ValueError(f"{self.method}: call `correct` with all methods of the page first")
        return self.p_holm < 1 - self.confidence


def confirm(
    method: str,
    discovery: SpeakerSums,
    confirmation: SpeakerSums,
    cohorts: Mapping[str, str],
    resampling: Resampling,
    strata: Mapping[str, str] | None = None,
    found_null_gap: float | None = None,
) -> Confirmation:
    """Judge the bottom cohort of a method on confirmation speakers.

    Args:
        discovery, confirmation: sums of the speakers of the two halves.
        cohorts: cohort of each speaker; the ones that are judged are `bottom` and `top`. Speakers
            without a cohort count among the rest.
        strata: by speaker, what permutations keep, such as the text that was read.
        found_null_gap: see `Confirmation`.

    Raises:
        DataError: a speaker is in both halves.
    """
    both = sorted(set(discovery.speakers) & set(confirmation.speakers))
    if both:
        raise DataError(
            f"cohorts by {method}: {len(both)} speakers are in both halves, first {both[0]}",
            "confirm on speakers that took no part in the search",
        )
    found = _parts(discovery, cohorts)
    parts = _parts(confirmation, cohorts)
    bottom, top = parts.get(BOTTOM), parts.get(TOP)
    rest = confirmation.take(s for s in confirmation.speakers if cohorts.get(s) != BOTTOM)
    level, everybody = resampling.confidence, len(confirmation)
    confirmed = against_rest = null_gap = smallest = None
    p_value = 1.0
    if bottom is not None and rest.words > 0:
        against_rest = contrast(bottom, rest, level)
        named = (BOTTOM, TOP if top is not None else next(n for n in parts if n != BOTTOM))
        test = permutation_test(
            parts, strata, resampling.permutations, resampling.seed, level, named=named
        )
        p_value = test.p_value
        if top is not None:
            confirmed = contrast(bottom, top, level)
            null_gap = None if test.null_ratio is None else 100 * (test.null_ratio - 1)
            smallest = _detectable(parts, top, bottom, level)
    return Confirmation(
        method=method,
        discovery_speakers=len(discovery),
        confirmation_speakers=everybody,
        found=contrast(found[BOTTOM], found[TOP], level) if {BOTTOM, TOP} <= set(found) else None,
        found_null_gap=found_null_gap,
        bottom=_rate(bottom, everybody, level),
        top=_rate(top, everybody, level),
        rest=_rate(rest if rest.words > 0 else None, everybody, level),
        confirmed=confirmed,
        against_rest=against_rest,
        null_gap=null_gap,
        p_value=p_value,
        detectable_gap=smallest,
        confidence=level,
    )


def correct(
    confirmations: Sequence[Confirmation], tried: int | None = None
) -> tuple[Confirmation, ...]:
    """Correct the p-values of all methods of a page together, by Holm's method.

    Args:
        confirmations: those of the methods that found cohorts.
        tried: number of methods that were tried, whatever came out of them; by default the number
            of confirmations. A method that found no cohorts counts with p = 1.
    """
    from statsmodels.stats.multitest import multipletests  # which loads pandas: a second

    if not confirmations:
        return ()
    without = max(0, (tried or 0) - len(confirmations))
    p_values = [c.p_value for c in confirmations] + [1.0] * without
    corrected = multipletests(p_values, method="holm")[1][: len(confirmations)]
    return tuple(replace(c, p_holm=float(p)) for c, p in zip(confirmations, corrected, strict=True))


def _parts(sums: SpeakerSums, cohorts: Mapping[str, str]) -> dict[str, SpeakerSums]:
    """The speakers of each cohort that has words; those without a cohort form one, named ""."""
    members: dict[str, list[str]] = {}
    for speaker in sums.speakers:
        members.setdefault(cohorts.get(speaker, ""), []).append(speaker)
    parts = {name: sums.take(members[name]) for name in sorted(members)}
    return {name: part for name, part in parts.items() if part.words > 0}


def _rate(sums: SpeakerSums | None, everybody: int, confidence: float) -> CohortRate | None:
    if sums is None:
        return None
    ends = sums.interval(confidence)
    share = 100 * len(sums) / everybody
    size = len(sums), share, sums.errors, sums.words
    return CohortRate(*size, 100 * sums.rate, ends and ends.percent())


def _detectable(
    parts: Mapping[str, SpeakerSums], top: SpeakerSums, bottom: SpeakerSums, confidence: float
) -> float | None:
    """Smallest gap in per cent, where top has its own rate, or that of all if it has no error."""
    variation = fit_variation([*parts.values()])
    if variation is None:
        return None
    everybody = np.array([(p.errors, p.words) for p in parts.values()]).sum(axis=0)
    rate = top.rate or float(everybody[0] / everybody[1])
    gap = detectable_gap(variation, rate, bottom.words_S, top.words_S, confidence)
    return None if gap is None else 100 * gap
