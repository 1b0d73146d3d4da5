import numpy as np
import pytest

from asrlib.cohorts.places import (
    coordinates,
    distances_km,
    five_digits,
    hidden,
    shown_zip,
)
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import first_few


def _table(**columns):
    count = len(next(iter(columns.values())))
    return SpeakerTable(
        tuple(f"s{i}" for i in range(count)), {k: tuple(v) for k, v in columns.items()}
    )


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        ("03249", "03249"),
        (" 03249-1234 ", "03249"),
        ("032491234", "03249"),
        ("3249", ""),
        ("3249.0", ""),
        ("SW1A 1AA", ""),
        ("", ""),
        ("０３２４９", ""),
    ],
)
def test_zip_codes(value, digits):
    assert five_digits(value) == digits


def test_coordinates_that_are_no_place_are_unknown():
    table = _table(
        latitude=["40.25", "91", "40", "", "nan", "inf", "0", "north"],
        longitude=["-80.75", "10", "181", "-80", "-80", "-80", "0", "-80"],
    )
    known = ~np.isnan(coordinates(table, public=True)).any(axis=1)
    assert known.tolist() == [True] + [False] * 7


def test_coordinates_come_from_the_zip_code_where_there_are_no_others():
    table = _table(latitude=["10", "", ""], longitude=["20", "5", ""], zip=["03249"] * 2 + ["1010"])
    points = coordinates(table, public=True)
    assert points[0].tolist() == [10, 20]
    assert points[1].tolist() == [43.5475, -71.4072]
    assert np.isnan(points[2]).all()


def test_places_are_rounded_unless_they_are_public():
    table = _table(latitude=["43.5475"], longitude=["-71.4072"])
    assert coordinates(table, public=False).tolist() == [[43.5, -71.4]]
    assert coordinates(table, public=True).tolist() == [[43.5475, -71.4072]]
    assert shown_zip("03249", public=False) == "032"
    assert shown_zip("03249", public=True) == "03249"
    assert [hidden(10, False), hidden(11, False), hidden(10, True)] == [True, False, False]


def test_distances_are_those_of_great_circles():
    places = np.array([[0.0, 0.0], [0.0, 90.0], [90.0, 0.0], [0.0, 180.0]])
    quarter = np.pi / 2 * 6371
    assert distances_km(places[:1], places)[0] == pytest.approx([0, quarter, quarter, 2 * quarter])
    assert np.isnan(distances_km(places[:1], np.array([[np.nan, 0]]))).all()


def test_a_long_list_says_how_many_there_are():
    assert first_few(list("abcdef")) == "a, b, c, d, e, ... (6 in all)"
    assert first_few(["a"]) == "a"
