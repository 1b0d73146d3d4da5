"""Regions of the embedding space, by k-means on embeddings of unit length.

Shapes: N utterances, D width of an embedding, K regions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

_NONE = -1  # region of an utterance whose embedding is not finite


class Regions:
    """At most K regions of the embedding space, found anew from time to time.

    Numbers of regions keep their meaning from one search to the next, because k-means starts from
    the mean of the new embeddings of each region's former members. So what is learned about a
    region stays with it, even if training has turned the embedding space.

    Args:
        count: K.
        seed: seed of the first search.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.centroids_KD: Tensor | None = None
        self.members_N = torch.empty(0, dtype=torch.long)

    def search(self, vectors_ND: Tensor) -> None:
        """Find the regions of these embeddings, which belong to the same utterances each time.

        Embeddings that are not finite are left out with a warning. If there are fewer different
        embeddings than K, there are only as many regions. If no embedding is finite, the regions
        do not change.
        """
        finite_N = torch.isfinite(vectors_ND).all(dim=1).cpu()
        if not finite_N.all():
            lost = int((~finite_N).sum())
            logger.warning("regions: %d of %d embeddings are not finite", lost, len(finite_N))
        if not finite_N.any():
            logger.warning("regions: no embedding is finite, so the regions remain as they were")
            return
        unit_ND = functional.normalize(vectors_ND.cpu()[finite_N].double(), dim=1).numpy()
        count = min(self.count, len(np.unique(unit_ND, axis=0)))
        if count < self.count:
            logger.warning("regions: %d different embeddings for %d regions", count, self.count)
        start_KD = self._start(unit_ND, finite_N, count)
        means = KMeans(
            count,
            init="k-means++" if start_KD is None else start_KD,
            n_init=10 if start_KD is None else 1,
            random_state=self.seed,
        )
        with threadpool_limits(1):  # sums over several threads differ from run to run
            means.fit(unit_ND)
        self.centroids_KD = torch.from_numpy(means.cluster_centers_).float()
        self.members_N = torch.full((len(finite_N),), _NONE)
        self.members_N[finite_N] = torch.from_numpy(means.labels_).long()
        logger.info("regions: %s embeddings", " ".join(str(n) for n in self.counts().tolist()))

    def _start(self, unit_MD: np.ndarray, finite_N: Tensor, count: int) -> np.ndarray | None:
        """Return the first centroids of k-means; None if there were other regions or none."""
        if self.centroids_KD is None or len(self.centroids_KD) != count:
            return None
        if len(self.members_N) != len(finite_N):
            return None
        start_KD = self.centroids_KD.double().numpy().copy()
        former_M = self.members_N[finite_N].numpy()
        for region in range(count):
            if (former_M == region).any():
                start_KD[region] = unit_MD[former_M == region].mean(axis=0)
        return start_KD

    def counts(self) -> Tensor:
        """Return the number of embeddings of the last search in each of K regions (K)."""
        members_M = self.members_N[self.members_N != _NONE]
        return torch.bincount(members_M, minlength=self.count)

    def assign(self, vectors_XD: Tensor) -> Tensor:
        """Return the region of each embedding, which is that of the nearest centroid.

        Before the first search, all embeddings are in region 0.

        Args:
            vectors_XD: embeddings with any number of axes before the last.

        Returns:
            Numbers of regions, with the same axes.
        """
        if self.centroids_KD is None:
            return torch.zeros(vectors_XD.shape[:-1], dtype=torch.long, device=vectors_XD.device)
        centroids_KD = self.centroids_KD.to(vectors_XD)
        unit_XD = functional.normalize(vectors_XD, dim=-1)
        # |u - c|^2 = |u|^2 - 2 u c + |c|^2
        return (centroids_KD.square().sum(1) - 2.0 * unit_XD @ centroids_KD.T).argmin(dim=-1)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"centroids": self.centroids_KD, "members": self.members_N}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.centroids_KD, self.members_N = state["centroids"], state["members"]
