import numpy as np
import pytest
from cohort_fakes import people, settings
from scipy.special import xlogy

from asrlib.cohorts import scan
from asrlib.cohorts.config import ScanConfig
from asrlib.cohorts.find import find_cohorts
from asrlib.cohorts.places import coordinates, distances_km
from asrlib.cohorts.scan import ScanSearch


def _brute_force(points, errors, words, least, max_share):
    """The best log likelihood ratio of any circle around a speaker, and who is inside."""
    best, best_inside = 0.0, None
    for centre in points:
        distance = distances_km(centre[None], points)[0]
        for radius in distance:
            inside = distance <= radius + 1e-6
            c, share = errors[inside].sum(), words[inside].sum() / words.sum()
            expected = errors.sum() * share
            if inside.sum() < least or share > max_share or c <= expected:
                continue
            rest = errors.sum() - c
            ratio = xlogy(c, c / expected) + xlogy(rest, rest / (errors.sum() - expected))
            if ratio > best + 1e-12:
                best, best_inside = ratio, inside
    return best, best_inside


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("grid", [False, True])
def test_the_scan_equals_brute_force(seed, grid):
    rng = np.random.default_rng(seed)
    points = rng.uniform([30, -100], [40, -80], (40, 2))
    if grid:  # places that several speakers share, and places at equal distances
        points = np.round(points / 3) * 3
    words = rng.integers(10, 90, 40).astype(float)
    errors = rng.poisson(0.2 * words).astype(float)
    found = ScanSearch(points, ScanConfig(max_share=0.4), 3, True, 1).find(errors, words)
    best, inside = _brute_force(points, errors, words, 3, 0.4)
    assert found.statistic == pytest.approx(best)
    if not grid:  # else two circles may have the same speakers inside
        assert ((found.group_S == 0) == inside).all()


def test_blocks_change_nothing(monkeypatch):
    table, errors, _ = people(300, times=3.0)
    whole = find_cohorts("scan", table, errors, settings())
    monkeypatch.setattr(scan, "_BLOCK_CELLS", 1000)
    monkeypatch.setattr(scan, "_KEPT_CELLS", 0)
    assert find_cohorts("scan", table, errors, settings()) == whole


def test_the_rule_has_the_same_speakers_inside():
    table, errors, _ = people(300, times=3.0)
    definition = find_cohorts("scan", table, errors, settings())
    cohorts = definition.assign(table).cohorts
    assert cohorts.count("bottom") == definition.cohorts[0].speakers
    assert cohorts.count("top") == definition.cohorts[1].speakers


def test_the_planted_region_is_found():
    table, errors, _ = people(400, times=3.0)
    definition = find_cohorts("scan", table, errors, settings(permutations=39))
    new, _, there = people(400, seed=1, prefix="c")
    bottom = np.array([c == "bottom" for c in definition.assign(new).cohorts])
    assert there[bottom].mean() > 0.7
    assert definition.evidence.p_value == pytest.approx(1 / 40)


def test_permuted_labels_are_significant_no_more_often_than_they_should():
    table, errors, _ = people(80, times=3.0)
    points = coordinates(table, public=True)
    search = ScanSearch(points, ScanConfig(), 11, True, 1)
    e = np.array([errors[s].errors for s in table.speakers], float)
    n = np.array([errors[s].words for s in table.speakers], float)
    rng = np.random.default_rng(0)

    def statistic():
        order = rng.permutation(len(e))
        found = search.find(e[order], n[order])
        return 0.0 if found is None else found.statistic

    limit = np.quantile([statistic() for _ in range(400)], 0.95)
    assert np.mean([statistic() > limit for _ in range(200)]) <= 0.09


def test_one_place_has_no_circle():
    points = np.tile([[40.0, -90.0]], (30, 1))
    errors = np.arange(30.0)
    assert ScanSearch(points, ScanConfig(), 3, True, 1).find(errors, np.full(30, 50.0)) is None


def test_many_places_are_tried_at_a_sample_of_centres():
    table, errors, _ = people(300, times=3.0)
    config = settings(scan=ScanConfig(max_centres=40))
    definition = find_cohorts("scan", table, errors, config)
    assert definition.evidence.statistic > 0
