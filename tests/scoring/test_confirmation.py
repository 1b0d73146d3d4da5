import numpy as np
import pytest
from planted_sums import gamma_speakers, sums

from asrlib.errors import DataError
from asrlib.scoring.confirmation import Confirmation, confirm, correct
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import SpeakerSums

FEW = Resampling(permutations=499)


def half(rng: np.random.Generator, name: str, worse: float, cohorts: dict[str, str]) -> SpeakerSums:
    """120 speakers: 20 in bottom, who err `worse` times as often, 60 in top, 40 in the middle."""
    found = gamma_speakers(rng, 120, 0.1, name=name)
    for number, speaker in enumerate(found.speakers):
        cohorts[speaker] = "bottom" if number < 20 else "top" if number < 80 else "middle"
    errors_S = found.errors_S * np.where(np.arange(120) < 20, worse, 1)
    return SpeakerSums(found.speakers, errors_S, found.words_S)


def halves(seed: int, worse: float) -> tuple[SpeakerSums, SpeakerSums, dict[str, str]]:
    rng, cohorts = np.random.default_rng(seed), {}
    return half(rng, "d", worse, cohorts), half(rng, "c", worse, cohorts), cohorts


def test_a_true_gap_is_confirmed():
    discovery, confirmation, cohorts = halves(1, 3.0)
    (found,) = correct(
        [confirm("tree", discovery, confirmation, cohorts, FEW, found_null_gap=90.0)]
    )
    assert found.is_confirmed
    assert found.p_holm == found.p_value == 0.002
    assert found.confirmed.gap_interval.low < 200 < found.confirmed.gap_interval.high
    assert found.confirmed.gap > found.null_gap > 0
    assert found.confirmed.gap_interval.low > 0
    assert 20 < found.detectable_gap < 200
    assert (found.discovery_speakers, found.confirmation_speakers) == (120, 120)
    assert found.bottom.share == pytest.approx(100 * 20 / 120)
    assert found.rest.speakers == 100
    assert found.found_null_gap == 90
    assert Confirmation.from_json(found.to_json()) == found


def test_without_an_effect_few_gaps_are_confirmed():
    """The bottom of the search is the worst of six sixths: it looks bad on discovery speakers."""
    confirmed, found_gaps, confirmed_gaps = 0, [], []
    for seed in range(30):
        rng = np.random.default_rng([3, seed])
        discovery, others = gamma_speakers(rng, 120, 0.1), gamma_speakers(rng, 120, 0.1, name="c")
        sixths = [discovery.speakers[i : i + 20] for i in range(0, 120, 20)]
        ranked = sorted(range(6), key=lambda i: discovery.take(sixths[i]).rate)
        names = {ranked[-1]: "bottom", ranked[0]: "top"}
        cohorts = {
            s: names.get(i // 20, "middle")
            for sums in (discovery, others)
            for i, s in enumerate(sums.speakers)
        }
        (one,) = correct([confirm("search", discovery, others, cohorts, FEW)])
        confirmed += one.is_confirmed
        found_gaps.append(one.found.gap)
        confirmed_gaps.append(one.confirmed.gap)
    assert confirmed <= 5  # with a rate of 5 %, more have a chance of 0.3 %
    assert np.median(found_gaps) > 40
    assert abs(np.median(confirmed_gaps)) < 15


def test_confirmation_uses_confirmation_speakers_alone():
    discovery, confirmation, cohorts = halves(4, 3.0)
    other = SpeakerSums(discovery.speakers, discovery.errors_S[::-1], discovery.words_S)
    one, two = (vars(confirm("m", d, confirmation, cohorts, FEW)) for d in (discovery, other))
    assert one.pop("found") != two.pop("found")
    assert one == two


def test_holm_over_the_methods_of_a_page():
    discovery, confirmation, cohorts = halves(5, 2.0)
    one = confirm("m", discovery, confirmation, cohorts, FEW)
    values = [0.01, 0.04, 0.03]
    made = [Confirmation(**{**vars(one), "p_value": p}) for p in values]
    assert [c.p_holm for c in correct(made)] == pytest.approx([0.03, 0.06, 0.06])
    assert correct([]) == ()
    with pytest.raises(ValueError, match="correct"):
        _ = one.is_confirmed


def test_a_speaker_in_both_halves_is_refused():
    _, confirmation, cohorts = halves(6, 2.0)
    with pytest.raises(DataError, match="1 speakers are in both halves, first c0000"):
        confirm("m", confirmation.take(["c0000"]), confirmation, cohorts, FEW)


def test_bad_input_gives_what_can_be_given():
    discovery = sums("d", [4, 1, 1, 2], [20] * 4)
    labels = ["bottom", "top", "top", "top"]
    cohorts = dict(zip(discovery.speakers, labels, strict=True))
    one = sums("c", [3], [20])
    alone = confirm("m", discovery, one, cohorts | {"c0": "bottom"}, FEW)
    assert (alone.confirmed, alone.p_value, alone.rest) == (None, 1, None)
    lost = confirm("m", discovery, sums("c", [3, 2], [20, 20]), cohorts, FEW)
    assert (lost.bottom, lost.confirmed, lost.p_value) == (None, None, 1)
    pair = confirm("m", discovery, sums("c", [3, 2], [20, 20]), cohorts | {"c0": "bottom"}, FEW)
    assert (pair.confirmed, pair.against_rest.gap_interval) == (None, None)
    known = cohorts | dict(zip(("c0", "c1", "c2", "c3"), labels, strict=True))
    for errors in ([0] * 4, [2] * 4):
        equal = confirm("m", discovery, sums("c", errors, [20] * 4), known, FEW)
        assert equal.p_value == 1
        assert equal.confirmed.difference == 0
