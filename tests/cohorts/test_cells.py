import numpy as np
import pytest

from asrlib.cohorts.cells import map_cells


def test_cells_add_up_and_small_ones_are_hidden():
    points = np.array(
        [[40.5, -80.5]] * 12 + [[41.9, -80.1]] * 2 + [[30.0, -90.0]] * 10 + [[np.nan] * 2]
    )
    errors, words = np.full(25, 5.0), np.full(25, 50.0)
    found = map_cells(points, errors, words, public=False)
    (cell,) = found.cells
    assert (cell.latitude, cell.longitude, cell.speakers) == (41, -81, 14)
    assert (cell.errors, cell.words, cell.shrunken) == (70, 700, pytest.approx(0.1))
    assert (found.hidden_cells, found.hidden_speakers, found.unplaced_speakers) == (1, 10, 1)
    assert len(map_cells(points, errors, words, public=True).cells) == 2


def test_rates_that_differ_by_chance_are_all_pulled_to_the_mean():
    rng = np.random.default_rng(0)
    points = rng.uniform([30, -100], [40, -80], (400, 2))
    words = np.full(400, 80.0)
    errors = rng.poisson(8 * rng.gamma(3, 1 / 3, 400)).astype(float)
    cells = map_cells(points, errors, words, public=False).cells
    raw = np.std([c.errors / c.words for c in cells])
    assert np.std([c.shrunken for c in cells]) < 0.6 * raw


def test_nobody_has_no_cells():
    nobody = map_cells(np.full((2, 2), np.nan), np.ones(2), np.ones(2), public=False)
    assert (nobody.cells, nobody.unplaced_speakers) == ((), 2)
