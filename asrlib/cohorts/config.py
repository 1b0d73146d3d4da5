"""The configuration of cohort discovery, conf/cohorts.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from pydantic import Field

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.numbers import Count, Positive, Share

# Names of methods, in the order in which pages show them; each is a directory of exp/cohorts/.
METHODS = ("tree", "scan", "geodemographic", "automatic", "automatic_measured", "metadata")


@configclass
class TreeConfig:
    """Regions by a tree on latitude and longitude.

    Attributes:
        min_share: least share of the words in a region.
        max_regions: most regions before pruning; 126 as in arXiv 2207.07850.
        folds: number of folds of the cross-validation that prunes the tree.
    """

    min_share: float = Field(default=0.02, ge=0, le=0.5)
    max_regions: int = Field(default=126, ge=2)
    folds: int = Field(default=5, ge=2)


@configclass
class ScanConfig:
    """A circle by Kulldorff's scan statistic.

    Attributes:
        max_share: largest share of the words inside the circle.
        max_centres: most places that are tried as centres; of more, a random sample.
    """

    max_share: float = Field(default=0.5, gt=0, le=0.5)
    max_centres: Positive = 2000


@configclass
class GeodemographicConfig:
    """Two parts of zip codes, by the attribute that most people there share.

    Attributes:
        table: a CSV file with a column of zip codes and a column of shares for each attribute; a
            relative path is below the recipe's directory. None: the method is left out.
        zip_column: the column of zip codes.
        attributes: the columns of shares; empty: all others.
        min_share: least share of the speakers in a part.
        exhaustive: up to this many attributes all partitions are tried; beyond, those that single
            moves reach.
    """

    table: str | None = None
    zip_column: str = "zip"
    attributes: tuple[str, ...] = ()
    min_share: float = Field(default=0.05, ge=0, le=0.5)
    exhaustive: int = Field(default=12, ge=2, le=16)


@configclass
class AutomaticConfig:
    """Clusters of speaker embeddings.

    Attributes:
        clusters: number of clusters; 50 as in arXiv 2207.11345. Several: the one with the lowest
            Poisson deviance on held-out discovery speakers.
        components: most principal components.
        bottom_share, top_share: share of the speakers in the merged bottom and top.
        folds: number of folds that choose the number of clusters.
        measures: columns of data/speakers.tsv that `automatic_measured` appends.
        starts: number of random starts of k-means.
    """

    clusters: tuple[int, ...] = (50,)
    components: Positive = 32
    bottom_share: Share = 0.1
    top_share: Share = 0.1
    folds: int = Field(default=5, ge=2)
    measures: tuple[str, ...] = ("snr_db", "rate_wpm", "level_dbfs")
    starts: Positive = 10


@configclass
class CohortsConfig:
    """conf/cohorts.yaml.

    Attributes:
        methods: the methods to run.
        min_speakers: fewest discovery speakers of a region, circle, part or metadata group.
        permutations: number of permutations behind a p-value; 0: none.
        seed: seed of folds, k-means and permutations.
        exclude_columns: columns that the method `metadata` does not use.
        covariates: columns with numbers that the explanation holds fixed.
    """

    methods: tuple[str, ...] = METHODS
    min_speakers: Positive = 20
    permutations: Count = 199
    seed: Count = 1
    exclude_columns: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ("snr_db", "rate_wpm", "age")
    tree: TreeConfig = field(default_factory=TreeConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    geodemographic: GeodemographicConfig = field(default_factory=GeodemographicConfig)
    automatic: AutomaticConfig = field(default_factory=AutomaticConfig)


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Return the methods in the order of `METHODS`, each once.

    Raises:
        ConfigError: one does not exist.
    """
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"method {method}: unknown", f"choose among {', '.join(METHODS)}")
    return tuple(m for m in METHODS if m in methods)
