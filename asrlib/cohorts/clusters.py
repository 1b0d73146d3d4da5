"""Clusters of speaker embeddings, after arXiv 2207.11345: no label of the speakers is needed.

Embeddings get unit length, principal components keep most of their variance, k-means clusters
them (with mini-batches beyond 20,000 speakers); the clusters are ranked by error rate and merged
to bottom, middle and top. Measured columns such as the signal-to-noise ratio may be appended.

Shapes: S speakers, D width of an embedding, C principal components, M measured columns, K clusters,
F = C + M features.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA

from asrlib.cohort_file import BOTTOM, TOP
from asrlib.cohorts.config import AutomaticConfig
from asrlib.cohorts.ranking import merge_by_share, sum_groups
from asrlib.cohorts.search import Assignment, Candidate, CannotSearch
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN

_DIGITS = 7  # significant digits of the numbers in definition.json
_BLOCK = 65_536  # embeddings in float64 at a time
_MANY = 20_000  # beyond, a sample fits the components, and k-means takes mini-batches


@dataclass(frozen=True)
class Measure(JsonRecord):
    """A measured column, standardised: (value - mean) / deviation."""

    column: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class ClusterRule(JsonRecord):
    """The nearest centroid among principal components of embeddings and measured columns.

    Attributes:
        mean: mean of the unit-length embeddings (D).
        components: rows of the projection (C, D), scaled.
        measures: columns appended to the C components.
        centroids: cluster centres (K, F).
        cohorts: the cohort of each cluster.
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    measures: tuple[Measure, ...]
    centroids: tuple[tuple[float, ...], ...]
    cohorts: tuple[str, ...]
    kind: Literal["clusters"] = field(default="clusters")

    def assign(self, table: SpeakerTable) -> Assignment:
        """Find the nearest centroid; without an embedding or a measure the cohort is unknown.

        Raises:
            DataError: there are no embeddings, or they have another width.
        """
        if table.vectors_SD is None:
            raise DataError("these cohorts are clusters of embeddings", "give --embeddings")
        if table.vectors_SD.shape[1] != len(self.mean):
            raise DataError(
                f"the embeddings have {table.vectors_SD.shape[1]} numbers, those that the cohorts "
                f"were found with {len(self.mean)}",
                "give embeddings of the same extractor",
            )
        group_S, distance_S, reasons = self.nearest(table)
        return Assignment(
            tuple(self.cohorts[k] if k >= 0 else UNKNOWN for k in group_S),
            tuple(
                {"cluster": int(k), "distance": round(float(d), 4)} if k >= 0 else {}
                for k, d in zip(group_S, distance_S, strict=True)
            ),
            reasons,
        )

    def nearest(self, table: SpeakerTable) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Return each speaker's cluster (-1: unknown), distance, and why it is unknown."""
        reasons = _missing(table, [m.column for m in self.measures])
        known_S = np.array([not reason for reason in reasons], dtype=bool)
        group_S, distance_S = np.full(len(table), -1), np.full(len(table), np.nan)
        if known_S.any():
            features_SF = self.features(table.select(known_S))
            nearest_S = np.zeros(len(features_SF), dtype=np.int64)
            least_S = np.full(len(features_SF), np.inf)
            # One centroid at a time: differences are exact where products of sums are not.
            for k, centroid_F in enumerate(np.array(self.centroids)):
                square_S = ((features_SF - centroid_F) ** 2).sum(axis=1)
                nearest_S[square_S < least_S] = k
                np.minimum(least_S, square_S, out=least_S)
            group_S[known_S], distance_S[known_S] = nearest_S, np.sqrt(least_S)
        return group_S, distance_S, reasons

    def features(self, table: SpeakerTable) -> np.ndarray:
        """Return components and standardised measures (S, F) of speakers that have them all."""
        vectors_SD = vectors_of(table)
        mean_D = np.array(self.mean)
        components_CD = np.array(self.components).reshape(-1, len(mean_D))
        projected_SC = np.empty((len(vectors_SD), len(components_CD)))
        for start in range(0, len(vectors_SD), _BLOCK):
            block = slice(start, start + _BLOCK)
            unit_SD = unit_length(vectors_SD[block]) - mean_D
            # einsum adds up row by row: nobody's features depend on who else is in the table.
            projected_SC[block] = np.einsum("sd,cd->sc", unit_SD, components_CD)
        columns = [(table.numbers(m.column) - m.mean) / m.deviation for m in self.measures]
        return np.column_stack([projected_SC, *columns])


def vectors_of(table: SpeakerTable) -> np.ndarray:
    """Return the embeddings of a table that has some (S, D)."""
    if table.vectors_SD is None:
        raise CannotSearch("There are no embeddings.")
    return table.vectors_SD


def unit_length(vectors_SD: np.ndarray) -> np.ndarray:
    """Divide each vector by its length; float64."""
    vectors_SD = vectors_SD.astype(np.float64)
    return vectors_SD / np.maximum(np.linalg.norm(vectors_SD, axis=1, keepdims=True), 1e-12)


