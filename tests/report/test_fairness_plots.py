"""Drawings about groups of speakers."""

from xml.etree import ElementTree

from asrlib.report.fairness_plots import (
    Change,
    ForestRow,
    GapRow,
    before_after,
    forest,
    found_and_confirmed,
)

GROUPS = [
    ForestRow("rest (3)", 4.0, (2.0, 8.0), [1.0, 4.0, 7.0]),
    ForestRow("noisy homes (1)", 12.0, None, [12.0], worst=True),
]
GAPS = [
    GapRow("scan", 90.0, None, None, None),
    GapRow("tree", 120.0, 40.0, (5.0, 70.0), 30.0),
]
CHANGES = [Change("general data", 4.9, 16.8, control=True), Change("EWC", 5.2, 13.5)]


def texts(svg: str) -> list[str]:
    return [t.text or "" for t in ElementTree.fromstring(svg).findall(".//{*}text")]


def test_every_group_method_and_change_is_named():
    assert {"rest (3)", "noisy homes (1)", "all 6.0"} <= set(texts(forest(GROUPS, 6.0)))
    assert {"general data", "EWC", "start"} <= set(texts(before_after((5.0, 17.0), CHANGES)))


def test_the_legend_names_each_mark_once_even_if_the_first_row_lacks_it():
    shown = texts(found_and_confirmed(GAPS))
    for mark in ("found (discovery", "confirmed (other", "95 % of perm"):
        assert sum(text.startswith(mark) for text in shown) == 1


def test_the_same_data_give_the_same_bytes():
    assert forest(GROUPS, 6.0) == forest(GROUPS, 6.0)
    assert found_and_confirmed(GAPS) == found_and_confirmed(GAPS)
    start, curve = (5.0, 17.0), [(5.0, 17.0), (6.0, 13.0)]
    assert before_after(start, CHANGES, curve) == before_after(start, CHANGES, curve)


def test_one_group_without_speakers_or_errors_is_drawn():
    assert "nobody" in texts(forest([ForestRow("nobody", 0.0, None, [])], 0.0))


def test_an_interval_far_beyond_all_rates_does_not_flatten_the_rest():
    def ticks(svg: str) -> float:
        return max(float(t) for t in texts(svg) if t.replace(".", "").isdigit())

    wide = ForestRow("two people (2)", 10.0, (0.1, 18_000.0), [5.0, 15.0])
    assert ticks(forest([*GROUPS, wide], 6.0)) <= 31
    gap = GapRow("voices", 150.0, 98.0, (-99.0, 330_000.0), 600.0)
    assert ticks(found_and_confirmed([gap])) <= 1300
