"""The table of mitigations: rates, paired changes, verdicts; all from counts."""

from __future__ import annotations

import numpy as np
import pytest

from asrlib.errors import DataError
from asrlib.mitigation.judging import Judge, Judged, RunCounts
from asrlib.mitigation.table import MitigationRow
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import SpeakerSums
from asrlib.scoring.utt_counts import UtteranceCounts
from asrlib.scoring.wer import ErrorRate

SPEAKERS = [f"s{i:02d}" for i in range(40)]
COHORTS = {
    s: "bottom" if i < 10 else "top" if i >= 30 else "middle" for i, s in enumerate(SPEAKERS)
}
REGIONS = {s: f"r{i % 4}" for i, s in enumerate(SPEAKERS)}
JUDGE = Judge(COHORTS, REGIONS, "tree", Resampling(replicates=200, permutations=100))


def counts(bottom: float, rest: float, seed: int = 0) -> list[UtteranceCounts]:
    """Utterances of 100 words; the same speakers are difficult in every system."""
    hard = np.random.default_rng(0).uniform(0.7, 1.3, len(SPEAKERS))
    luck = np.random.default_rng(seed).integers(-1, 2, len(SPEAKERS))
    rows = []
    for i, speaker in enumerate(SPEAKERS):
        rate = bottom if COHORTS[speaker] == "bottom" else rest
        errors = max(0, round(100 * rate * hard[i]) + int(luck[i]))
        rows.append(
            UtteranceCounts(
                utterance=f"{speaker}-1",
                speaker=speaker,
                substitutions=errors,
                insertions=0,
                deletions=0,
                words=100,
                characters=400,
                character_errors=errors,
                seconds=30.0,
                symbol_delay_ms_sum=100.0 * 250,
                symbol_delays=100,
                finalisation_ms=None,
                encoder_work=None,
            )
        )
    return rows


def row(label: str, bottom: float, rest: float, kind: str = "adapt", seeds: int = 1) -> Judged:
    runs = tuple(RunCounts(k, f"{label}{k}", counts(bottom, rest, k)) for k in range(seeds))
    start = None if label == "start" else "start"
    return Judged(label, kind, "lstm", start, None, {}, 100, runs)


START = row("start", 0.4, 0.2, "control")
GENERAL = row("general", 0.38, 0.19, "control")


def judged(other: Judged, curve: tuple[Judged, ...] = ()) -> MitigationRow:
    points = {0.5 + 0.1 * k: point for k, point in enumerate(curve)}
    return JUDGE.table([START, GENERAL, other], "general", points)[-1]


def test_a_row_that_helps_the_bottom_and_keeps_the_rest_succeeds():
    found = judged(row("good", 0.25, 0.19))
    assert found.verdict is not None
    assert found.verdict.success, found.verdict
    assert found.against_control.bottom.interval.high < 0
    assert found.against_start.against == "start"
    assert found.against_start.gap.change < 0


@pytest.mark.parametrize(
    ("bottom", "rest", "said"),
    [(0.38, 0.19, "bottom not better than general"), (0.25, 0.25, "the rest's WER")],
)
def test_a_row_that_misses_one_condition_fails_and_says_which(bottom, rest, said):
    verdict = judged(row("bad", bottom, rest)).verdict
    assert not verdict.success
    assert said in verdict.reason


def test_a_row_that_a_point_between_start_and_finetuned_beats_fails():
    good = row("good", 0.25, 0.19)
    beaten = judged(good, (row("interpolated", 0.15, 0.12, "control"),)).verdict
    assert (beaten.success, beaten.beaten_by) == (False, 0.5)
    assert judged(good, (row("interpolated", 0.15, 0.19, "control"),)).verdict.success
    # The fine-tuned model is the end of its own curve.
    assert judged(good, (good,)).verdict.success


def test_controls_and_plans_without_them_have_no_verdict():
    rows = JUDGE.table([START, GENERAL, row("good", 0.25, 0.19)], "general", {})
    assert [r.verdict is None for r in rows] == [True, True, False]
    rows = JUDGE.table([START, row("good", 0.25, 0.19)], None, {})
    assert [r.verdict for r in rows] == [None, None]


def test_rates_are_means_over_seeds_and_every_seed_is_printed():
    found = judged(row("three", 0.25, 0.19, seeds=3))
    for part in ("bottom", "rest", "overall"):
        each = [getattr(seed, part) for seed in found.seeds]
        assert len(each) == 3
        assert getattr(found.rates, part).percent == pytest.approx(np.mean(each))
    assert found.rates.bottom.speakers == 10
    whole = found.rates.bottom.errors + found.rates.rest.errors
    assert whole == found.rates.overall.errors


def test_renaming_other_cohorts_and_speakers_without_one_changes_no_number():
    names = {"middle": "", "bottom": "bottom", "top": "top"}
    other = Judge(
        {s: names[c] for s, c in COHORTS.items() if names[c]}, REGIONS, "tree", JUDGE.resampling
    )
    good = row("good", 0.25, 0.19)
    assert other.table([START, good], None, {}) == JUDGE.table([START, good], None, {})


def test_regions_and_delays():
    found = judged(row("good", 0.25, 0.19))
    assert found.regional.regions == 4
    assert found.regional.highest >= found.regional.mean
    assert found.regional.tau2 <= found.regional.raw_variance
    assert found.measures["symbol_delay_ms"].bottom.value == 250
    assert set(found.measures) == {"symbol_delay_ms"}
    one = Judge(COHORTS, dict.fromkeys(SPEAKERS, "r"), "tree", JUDGE.resampling)
    assert one.regional(START) is None


def test_every_row_has_the_same_regions_with_errors_or_without():
    lone = {speaker: f"r{i // 10}" for i, speaker in enumerate(SPEAKERS)}
    other = Judge(COHORTS, lone, "tree", JUDGE.resampling)
    before, after = other.regional(row("start", 0.1, 0.05)), other.regional(row("none", 0.0, 0.0))
    assert before.regions == after.regions > 1
    assert after.mean < before.mean
    assert after.tau2 <= after.raw_variance


def test_regions_whose_speakers_are_all_alike_have_a_variance():
    alike = {f"s{n}": ErrorRate(substitutions=23 * n, words=21 * n) for n in (1, 2)}
    assert SpeakerSums.of(alike).sampling_error() == pytest.approx(69**0.5 / 63)


def test_rows_of_other_utterances_are_refused():
    short = Judged(
        "short", "adapt", "lstm", "start", None, {}, 1, (RunCounts(1, "x", counts(0.1, 0.1)[1:]),)
    )
    with pytest.raises(DataError, match="other utterances"):
        JUDGE.check([START, short])


@pytest.mark.parametrize(("cohort", "said"), [("top", "bottom cohort"), ("bottom", "rest")])
def test_no_bottom_and_no_rest_are_refused(cohort, said):
    judge = Judge(dict.fromkeys(SPEAKERS, cohort), {}, "tree", JUDGE.resampling)
    with pytest.raises(DataError, match=f"no confirmation speaker is in the {said}"):
        judge.check([START])