def _missing(table: SpeakerTable, columns: list[str]) -> tuple[str, ...]:
    """Say for each speaker what is missing; "" where nothing is."""
    usable_S = np.isfinite(vectors_of(table)).all(axis=1)
    measured = {name: np.isfinite(table.numbers(name)) for name in columns}
    return tuple(
        "no usable embedding"
        if not usable
        else next(
            (f"no number in {name}" for name, there_S in measured.items() if not there_S[s]), ""
        )
        for s, usable in enumerate(usable_S)
    )


@dataclass(frozen=True)
class _Clustering:
    """A rule whose clusters have no cohorts yet, and the cluster of each speaker."""

    rule: ClusterRule
    group_S: np.ndarray


class ClusterSearch:
    """The search for clusters; k-means sees no errors, so it runs once for each number of clusters.

    Args:
        table: discovery speakers that all have an embedding and the measures.
        measures: columns to append to the principal components.

    Raises:
        CannotSearch: all embeddings are equal.
    """

    def __init__(
        self, table: SpeakerTable, config: AutomaticConfig, measures: tuple[str, ...], seed: int
    ) -> None:
        self._config, self._seed = config, seed
        rule = _projection(table, config, measures, seed)
        features_SF = rule.features(table)
        sizes = sorted({min(k, len(table) // 2) for k in config.clusters})
        if not sizes or sizes[0] < 2:
            raise CannotSearch("There are too few speakers for two clusters.")
        self._clusterings = [self._cluster(rule, features_SF, table, k) for k in sizes]

    def find(self, errors_S: np.ndarray, words_S: np.ndarray) -> Candidate | None:
        """Rank the clusters and merge them; None if all rates are equal."""
        best = self._clusterings[0]
        if len(self._clusterings) > 1:
            deviances = [self._deviance(c.group_S, errors_S, words_S) for c in self._clusterings]
            best = self._clusterings[int(np.argmin(deviances))]
        sums = sum_groups(best.group_S, errors_S, words_S, len(best.rule.centroids))
        names = merge_by_share(sums, self._config.bottom_share, self._config.top_share)
        if BOTTOM not in names or TOP not in names:
            return None
        return Candidate(best.group_S, names, sums, best.rule)

    def rule(self, candidate: Candidate) -> ClusterRule:
        """Return projection and centroids with the cohort of each cluster."""
        return dataclasses.replace(candidate.model, cohorts=candidate.names)

    def _cluster(
        self, rule: ClusterRule, features_SF: np.ndarray, table: SpeakerTable, k: int
    ) -> _Clustering:
        kind = KMeans if len(features_SF) <= _MANY else MiniBatchKMeans
        fitted = kind(k, n_init=self._config.starts, random_state=self._seed).fit(features_SF)
        rule = dataclasses.replace(
            rule, centroids=_rows(fitted.cluster_centers_), cohorts=("",) * k
        )
        return _Clustering(rule, rule.nearest(table)[0])

    def _deviance(self, group_S: np.ndarray, errors_S: np.ndarray, words_S: np.ndarray) -> float:
        """Poisson deviance of held-out speakers' errors under the smoothed rates of the others."""
        folds = self._config.folds
        fold_S = np.random.default_rng(self._seed).permutation(len(group_S)) % folds
        total = 0.0
        for fold in range(folds):
            out_S = fold_S == fold
            sums = sum_groups(
                np.where(out_S, -1, group_S), errors_S, words_S, int(group_S.max()) + 1
            )
            expected = np.maximum(sums.smoothed_K[group_S[out_S]], 1e-6) * words_S[out_S]
            total += poisson_deviance(errors_S[out_S], expected)
        return total


def _projection(
    table: SpeakerTable, config: AutomaticConfig, measures: tuple[str, ...], seed: int
) -> ClusterRule:
    """Fit principal components and standardise measures.

    With measures, the components are scaled so that their variances add up to the number of
    measures: voice and measures then weigh the same in the distances of k-means.
    Of many speakers a random sample gives the components.
    """
    vectors_SD = vectors_of(table)
    if len(table) > _MANY:
        sample = np.random.default_rng(seed).choice(len(table), _MANY, replace=False)
        vectors_SD = vectors_SD[np.sort(sample)]
    unit_SD = unit_length(vectors_SD)
    count = min(config.components, len(table) - 1, unit_SD.shape[1])
    pca = PCA(count, svd_solver="full").fit(unit_SD) if count > 0 else None
    if pca is None or pca.explained_variance_.sum() < 1e-12:
        raise CannotSearch("All speakers have the same embedding.")
    columns = [table.numbers(name) for name in measures]
    standard = tuple(
        Measure(name, _short(values.mean()), _short(values.std()))
        for name, values in zip(measures, columns, strict=True)
        if values.std() > 0
    )
    scale = np.sqrt(len(standard) / pca.explained_variance_.sum()) if standard else 1.0
    return ClusterRule(
        tuple(_short(x) for x in pca.mean_), _rows(scale * pca.components_), standard, (), ()
    )


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(_short(x) for x in row) for row in matrix)


def poisson_deviance(counts: np.ndarray, expected: np.ndarray) -> float:
    """Return the Poisson deviance, twice the sum of y log(y / mu) - (y - mu)."""
    ratio = np.where(counts > 0, counts, 1.0) / expected
    return float(2 * np.sum(np.where(counts > 0, counts * np.log(ratio), 0.0) - counts + expected))
