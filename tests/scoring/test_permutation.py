from itertools import permutations

import numpy as np
import pytest
from planted_sums import gamma_speakers, split, sums

from asrlib.scoring.between_groups import fit_variation
from asrlib.scoring.permutation import GroupSums, permutation_test
from asrlib.scoring.speaker_sums import SpeakerSums


def plant(rng: np.random.Generator, groups: int = 5, each: int = 16, worse: float = 1.0):
    """Groups of one rate, but the last, which has `worse` times as many errors."""
    found = split(gamma_speakers(rng, groups * each, 0.1), groups)
    last = found[f"g{groups - 1:02d}"]
    found[f"g{groups - 1:02d}"] = SpeakerSums(last.speakers, last.errors_S * worse, last.words_S)
    return found


def test_the_p_value_of_six_speakers_is_that_of_all_permutations():
    a, b = sums("a", [9, 5, 7], [20, 20, 20]), sums("b", [2, 8, 1], [20, 20, 20])
    errors = np.concatenate([a.errors_S, b.errors_S])
    worst = []
    for dealt in permutations(range(6)):
        one, two = errors[list(dealt[:3])].sum(), errors[list(dealt[3:])].sum()
        worst.append(max(one, two))  # of two groups of one size both have the same deviation
    exact = np.mean(np.array(worst) >= max(a.errors, b.errors))
    found = permutation_test({"a": a, "b": b}, permutations=5000)
    assert found.p_value == pytest.approx(exact, abs=0.025)


def test_the_statistic_is_the_largest_difference_to_the_rest():
    """(r_c - r_rest) / se_c, where se_c is the standard deviation over permutations."""
    groups = {"a": sums("a", [9, 5, 7], [20, 20, 20]), "b": sums("b", [2, 8, 1, 3], [20] * 4)}
    everybody = np.array([9, 5, 7, 2, 8, 1, 3.0])
    z = everybody - everybody.mean()
    deviation = np.sqrt(z.var(ddof=1) * 3 * (1 - 3 / 7))
    found = permutation_test(groups, permutations=99)
    assert found.statistic == pytest.approx((21 - 3 * everybody.mean()) / deviation)


def test_a_planted_group_is_found():
    found = permutation_test(plant(np.random.default_rng(1), worse=3.0), permutations=999)
    assert found.p_value == 0.001
    assert found.statistic > found.null_statistic


@pytest.mark.parametrize(("groups", "each", "base"), [(5, 16, 78), (10, 8, 77), (50, 20, 4)])
def test_permuted_labels_find_nothing(groups, each, base):
    """On one corpus with a true effect, labels permuted by 200 seeds: at least 95 % find nothing.

    Of all permutations a level-5 % test finds something in 4 % here (p is below 5 / 100), so that
    another 200 seeds may have a few more than 10.
    """
    planted = plant(np.random.default_rng(5), groups, each, worse=2.0)
    everybody = SpeakerSums(
        tuple(s for g in planted.values() for s in g.speakers),
        np.concatenate([g.errors_S for g in planted.values()]),
        np.concatenate([g.words_S for g in planted.values()]),
    )
    found = 0
    for seed in range(200):
        order = np.random.default_rng([base, seed]).permutation(len(everybody))
        dealt = {
            f"g{g}": everybody.take([everybody.speakers[i] for i in order[g * each :][:each]])
            for g in range(groups)
        }
        found += permutation_test(dealt, permutations=99, seed=seed).p_value < 0.05
    assert found <= 10


def test_names_and_order_of_groups_change_no_number():
    groups = plant(np.random.default_rng(3), worse=1.5)
    renamed = {f"z{9 - i}": g for i, g in enumerate(reversed(groups.values()))}
    one, other = (vars(permutation_test(g, permutations=300)) for g in (groups, renamed))
    assert one == pytest.approx(other, rel=1e-9)


def test_a_difference_between_strata_is_no_difference_between_groups():
    """Group b has more of the speakers with the difficult text."""
    rng = np.random.default_rng(4)
    easy, hard = gamma_speakers(rng, 60, 0.05, name="e"), gamma_speakers(rng, 60, 0.4, name="h")
    texts = dict.fromkeys(easy.speakers, "easy") | dict.fromkeys(hard.speakers, "hard")
    names = {"a": [*easy.speakers[:45], *hard.speakers[:15]]}
    names["b"] = [*easy.speakers[45:], *hard.speakers[15:]]
    both = SpeakerSums(
        (*easy.speakers, *hard.speakers),
        np.concatenate([easy.errors_S, hard.errors_S]),
        np.concatenate([easy.words_S, hard.words_S]),
    )
    groups = {name: both.take(members) for name, members in names.items()}
    assert permutation_test(groups, permutations=499).p_value < 0.01
    assert permutation_test(groups, texts, permutations=499).p_value > 0.05


def test_speakers_of_several_cohorts_are_dealt_among_their_own():
    """Speakers differ tenfold, noise costs each of them a quarter: only pairing shows it."""
    rng = np.random.default_rng(6)
    quiet = gamma_speakers(rng, 24, 0.2, cv=1.0, words=400)
    noisy = SpeakerSums(quiet.speakers, quiet.errors_S * 1.25, quiet.words_S)
    apart = SpeakerSums(tuple(f"x{s}" for s in noisy.speakers), noisy.errors_S, noisy.words_S)
    shared = permutation_test({"noisy": noisy, "quiet": quiet}, permutations=499)
    assert shared.p_value == 0.002
    assert permutation_test({"noisy": apart, "quiet": quiet}, permutations=499).p_value > 0.05


def test_named_groups_are_judged_alone():
    groups = plant(np.random.default_rng(7), worse=3.0)
    worst = permutation_test(groups, named=("g04", "g00"), permutations=999)
    other = permutation_test(groups, named=("g00", "g04"), permutations=999)
    assert worst.p_value == 0.001
    assert other.p_value > 0.5
    free = permutation_test(groups, permutations=999)
    assert worst.null_ratio < free.null_ratio
    assert worst.null_statistic < free.null_statistic


def test_the_pooled_standard_error_is_that_of_the_speaker_model():
    groups = plant(np.random.default_rng(8), worse=2.0)
    fitted = fit_variation([*groups.values()])
    errors = GroupSums.of(groups).standard_errors()
    for group, error in zip(groups.values(), errors, strict=True):
        assert error**2 == pytest.approx(fitted.log_variance(group.errors, group.words_S))


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_the_largest_range_is_over_all_pairs(count):
    found = GroupSums.of(plant(np.random.default_rng(9), count, 6))
    centres, squares = found.centres(), found.standard_errors() ** 2
    pairs = [
        abs(centres[i] - centres[j]) / np.sqrt(squares[i] + squares[j])
        for i in range(count)
        for j in range(i)
    ]
    assert found.largest_range() == pytest.approx(max(pairs))


def test_bad_input():
    one = sums("a", [3, 4], [20, 20])
    with pytest.raises(ValueError, match="two groups"):
        permutation_test({"a": one})
    nobody = permutation_test({"a": sums("a", [0, 0], [9, 9]), "b": sums("b", [0], [9])})
    assert (nobody.p_value, nobody.null_ratio, nobody.critical) == (1, 1, None)
    equal = permutation_test({"a": sums("a", [2, 2], [9, 9]), "b": sums("b", [2, 2], [9, 9])})
    assert (equal.p_value, equal.null_difference) == (1, 0)
    lone = permutation_test({"a": sums("a", [3], [20]), "b": sums("b", [1], [20])})
    assert (lone.p_value, lone.critical) == (1, None)
