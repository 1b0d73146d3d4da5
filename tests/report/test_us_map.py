"""The map of the USA."""

import re
from xml.etree import ElementTree

import pytest

from asrlib.report.us_map import Dot, outlines, project, us_map


def inside(path: str, x: float, y: float) -> bool:
    """Whether a point lies in the rings of a path, by the even-odd rule."""
    hit = False
    for ring in re.findall(r"M([^Z]*)Z", path):
        points = [tuple(map(float, p.split(","))) for p in ring.split("L")]
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
                hit = not hit
    return hit


@pytest.mark.parametrize(
    ("state", "latitude", "longitude"),
    [
        ("Colorado", 39.0, -105.5),
        ("Maine", 45.3, -69.2),
        ("Florida", 28.1, -81.6),
        ("California", 37.2, -119.3),
        ("Alaska", 64.8, -152.5),
        ("Hawaii", 19.6, -155.5),
        ("Texas", 26.4, -98.2),
    ],
)
def test_a_point_is_drawn_in_its_own_state_only(state, latitude, longitude):
    point = project(latitude, longitude)
    assert point is not None
    assert [name for name, path in outlines().items() if inside(path, *point)] == [state]


@pytest.mark.parametrize(("latitude", "longitude"), [(51.5, -0.1), (-33.9, 151.2), (19.4, -99.1)])
def test_places_outside_are_not_drawn(latitude, longitude):
    point = project(latitude, longitude)
    assert point is None or not any(inside(path, *point) for path in outlines().values())


def test_the_map_is_well_formed_and_has_a_dot_for_each_place_inside():
    dots = [Dot(39.0, -105.5, 3, "#123456", "a < b"), Dot(51.5, -0.1, 3, "#123456", "London")]
    svg = ElementTree.fromstring(us_map(dots, "Two places"))
    circles = svg.findall(".//{*}circle")
    assert len(circles) == 1
    assert circles[0][0].text == "a < b"
