"""Published runs as the rows of tables, and paired comparisons between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import mean, stdev
from typing import Generic, TypeVar

from asrlib.experiments.declared import declared_keys, why_not
from asrlib.experiments.run_record import RunRecord
from asrlib.experiments.run_scores import MixtureScores, PublishedRun, SetScores
from asrlib.experiments.store import PlanResults
from asrlib.experiments.systems import group_systems, seeds_of
from asrlib.report.format import DASH
from asrlib.scoring.gaps import Comparison, compare_speakers
from asrlib.scoring.speaker_sums import Interval, speaker_interval
from asrlib.scoring.wer import ErrorRate

ScoresT = TypeVar("ScoresT", SetScores, MixtureScores)


@dataclass(frozen=True)
class System(Generic[ScoresT]):
    """Runs that differ in their seed only, on one set with one search.

    Attributes:
        label: model and factors.
        records, scores: of each seed.
    """

    label: str
    records: tuple[RunRecord, ...]
    scores: tuple[ScoresT, ...]

    @property
    def seeds(self) -> str:
        """For a table: `1 2 3`."""
        return " ".join(map(str, seeds_of(self.records)))

    def percents(self) -> list[float]:
        """Word error rate of each seed, in per cent; ORC-WER of mixtures."""
        return [100 * total_errors(s).rate for s in self.scores]

    def rate(self) -> str:
        """Mean over seeds and their standard deviation, in per cent."""
        return spread(self.percents())

    def counts(self) -> dict[str, ErrorRate]:
        """Of each speaker or session, summed over seeds."""
        sums: dict[str, ErrorRate] = {}
        for scores in self.scores:
            units = scores.speakers if isinstance(scores, SetScores) else scores.sessions
            for unit, counts in units.items():
                sums[unit] = sums.get(unit, ErrorRate()) + counts.rate
        return sums

    def interval(self) -> Interval | None:
        """Of the rate in per cent, over speakers or sessions, seeds taken together."""
        found = speaker_interval(self.counts())
        return found and found.percent()


@dataclass(frozen=True)
class Pairing(Generic[ScoresT]):
    """A system beside the reference: how they compare, or why they do not.

    Attributes:
        refused: the reason, with the key that differs and both values; None where compared.
    """

    system: System[ScoresT]
    result: Comparison | None
    refused: str | None


def spread(percents: Sequence[float]) -> str:
    """Mean and, of several, standard deviation."""
    if not percents or not all(map(isfinite, percents)):
        return DASH
    deviation = f" ± {stdev(percents):.2f}" if len(percents) > 1 else ""
    return f"{mean(percents):.2f}{deviation}"


def total_errors(scores: SetScores | MixtureScores) -> ErrorRate:
    """Errors over the whole set; of ORC-WER for mixtures."""
    if isinstance(scores, SetScores):
        return scores.wer
    return ErrorRate.sum(counts.rate for counts in scores.sessions.values())


def systems_of(
    runs: Sequence[PublishedRun], kind: type[ScoresT]
) -> Iterator[tuple[str, str, list[System[ScoresT]]]]:
    """Test set, search, and the systems that were scored there, in order."""
    found: dict[tuple[str, str], list[tuple[PublishedRun, ScoresT]]] = {}
    for run in runs:
        for scores in run.scores:
            if isinstance(scores, kind):
                labels = scores.meta.set, scores.meta.way
                found.setdefault(labels, []).append((run, scores))
    for test_set, search in sorted(found):
        rows = found[test_set, search]
        grouped = group_systems(rows, lambda r: r[0].record, lambda r: r[0].record.name)
        yield (
            test_set,
            search,
            [
                System(label, tuple(r.record for r, _ in members), tuple(s for _, s in members))
                for label, members in grouped.items()
            ],
        )


def reference_of(systems: Sequence[System[ScoresT]], model: str | None) -> System[ScoresT]:
    """The system of the model that others are compared with; the first where it is not there."""
    named = [s for s in systems if s.label == model]
    named += [s for s in systems if s.records[0].model == model]
    return (named or [*systems])[0]


def pairings(plan: PlanResults, systems: Sequence[System[ScoresT]]) -> list[Pairing[ScoresT]]:
    """Each system but the reference beside it; the difference is taken speaker by speaker."""
    reference = reference_of(systems, plan.reference)
    declared = declared_keys([run.record for run in plan.runs]).union(plan.tuned)
    return [pair(reference, s, declared) for s in systems if s is not reference]


def pair(a: System[ScoresT], b: System[ScoresT], declared: Collection[str]) -> Pairing[ScoresT]:
    """`b` against `a`, unless they differ in what nobody declared, or in their utterances."""
    first, decode = a.records[0], a.scores[0].meta.config
    for system in (a, b):
        for record, scores in zip(system.records, system.scores, strict=True):
            reason = why_not(first, record, declared, decode, scores.meta.config)
            if reason is not None:
                return Pairing(b, None, reason)
    units = [_words(s) for system in (a, b) for s in system.scores]
    if any(words != units[0] for words in units):
        return Pairing(b, None, f"{b.label} was scored on other utterances than {a.label}")
    return Pairing(b, compare_speakers(a.counts(), b.counts()), None)


def _words(scores: SetScores | MixtureScores) -> dict[str, int]:
    units = scores.speakers if isinstance(scores, SetScores) else scores.sessions
    return {unit: counts.words for unit, counts in units.items()}
