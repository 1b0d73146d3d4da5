import itertools

import numpy as np
import pytest
from cohort_fakes import people, settings
from sklearn.tree import DecisionTreeRegressor

from asrlib.cohorts.config import TreeConfig
from asrlib.cohorts.find import find_cohorts
from asrlib.cohorts.places import coordinates
from asrlib.cohorts.search import CannotSearch
from asrlib.cohorts.tree import TreeSearch, weakest_links


def _search(points, least, **config):
    return TreeSearch(points, TreeConfig(min_share=0.0, **config), least, public=True, seed=1)


def _impurity(rates, words):
    return np.sum(words * (rates - np.average(rates, weights=words)) ** 2)


@pytest.mark.parametrize("seed", range(10))
def test_the_first_split_equals_an_exhaustive_search(seed):
    rng = np.random.default_rng(seed)
    points, words = rng.uniform(25, 48, (30, 2)), rng.integers(10, 90, 30).astype(float)
    rates = rng.random(30)
    best = min(
        _impurity(rates[low], words[low]) + _impurity(rates[~low], words[~low])
        for axis, value in itertools.product((0, 1), range(30))
        if 5 <= (low := points[:, axis] <= points[value, axis]).sum() <= 25
    )
    tree = _search(points, 5, max_regions=2)._grow(slice(None), rates, words, 0.0)
    low = tree.apply(points) == 1
    found = _impurity(rates[low], words[low]) + _impurity(rates[~low], words[~low])
    assert found == pytest.approx(best)


def test_weakest_links_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    points, words = rng.random((200, 2)), rng.integers(1, 50, 200)
    rates = rng.random(200) + (points[:, 0] > 0.5)
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=1)
    tree.fit(points, rates, sample_weight=words)
    path = tree.cost_complexity_pruning_path(points, rates, sample_weight=words)
    ours = np.unique(weakest_links(tree))
    assert ours[np.isfinite(ours)] == pytest.approx(np.unique(path.ccp_alphas[1:]))


def test_cross_validation_equals_pruning_a_new_tree_for_each_strength():
    table, errors, _ = people(300, times=3.0)
    points = coordinates(table, public=True)
    words = np.array([errors[s].words for s in table.speakers], float)
    rates = np.array([errors[s].rate for s in table.speakers])
    search = _search(points, 11)
    chosen = search._prune(rates, words)
    fold = np.random.default_rng(1).permutation(300) % 5
    steps = search._grow(slice(None), rates, words, 0.0).cost_complexity_pruning_path(
        points, rates, sample_weight=words
    )
    steps = np.maximum(np.unique(steps.ccp_alphas[1:]), 0)
    tried = np.sqrt(steps * np.append(steps[1:], steps[-1] * 4))
    losses = [
        sum(
            np.sum(
                words[fold == f]
                * (
                    rates[fold == f]
                    - search._grow(fold != f, rates, words, a).predict(points[fold == f])
                )
                ** 2
            )
            for f in range(5)
        )
        for a in tried
    ]
    assert chosen.ccp_alpha == pytest.approx(tried[int(np.argmin(losses))])


def test_the_planted_region_is_found_and_confirmed():
    discovery, errors, _ = people(600, times=4.0)
    definition = find_cohorts("tree", discovery, errors, settings(permutations=19))
    new, _, there = people(600, seed=1, prefix="c")
    bottom = np.array([c == "bottom" for c in definition.assign(new).cohorts])
    assert bottom.sum() >= 11
    assert there[bottom].mean() > 0.6
    assert definition.evidence.p_value == pytest.approx(1 / 20)


def test_places_that_mean_nothing_mostly_leave_one_region():
    found = 0
    for seed in range(20):
        table, errors, _ = people(200, seed=seed)
        rates = np.array([errors[s].rate for s in table.speakers])
        words = np.array([errors[s].words for s in table.speakers], float)
        search = _search(coordinates(table, public=True), 20)
        found += search.find(rates * words, words) is not None
    assert found <= 8


def test_one_region_is_said():
    table, errors, _ = people(200, seed=3)
    with pytest.raises(CannotSearch, match="one region"):
        find_cohorts("tree", table, errors, settings(min_speakers=150))


def test_regions_are_ranked_and_large_enough():
    table, errors, _ = people(600, times=4.0)
    definition = find_cohorts("tree", table, errors, settings(min_speakers=15))
    smoothed = [c.smoothed for c in definition.cohorts]
    assert smoothed == sorted(smoothed, reverse=True)
    assert [c.cohort for c in definition.cohorts][0 :: len(smoothed) - 1] == ["bottom", "top"]
    assert min(c.speakers for c in definition.cohorts) >= 15
