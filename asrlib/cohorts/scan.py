"""A circle of high error rate by Kulldorff's circular scan statistic (1997).

Every circle around a speaker's place, up to a largest share of the words, is compared with the rest
by the likelihood ratio of Poisson counts with words as exposure. Errors of one speaker come in
clusters, so the ratio has no chi-squared distribution; its p-value comes from permutations.

Shapes: S speakers, P different places, C centres, B centres of a block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from asrlib.cohort_file import BOTTOM, TOP
from asrlib.cohorts.config import ScanConfig
from asrlib.cohorts.places import coordinates, distances_km, unique_places
from asrlib.cohorts.ranking import sum_groups
from asrlib.cohorts.search import Assignment, Candidate
from asrlib.cohorts.table import SpeakerTable
from asrlib.cohorts.tree import place_used
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN

_BLOCK_CELLS = 4_000_000  # distances held at a time; 32 MB each for a few arrays
_KEPT_CELLS = 20_000_000  # orders of places kept between permutations; 4 bytes each


@dataclass(frozen=True)
class CircleRule(JsonRecord):
    """A circle on the globe: inside is `bottom`, outside `top`.

    Attributes:
        latitude, longitude: the centre, in degrees.
        radius_km: great-circle distance up to which a speaker is inside.
        public: whether exact coordinates are used; else they are rounded to 0.1 degree.
    """

    latitude: float
    longitude: float
    radius_km: float
    public: bool
    kind: Literal["circle"] = field(default="circle")

    def assign(self, table: SpeakerTable) -> Assignment:
        """Compare distances with the radius; without coordinates the cohort is unknown."""
        points_S2 = coordinates(table, self.public)
        centre_12 = np.array([[self.latitude, self.longitude]])
        distance_S = distances_km(centre_12, points_S2)[0]
        known_S = ~np.isnan(distance_S)
        return Assignment(
            tuple(
                (BOTTOM if km <= self.radius_km else TOP) if known else UNKNOWN
                for km, known in zip(distance_S, known_S, strict=True)
            ),
            tuple(
                {**place_used(point), "distance_km": round(float(km), 1)} if known else {}
                for point, km, known in zip(points_S2, distance_S, known_S, strict=True)
            ),
            tuple("" if known else "no coordinates" for known in known_S),
        )


@dataclass(frozen=True)
class _Circle:
    """A circle around a place; its radius lies between the last place inside and the next."""

    centre: int
    radius_km: float
    inside_P: np.ndarray


@dataclass(frozen=True)
class _Nearest:
    """The places nearest to each centre of a block.

    Attributes:
        centres_B: the places that are centres.
        order_BP: all places, from the nearest to the farthest.
        ends_BP: whether a circle can end after this place: the next one is farther away.
    """

    centres_B: np.ndarray
    order_BP: np.ndarray
    ends_BP: np.ndarray


class ScanSearch:
    """The search for a circle.

    Args:
        points_S2: latitude and longitude in degrees, none NaN, rounded unless `public`.
        min_speakers: fewest speakers inside.
    """

    def __init__(
        self, points_S2: np.ndarray, config: ScanConfig, min_speakers: int, public: bool, seed: int
    ) -> None:
        self._places_P2, self._index_S = unique_places(points_S2)
        self._config, self._min_speakers, self._public = config, min_speakers, public
        P = len(self._places_P2)
        self._speakers_P = np.bincount(self._index_S, minlength=P)
        self._centres_C = np.arange(P)
        if config.max_centres < P:
            rng = np.random.default_rng(seed)
            self._centres_C = np.sort(rng.choice(P, config.max_centres, replace=False))
        rows = max(1, _BLOCK_CELLS // P)
        self._blocks = [self._centres_C[i : i + rows] for i in range(0, len(self._centres_C), rows)]
        keep = len(self._centres_C) * P <= _KEPT_CELLS
        self._kept = [self._nearest(block) for block in self._blocks] if keep else None

    def find(self, errors_S: np.ndarray, words_S: np.ndarray) -> Candidate | None:
        """Find the circle of the largest likelihood ratio; None if none is worse than the rest."""
        P = len(self._places_P2)
        errors_P = np.bincount(self._index_S, errors_S, minlength=P)
        words_P = np.bincount(self._index_S, words_S, minlength=P)
        best: tuple[float, int, int] = (0.0, -1, -1)
        for near in self._kept or map(self._nearest, self._blocks):
            ratio_BP = self._ratios(near, errors_P, words_P)
            b, last = np.unravel_index(int(np.argmax(ratio_BP)), ratio_BP.shape)
            if ratio_BP[b, last] > best[0]:
                best = (float(ratio_BP[b, last]), int(near.centres_B[b]), int(last))
        if best[1] < 0:
            return None
        circle = self._circle(best[1], best[2])
        group_S = np.where(circle.inside_P[self._index_S], 0, 1)
        sums = sum_groups(group_S, errors_S, words_S, 2)
        return Candidate(group_S, (BOTTOM, TOP), sums, circle, statistic=best[0])

    def rule(self, candidate: Candidate) -> CircleRule:
        """Return the circle as numbers."""
        circle: _Circle = candidate.model
        latitude, longitude = map(float, self._places_P2[circle.centre])
        return CircleRule(latitude, longitude, circle.radius_km, self._public)

    def _nearest(self, centres_B: np.ndarray) -> _Nearest:
        distance_BP = distances_km(self._places_P2[centres_B], self._places_P2)
        order_BP = np.argsort(distance_BP, axis=1, kind="stable").astype(np.int32)
        sorted_BP = np.take_along_axis(distance_BP, order_BP, axis=1)
        ends_BP = np.ones(order_BP.shape, dtype=bool)
        ends_BP[:, :-1] = np.diff(sorted_BP, axis=1) > 1e-6  # equally far: a millimetre
        return _Nearest(centres_B, order_BP, ends_BP)

    def _ratios(self, near: _Nearest, errors_P: np.ndarray, words_P: np.ndarray) -> np.ndarray:
        """Return the log likelihood ratio of every circle of a block; 0 for circles not allowed."""
        errors, words = errors_P.sum(), words_P.sum()
        inside_BP = np.cumsum(errors_P[near.order_BP], axis=1)
        exposed_BP = np.cumsum(words_P[near.order_BP], axis=1)
        speakers_BP = np.cumsum(self._speakers_P[near.order_BP], axis=1)
        allowed_BP = (
            near.ends_BP
            & (speakers_BP >= self._min_speakers)
            & (exposed_BP <= self._config.max_share * words)
            & (inside_BP * words > errors * exposed_BP)  # worse than the rest
        )
        ratio_BP = np.zeros(inside_BP.shape)
        c, share = inside_BP[allowed_BP], exposed_BP[allowed_BP] / words
        ratio_BP[allowed_BP] = poisson_ratio(c, errors, share)
        return ratio_BP

    def _circle(self, centre: int, last: int) -> _Circle:
        distance_P = distances_km(self._places_P2[[centre]], self._places_P2)[0]
        order_P = np.argsort(distance_P, kind="stable")
        inside_P = np.zeros(len(distance_P), dtype=bool)
        inside_P[order_P[: last + 1]] = True
        # max_share keeps a place outside, so that there is a next one.
        radius = (distance_P[order_P[last]] + distance_P[order_P[last + 1]]) / 2
        return _Circle(centre, float(radius), inside_P)


def poisson_ratio(inside: np.ndarray, errors: float, share: np.ndarray) -> np.ndarray:
    """Return Kulldorff's log likelihood ratio.

    Args:
        inside: errors inside each circle.
        errors: errors in all.
        share: share of the words inside, between 0 and 1.
    """
    outside = errors - inside
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.where(outside > 0, outside * np.log(outside / (errors * (1 - share))), 0.0)
        return inside * np.log(inside / (errors * share)) + out
