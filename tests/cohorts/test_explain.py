import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from asrlib.cohorts.enrichment import enrichment
from asrlib.cohorts.explain import DIFFICULTY, explain, worst_words
from asrlib.cohorts.regression import adjust
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import align


def _table(**columns):
    count = len(next(iter(columns.values())))
    names = tuple(f"s{i:03d}" for i in range(count))
    return SpeakerTable(names, {k: tuple(map(str, v)) for k, v in columns.items()})


def test_enrichment_by_hand():
    gender = ["f"] * 12 + ["m"] * 8 + ["f"] * 20 + ["m"] * 60
    bottom = np.arange(100) < 20
    found = enrichment(_table(gender=gender), bottom, ["gender", "nothing"], {})
    women = next(e for e in found if e.attributes == {"gender": "f"})
    p = fisher_exact([[12, 8], [20, 60]])[1]
    assert (women.bottom, women.bottom_known, women.others, women.others_known) == (12, 20, 20, 80)
    assert women.odds_ratio == pytest.approx(12 * 60 / (8 * 20))
    assert women.p_value == pytest.approx(p)
    assert women.corrected_p == pytest.approx(2 * p)  # Holm over f and m


def test_pairs_bands_and_unknown_values():
    rng = np.random.default_rng(0)
    gender = rng.choice(["f", "m"], 300)
    age = rng.integers(5, 60, 300)
    bottom = (gender == "f") & (age < 16)
    ages = ["?" if i % 50 == 0 else a for i, a in enumerate(age)]
    table = _table(gender=gender, age=ages)
    found = enrichment(table, bottom, ["gender", "age"], {"age": (16.0,)})
    assert found[0].attributes == {"gender": "f", "age": "<16"}
    assert found[0].others == 0
    assert math.isfinite(found[0].odds_ratio)
    assert found[0].bottom_known + found[0].others_known == 294
    assert [e.p_value for e in found] == sorted(e.p_value for e in found)


def test_rare_and_constant_attributes_are_not_looked_at():
    table = _table(city=[f"c{i}" for i in range(40)], same=["x"] * 40)
    assert enrichment(table, np.arange(40) < 10, ["city", "same"], {}) == ()


def _simulated(effect, seed=0, count=600):
    """The bottom cohort lives in more noise; noise and, by `effect`, the cohort raise the rate."""
    rng = np.random.default_rng(seed)
    bottom = np.arange(count) < count // 3
    snr = rng.normal(np.where(bottom, 10.0, 20.0), 4)
    words = rng.integers(50, 150, count).astype(float)
    rate = 0.1 * np.exp(-0.08 * (snr - 20)) * np.where(bottom, effect, 1.0)
    errors = rng.poisson(rate * words * rng.gamma(4, 1 / 4, count)).astype(float)
    return errors, words, bottom, snr


def test_a_gap_that_noise_explains_does_not_remain():
    errors, words, bottom, snr = _simulated(1.0)
    found = adjust(errors, words, bottom, {"snr_db": snr})
    assert found.model == "negative binomial"
    assert found.raw.low > 1.8
    assert found.adjusted.low < 1 < found.adjusted.high
    assert abs(found.remaining) < 0.25


def test_a_gap_of_its_own_remains():
    errors, words, bottom, snr = _simulated(2.0)
    found = adjust(errors, words, bottom, {"snr_db": snr})
    assert found.adjusted.low < 2 < found.adjusted.high
    assert found.adjusted.low > 1.4


def test_the_raw_ratio_is_that_of_the_rates():
    errors, _, bottom, _ = _simulated(2.0)
    found = adjust(errors, np.full(600, 100.0), bottom, {})
    ratio = errors[bottom].mean() / errors[~bottom].mean()
    assert found.raw.ratio == pytest.approx(ratio, rel=1e-3)
    assert found.remaining == pytest.approx(1)


def test_equal_rates_get_a_regression_too():
    words = np.full(60, 100.0)
    found = adjust(np.full(60, 10.0), words, np.arange(60) < 20, {})
    assert found.model == "quasi-Poisson"
    assert found.raw.ratio == pytest.approx(1)


