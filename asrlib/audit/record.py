"""audit.json: everything that the page of an audit shows."""

from __future__ import annotations

from dataclasses import dataclass

from asrlib.cohorts.cells import MapCells
from asrlib.cohorts.explain import Explanation
from asrlib.json_record import JsonRecord
from asrlib.scoring.confirmation import Confirmation
from asrlib.scoring.groups import GroupTable
from asrlib.scoring.speaker_sums import Interval
from asrlib.scoring.wer import ErrorRate

AUDIT_FILE, PAGE_FILE, COHORTS_DIR = "audit.json", "audit.html", "cohorts"


@dataclass(frozen=True, kw_only=True)
class Normalised(JsonRecord):
    """What was done to the transcripts before they were compared.

    Attributes:
        name, does: of the normalisation.
        references, hypotheses: how many of them it changed.
    """

    name: str
    does: str
    references: int
    hypotheses: int


@dataclass(frozen=True, kw_only=True)
class GivenGroups(JsonRecord):
    """Groups given beforehand: the values of a column, or of a pair of columns.

    Attributes:
        columns: one or two.
        table: rates and the gap between the worst and the best group; the gap is None where it has
            no interval, no null or no power.
        p_holm: p-value of the gap after Holm, over all columns and pairs of the audit.
        note: why no gap is given; "" if one is.
        rates: error rates of the speakers of each group in per cent, sorted, without ids; of many
            speakers an even selection. Empty for pairs, which are not drawn.
    """

    columns: tuple[str, ...]
    table: GroupTable
    p_holm: float | None
    note: str
    rates: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Searched(JsonRecord):
    """What one method of discovery came to.

    Attributes:
        method: its name.
        tried: whether the audit had what the method needs; p-values are corrected for all tried.
        outcome: a sentence about the discovery speakers, or why nothing was found.
        bottom: what makes a speaker a member of the bottom cohort.
        confirmation: bottom and top on confirmation speakers; None if nothing was found, or if a
            cohort of a place is too small to be shown.
        explanation: what the bottom cohort shares, on confirmation speakers; None without two
            cohorts to compare.
        note: why there is no confirmation or explanation; "" if there are both.
        rates: as of `GivenGroups`, of the cohorts on confirmation speakers.
    """

    method: str
    tried: bool
    outcome: str
    bottom: str = ""
    confirmation: Confirmation | None = None
    explanation: Explanation | None = None
    note: str = ""
    rates: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Audit(JsonRecord):
    """audit.json.

    Attributes:
        version: of the program.
        title: what was audited.
        command: what repeats the audit.
        finding: its result in one sentence.
        unit: what is sampled: `speaker`, or `clip` where every utterance is a speaker of its own.
        units, utterances, wrong_utterances: numbers of them.
        wer, cer: error counts of words and of characters.
        interval: of the word error rate in per cent, over speakers.
        normalised: what was done to the transcripts.
        notes: sentences about input that was missing or did not fit.
        given: groups given beforehand.
        searched: methods of discovery.
        discovery, confirmation: numbers of speakers of the two halves.
        min_speakers: fewest discovery speakers of a cohort that is searched for.
        share: share of the speakers that automatic cohorts aim at.
        public: whether places are shown exactly.
        cells: error rates on a map, of the speakers of both halves; None without any place.
        confidence: coverage of the intervals; permutations and seed are those of the tests.
    """

    version: str
    title: str
    command: str
    finding: str
    unit: str
    units: int
    utterances: int
    wrong_utterances: int
    wer: ErrorRate
    cer: ErrorRate
    interval: Interval | None
    normalised: Normalised
    notes: tuple[str, ...]
    given: tuple[GivenGroups, ...]
    searched: tuple[Searched, ...]
    discovery: int
    confirmation: int
    min_speakers: int
    share: float
    public: bool
    confidence: float
    permutations: int
    seed: int
    cells: MapCells | None = None
