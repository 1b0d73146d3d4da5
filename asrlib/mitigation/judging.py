"""Judge mitigations: who gets better, who gets worse, and is it more than the same updates give?

Every row was decoded on the same confirmation speakers. A method succeeds if

- the bottom cohort is better than with the same updates on general data, its interval below 0;
- the change of the rest has its upper end below +5 % relative;
- no model between the start and the fine-tuned model has both rates lower, their paired intervals
  below 0: these models need no training beyond the fine-tuning, so a method that one of them beats
  is not worth its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asrlib.errors import DataError
from asrlib.mitigation.table import (
    ByCohort,
    Changes,
    CurvePoint,
    MitigationRow,
    Rates,
    RegionalRates,
    RowKind,
    SeedRates,
    Verdict,
)
from asrlib.scoring.between_groups import group_variance
from asrlib.scoring.cohort_frame import MEASURES, estimate, sums_of
from asrlib.scoring.confirmation import BOTTOM, TOP, CohortRate
from asrlib.scoring.gaps import Comparison, Resampling, compare_speakers, contrast, gap_change
from asrlib.scoring.speaker_sums import Interval, SpeakerSums
from asrlib.scoring.utt_counts import UtteranceCounts, sum_counts
from asrlib.scoring.wer import ErrorRate

REST_LIMIT = 5.0  # per cent, relative: how much worse the rest may get
_MEASURES = ("symbol_delay_ms", "finalisation_ms", "encoder_work")


@dataclass(frozen=True)
class RunCounts:
    """What one training was counted to do.

    Attributes:
        seed: of the training.
        run: its directory under exp/.
        rows: counts of the confirmation speakers' utterances.
    """

    seed: int
    run: str
    rows: Sequence[UtteranceCounts]


@dataclass(frozen=True)
class Judged:
    """A row of the table before it is judged; see `MitigationRow`."""

    label: str
    kind: RowKind
    model: str
    start: str | None
    membership: str | None
    settings: dict[str, object]
    updates: int
    runs: tuple[RunCounts, ...]

    @cached_property
    def counts(self) -> list[UtteranceCounts]:
        """Counts of all seeds."""
        return [row for run in self.runs for row in run.rows]

    @cached_property
    def errors(self) -> dict[str, ErrorRate]:
        """Error counts of each speaker, added over the seeds."""
        return sum_counts(self.counts)


@dataclass(frozen=True)
class Judge:
    """Computes the table.

    Attributes:
        cohorts: cohort of each confirmation speaker; speakers without one count among the rest.
        regions: region of each speaker; may be empty.
        regions_by: how the regions were made.
        resampling: settings of intervals and draws.
    """

    cohorts: Mapping[str, str]
    regions: Mapping[str, str]
    regions_by: str
    resampling: Resampling

    def check(self, rows: Sequence[Judged]) -> None:
        """Check that the rows can be compared.

        Raises:
            DataError: they were decoded on different utterances, or no confirmation speaker with
                words is in the bottom cohort, or none outside.
        """
        first = {u.utterance for u in rows[0].runs[0].rows}
        for row in rows:
            for run in row.runs:
                if {u.utterance for u in run.rows} != first:
                    raise DataError(
                        f"exp/{run.run}: was decoded on other utterances than "
                        f"exp/{rows[0].runs[0].run}",
                        "decode and score both again (stage 10)",
                    )
        for name, inside in (("bottom cohort", True), ("rest", False)):
            if self._sums(rows[0], inside).words == 0:
                raise DataError(
                    f"no confirmation speaker is in the {name}",
                    "choose the cohorts of this corpus, or those of another method",
                )

    def table(
        self, rows: Sequence[Judged], control: str | None, curve: Mapping[float, Judged]
    ) -> tuple[MitigationRow, ...]:
        """Compute the rows of the table.

        Args:
            rows: the start first.
            control: label of the row on general data; None if there is none.
            curve: interpolated models by share.
        """
        start = rows[0]
        reference = next((row for row in rows if row.label == control), None)
        return tuple(self._row(row, start, reference, curve) for row in rows)

    def curve(self, points: Mapping[float, Judged]) -> tuple[CurvePoint, ...]:
        """Compute the rates along the interpolation curve."""
        return tuple(
            CurvePoint(share, self._seeds(row), self.rates(row))
            for share, row in sorted(points.items())
        )

    def _row(
        self,
        row: Judged,
        start: Judged,
        reference: Judged | None,
        curve: Mapping[float, Judged],
    ) -> MitigationRow:
        against = None
        if reference is not None and row is not start and row is not reference:
            against = self.changes(reference, row)
        verdict = None
        if row.kind != "control" and against is not None:
            verdict = self._verdict(row, against, curve)
        return MitigationRow(
            label=row.label,
            kind=row.kind,
            model=row.model,
            start=row.start,
            membership=row.membership,
            settings=row.settings,
            updates=row.updates,
            seeds=self._seeds(row),
            rates=self.rates(row),
            against_control=against,
            against_start=None if row is start else self.changes(start, row),
            regional=self.regional(row),
            measures=self.measures(row),
            verdict=verdict,
        )

    def _speakers(self, row: Judged, inside: bool) -> list[str]:
        return [s for s in row.errors if (self.cohorts.get(s) == BOTTOM) == inside]

    def _sums(self, row: Judged, inside: bool | None = None) -> SpeakerSums:
        """Sums of the bottom cohort (inside), of the rest, or of all (None)."""
        sums = SpeakerSums.of(row.errors)
        return sums if inside is None else sums.take(self._speakers(row, inside))

    def _top(self, row: Judged) -> SpeakerSums | None:
        top = SpeakerSums.of(row.errors).take(s for s in row.errors if self.cohorts.get(s) == TOP)
        return top if top.words > 0 else None

    def rates(self, row: Judged) -> Rates:
        """Compute the rates of a row with their intervals."""
        level, everybody = self.resampling.confidence, len(row.errors)

        def rate(sums: SpeakerSums) -> CohortRate:
            ends = sums.interval(level)
            share = 100 * len(sums) / everybody
            size = len(sums), share, sums.errors, sums.words
            return CohortRate(*size, 100 * sums.rate, ends and ends.percent())

        bottom, top = self._sums(row, True), self._top(row)
        return Rates(
            bottom=rate(bottom),
            rest=rate(self._sums(row, False)),
            overall=rate(self._sums(row)),
            top=None if top is None else rate(top),
            gap=None if top is None else contrast(bottom, top, level),
        )

    def _seeds(self, row: Judged) -> tuple[SeedRates, ...]:
        lines = []
        for run in row.runs:
            errors = sum_counts(run.rows)
            parts = [
                ErrorRate.sum(e for s, e in errors.items() if (self.cohorts.get(s) == BOTTOM) == b)
                for b in (True, False)
            ]
            percents = [100 * part.rate for part in (*parts, ErrorRate.sum(errors.values()))]
            lines.append(SeedRates(run.seed, run.run, *percents))
        return tuple(lines)

    def changes(self, a: Judged, b: Judged) -> Changes:
        """Compute the paired changes from row a to row b."""
        rest = self._compare(a, b, False)
        relative = None
        if rest.interval is not None and rest.a.errors:
            relative = Interval(*(end / rest.a.rate for end in rest.interval))
        tops = self._top(a), self._top(b)
        gap = None
        if tops[0] is not None and tops[1] is not None:
            bottoms = self._sums(a, True), self._sums(b, True)
            gap = gap_change((bottoms[0], tops[0]), (bottoms[1], tops[1]), self.resampling)
        return Changes(
            against=a.label,
            bottom=self._compare(a, b, True),
            rest=rest,
            overall=compare_speakers(a.errors, b.errors, self.resampling.confidence),
            rest_relative=relative,
            gap=gap,
        )

    def _compare(self, a: Judged, b: Judged, inside: bool) -> Comparison:
        of_a, of_b = ({s: row.errors[s] for s in self._speakers(row, inside)} for row in (a, b))
        return compare_speakers(of_a, of_b, self.resampling.confidence)

    def regional(self, row: Judged) -> RegionalRates | None:
        """Compute mean, maximum and variance over regions; None with fewer than two of them.

        A region of one speaker takes no part, since nothing tells how far its rate would move.
        """
        members: dict[str, list[str]] = {}
        for speaker in row.errors:
            if region := self.regions.get(speaker):
                members.setdefault(region, []).append(speaker)
        everybody, rates, errors = SpeakerSums.of(row.errors), {}, []
        for region in sorted(members):
            sums = everybody.take(members[region])
            error = sums.sampling_error()
            if error is not None:
                rates[region] = 100 * sums.rate
                errors.append(100 * error)
        if len(rates) < 2:
            return None
        rates_C = np.array([*rates.values()])
        variance = group_variance(rates_C, np.array(errors))
        worst = max(rates, key=rates.__getitem__)
        return RegionalRates(
            by=self.regions_by,
            regions=len(rates),
            mean=float(rates_C.mean()),
            highest=rates[worst],
            worst=worst,
            raw_variance=variance.raw,
            tau2=variance.tau2,
        )

    def measures(self, row: Judged) -> dict[str, ByCohort]:
        """Compute delays and encoder work of bottom, rest and all; those that were measured."""
        inside = [u for u in row.counts if self.cohorts.get(u.speaker) == BOTTOM]
        outside = [u for u in row.counts if self.cohorts.get(u.speaker) != BOTTOM]
        found = {}
        for name in _MEASURES:
            parts = [sums_of(rows, MEASURES[name]) for rows in (inside, outside, row.counts)]
            if parts[-1].words > 0:
                found[name] = ByCohort(*(estimate(p, False, self.resampling) for p in parts))
        return found

    def _verdict(self, row: Judged, against: Changes, curve: Mapping[float, Judged]) -> Verdict:
        beaten_by = next(
            (s for s, point in sorted(curve.items()) if self._both_lower(row, point)), None
        )
        better = _below(against.bottom.interval, 0.0)
        kept = _below(against.rest_relative, REST_LIMIT)
        faults = list(_faults(against, better, kept, beaten_by))
        success = not faults
        reason = "; ".join(faults) if faults else f"bottom {_points(against.bottom)}, rest kept"
        return Verdict(success, f"{reason}.", better, kept, beaten_by)

    def _both_lower(self, row: Judged, point: Judged) -> bool:
        """Whether an interpolated model has both rates lower, beyond the paired intervals."""
        if {run.run for run in row.runs} == {run.run for run in point.runs}:
            return False
        return all(_below(self._compare(row, point, part).interval, 0.0) for part in (True, False))


def _below(interval: Interval | None, limit: float) -> bool:
    return interval is not None and interval.high < limit


def _points(change: Comparison) -> str:
    ends = (
        "no interval" if change.interval is None else "[{:+.2f}, {:+.2f}]".format(*change.interval)
    )
    return f"{change.difference:+.2f} points {ends}"


def _faults(against: Changes, better: bool, kept: bool, beaten_by: float | None) -> Iterable[str]:
    if not better:
        yield f"bottom not better than {against.against}: {_points(against.bottom)}"
    if not kept:
        ends = against.rest_relative
        up_to = "has no interval" if ends is None else f"may rise by {ends.high:.1f} %"
        yield f"the rest's WER {up_to}, and {REST_LIMIT:g} % is the limit"
    if beaten_by is not None:
        yield f"the interpolation at {beaten_by:g} has both rates lower"