@pytest.mark.parametrize(
    ("errors", "bottom", "note"),
    [
        (np.ones(60), np.arange(60) < 1, "fewer than two speakers"),
        (np.arange(60.0) % 2 * (np.arange(60) >= 20), np.arange(60) < 20, "makes no error"),
        (np.ones(6), np.arange(6) < 3, "too few"),
    ],
)
def test_where_there_is_no_regression_it_says_why(errors, bottom, note):
    assert note in adjust(errors, np.full(len(errors), 50.0), bottom, {}).note


def test_covariates_that_cannot_be_used_are_named():
    errors, words, bottom, snr = _simulated(1.0)
    half = np.where(np.arange(600) < 400, np.nan, 1.0 * np.arange(600))
    some = np.where(np.arange(600) % 10 == 0, np.nan, snr)
    found = adjust(errors, words, bottom, {"age": half, "level": np.ones(600), "snr_db": some})
    assert found.left_out == {
        "age": "known of fewer than half of the speakers",
        "level": "the same for all speakers",
    }
    assert found.covariates == ("snr_db",)
    assert found.speakers == 540
    again = adjust(errors, words, bottom, {"snr_db": snr, "twice": 2 * snr})
    assert again.adjusted is None
    assert "determine one another" in again.note


def _utterance(speaker, ref, hyp, number=0, private=False):
    words = tuple(ref.split()), tuple(hyp.split())
    return Utterance(f"{speaker}-{number}", speaker, *words, private=private)


def test_worst_words_leave_out_private_utterances():
    bottom = align(
        [
            _utterance("a", "PLAY MUSIC PLAY MUSIC", "PAY MUSIC PAY MUSIC"),
            _utterance("a", "SECRET SECRET SECRET", "X X X", 1, private=True),
        ]
    )
    others = align([_utterance("b", "PLAY MUSIC", "PLAY MUSIC")])
    (worst,) = worst_words(bottom, others)
    assert (worst.word, worst.errors, worst.count) == ("PLAY", 2, 2)
    assert (worst.other_errors, worst.other_count) == (0, 1)
    assert worst.excess == pytest.approx(2)


def _spoken(rng, speaker, rate, words):
    ref = [str(w) for w in rng.choice(words, 20)]
    hyp = ["X" if rng.random() < rate * (3 if w.startswith("HARD") else 1) else w for w in ref]
    return _utterance(speaker, " ".join(ref), " ".join(hyp))


def test_harder_sentences_explain_a_gap():
    # All speakers have one rate for each word; the bottom cohort says more hard words.
    rng = np.random.default_rng(0)
    easy, hard = ["EASY1", "EASY2", "EASY3"], ["HARD1", "HARD2"]
    names = [f"s{i:03d}" for i in range(300)]
    cohorts = {s: "bottom" if i < 100 else "middle" for i, s in enumerate(names)}
    said = {"bottom": easy + 4 * hard, "middle": easy * 2 + hard}
    aligned = align([_spoken(rng, s, 0.1, said[cohorts[s]]) for s in names])
    table = SpeakerTable(tuple(names), {"gender": tuple(rng.choice(["f", "m"], 300).tolist())})
    found = explain("m", "test", cohorts, table, aligned, ["gender"], {}, ["snr_db"])
    assert (found.bottom_speakers, found.other_speakers) == (100, 200)
    assert found.bottom.substitutions == sum(
        a.words.substitutions for a in aligned if cohorts[a.utterance.speaker] == "bottom"
    )
    assert found.adjustment.covariates == (DIFFICULTY,)
    assert found.adjustment.raw.low > 1.1
    assert found.adjustment.adjusted.low < 1 < found.adjustment.adjusted.high


def test_an_unknown_cohort_has_no_part_and_one_side_is_an_error():
    rows = [_utterance(s, "ONE TWO", "ONE") for s in "abc"]
    table = SpeakerTable(("a", "b", "c"), {})
    cohorts = {"a": "bottom", "b": "top", "c": "unknown"}
    found = explain("m", "test", cohorts, table, align(rows), [], {}, [])
    assert (found.bottom_speakers, found.other_speakers) == (1, 1)
    assert found.adjustment.note
    with pytest.raises(DataError, match="0 of 2 speakers are in the bottom"):
        explain("m", "test", {"a": "top", "b": "top"}, table, align(rows), [], {}, [])
    with pytest.raises(DataError, match="no decoded speaker has a cohort"):
        explain("m", "test", {"z": "bottom"}, table, align(rows), [], {}, [])
