"""A map of the USA as inline SVG: outlines of the states, and cells coloured by a rate.

The outlines come from us-atlas (see us_atlas/README.md). They are already projected by d3-geo's
composite projection `geoAlbersUsa`: Albers' equal-area conic projection, with Alaska (at 0.35 of
the scale) and Hawaii moved below the mainland. `project` computes the same for other points.
"""

from __future__ import annotations

import functools
import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT = 975, 610  # the size of the outlines, in SVG units
_SCALE, _TRANSLATE = 1300.0, (487.5, 305.0)
_ATLAS = Path(__file__).parent / "us_atlas" / "states-albers-10m.json"


@dataclass(frozen=True)
class Dot:
    """A circle on the map.

    Attributes:
        latitude, longitude: its centre, in degrees.
        radius: in SVG units; the map is 975 units wide.
        colour: fill colour.
        label: text that is shown when a pointer rests on it.
    """

    latitude: float
    longitude: float
    radius: float
    colour: str
    label: str


@dataclass(frozen=True)
class _Conic:
    """Albers' equal-area conic projection as in d3-geo's `geoConicEqualArea`.

    Attributes:
        parallels: the two standard parallels, degrees.
        meridian: the central meridian, degrees east.
        centre: (longitude relative to the meridian, latitude) that is drawn at `at`, degrees.
        scale: factor of the raw projection.
        at: SVG coordinates of the centre.
    """

    parallels: tuple[float, float]
    meridian: float
    centre: tuple[float, float]
    scale: float
    at: tuple[float, float]

    def __call__(self, latitude: float, longitude: float) -> tuple[float, float]:
        turned = (longitude - self.meridian + 180) % 360 - 180
        x, y = self._raw(turned, latitude)
        x0, y0 = self._raw(*self.centre)
        return self.at[0] + self.scale * (x - x0), self.at[1] - self.scale * (y - y0)

    def _raw(self, longitude: float, latitude: float) -> tuple[float, float]:
        first, second = (math.sin(math.radians(p)) for p in self.parallels)
        n = (first + second) / 2
        c = 1 + first * (2 * n - first)
        radius = math.sqrt(c - 2 * n * math.sin(math.radians(latitude))) / n
        angle = n * math.radians(longitude)
        return radius * math.sin(angle), math.sqrt(c) / n - radius * math.cos(angle)


def _moved(x: float, y: float) -> tuple[float, float]:
    return _TRANSLATE[0] + x * _SCALE, _TRANSLATE[1] + y * _SCALE


_MAINLAND = _Conic((29.5, 45.5), -96.0, (-0.6, 38.7), _SCALE, _TRANSLATE)
_ALASKA = _Conic((55.0, 65.0), -154.0, (-2.0, 58.5), 0.35 * _SCALE, _moved(-0.307, 0.201))
_HAWAII = _Conic((8.0, 18.0), -157.0, (-3.0, 19.9), _SCALE, _moved(-0.205, 0.212))


def project(latitude: float, longitude: float) -> tuple[float, float] | None:
    """Project a point to SVG coordinates, as `geoAlbersUsa` does.

    Returns:
        (x, y), or None if the point lies outside the 50 states' frames.
    """
    frames = (
        (_MAINLAND, (-0.455, -0.238), (0.455, 0.238)),
        (_ALASKA, (-0.425, 0.120), (-0.214, 0.234)),
        (_HAWAII, (-0.214, 0.166), (-0.115, 0.234)),
    )
    for projection, low, high in frames:
        x, y = projection(latitude, longitude)
        (left, top), (right, bottom) = _moved(*low), _moved(*high)
        if left <= x <= right and top <= y <= bottom:
            return x, y
    return None


@functools.cache
def outlines() -> dict[str, str]:
    """Return the outline of each state as the `d` attribute of an SVG path."""
    atlas = json.loads(_ATLAS.read_text(encoding="utf-8"))
    arcs = [_decoded(arc, atlas["transform"]) for arc in atlas["arcs"]]
    paths = {}
    for state in atlas["objects"]["states"]["geometries"]:
        polygons = state["arcs"] if state["type"] == "MultiPolygon" else [state["arcs"]]
        rings = (_ring(ring, arcs) for polygon in polygons for ring in polygon)
        paths[state["properties"]["name"]] = "".join(_path(ring) for ring in rings)
    return paths


def _decoded(arc: Sequence[Sequence[int]], transform: dict) -> list[tuple[float, float]]:
    """Undo TopoJSON's delta encoding and quantisation of an arc."""
    (kx, ky), (tx, ty) = transform["scale"], transform["translate"]
    x = y = 0
    points = []
    for dx, dy in arc:
        x, y = x + dx, y + dy
        points.append((x * kx + tx, y * ky + ty))
    return points


def _ring(numbers: Iterable[int], arcs: Sequence[list[tuple[float, float]]]) -> list:
    """Join arcs to a ring; TopoJSON writes arc n backwards as ~n."""
    points: list[tuple[float, float]] = []
    for number in numbers:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        points += arc[1 if points else 0 :]
    return points


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Write a ring at a tenth of a unit, without points that this makes equal to the one before."""
    rounded = [f"{x:.1f},{y:.1f}" for x, y in points]
    kept = [p for i, p in enumerate(rounded) if i == 0 or p != rounded[i - 1]]
    return f"M{'L'.join(kept)}Z" if len(kept) > 3 else ""


def us_map(dots: Iterable[Dot], title: str) -> str:
    """Draw the states and the dots that lie in them.

    Args:
        dots: circles, drawn in the given order; those outside the USA are left out.
        title: what the picture shows, for readers who cannot see it.

    Returns:
        An <svg> element whose colours follow the page's light or dark scheme.
    """
    states = "".join(f'<path d="{d}"/>' for d in outlines().values())
    circles = []
    for dot in dots:
        place = project(dot.latitude, dot.longitude)
        if place is None:
            continue
        circles.append(
            f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{dot.radius:.1f}" '
            f'fill="{html.escape(dot.colour)}"><title>{html.escape(dot.label)}</title></circle>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" class="drawing" '
        f'width="{WIDTH}" height="{HEIGHT}"><title>{html.escape(title)}</title>'
        f'<g fill="var(--land)" stroke="var(--paper)">{states}</g>'
        f'<g fill-opacity="0.85">{"".join(circles)}</g></svg>'
    )
