"""Regions by a regression tree on latitude and longitude, after arXiv 2207.07850.

scikit-learn grows the tree: each split lowers the variance of error rates most, weighted by words.
Cross-validation over speakers chooses how far it is pruned. The paper's abstract gives neither the
criterion nor the pruning; both are our choice.

Shapes: S speakers, N nodes of a tree, A pruning strengths.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from asrlib.cohort_file import BOTTOM, TOP
from asrlib.cohorts.config import TreeConfig
from asrlib.cohorts.places import coordinates
from asrlib.cohorts.ranking import sum_groups
from asrlib.cohorts.search import Assignment, Candidate
from asrlib.cohorts.table import SpeakerTable
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN

AXES = ("latitude", "longitude")


@dataclass(frozen=True)
class TreeNode(JsonRecord):
    """A node of the tree.

    Attributes:
        axis: `latitude` or `longitude`; None at a leaf.
        threshold: speakers with a coordinate of at most this go left; degrees.
        left, right: numbers of the child nodes.
        cohort: the region, at a leaf.
    """

    axis: Literal["latitude", "longitude"] | None = None
    threshold: float | None = None
    left: int | None = None
    right: int | None = None
    cohort: str | None = None


@dataclass(frozen=True)
class TreeRule(JsonRecord):
    """Regions as a tree of thresholds; node 0 is the root.

    Attributes:
        public: whether exact coordinates are used; else they are rounded to 0.1 degree.
    """

    nodes: tuple[TreeNode, ...]
    public: bool
    kind: Literal["tree"] = field(default="tree")

    def assign(self, table: SpeakerTable) -> Assignment:
        """Follow the thresholds; without coordinates the region is unknown."""
        points_S2 = coordinates(table, self.public)
        known_S = ~np.isnan(points_S2[:, 0])
        # scikit-learn compares 32-bit coordinates with 64-bit thresholds.
        leaf_S = self._leaves(points_S2.astype(np.float32))
        return Assignment(
            tuple(
                self.nodes[leaf].cohort or UNKNOWN if known else UNKNOWN
                for leaf, known in zip(leaf_S, known_S, strict=True)
            ),
            tuple(place_used(point) for point in points_S2),
            tuple("" if known else "no coordinates" for known in known_S),
        )

    def _leaves(self, points_S2: np.ndarray) -> np.ndarray:
        at_S = np.zeros(len(points_S2), dtype=np.int64)
        # A child has a larger number than its parent, so one pass in order reaches all leaves.
        for number, node in enumerate(self.nodes):
            if node.axis is None or node.threshold is None:
                continue
            here_S = at_S == number
            low_S = points_S2[:, AXES.index(node.axis)] <= node.threshold
            at_S[here_S & low_S] = node.left
            at_S[here_S & ~low_S] = node.right
        return at_S


def place_used(point: np.ndarray) -> dict[str, Any]:
    """Return a speaker's coordinates for cohorts.jsonl; nothing if they are unknown."""
    return {} if np.isnan(point[0]) else dict(zip(AXES, map(float, point), strict=True))


@dataclass(frozen=True)
class TreeSearch:
    """The search for regions.

    Attributes:
        points_S2: latitude and longitude in degrees, none NaN, rounded unless `public`.
        min_speakers: fewest speakers of a region.
    """

    points_S2: np.ndarray
    config: TreeConfig
    min_speakers: int
    public: bool
    seed: int

    def find(self, errors_S: np.ndarray, words_S: np.ndarray) -> Candidate | None:
        """Grow, prune and rank; None if the pruned tree has one region."""
        tree = self._prune(errors_S / words_S, words_S)
        leaves = np.flatnonzero(_nodes(tree).children_left < 0)
        if len(leaves) < 2:
            return None
        group_S = np.searchsorted(leaves, tree.apply(self.points_S2))
        sums = sum_groups(group_S, errors_S, words_S, len(leaves))
        if np.ptp(sums.smoothed_K) == 0:
            return None
        order = np.argsort(-sums.smoothed_K, kind="stable")
        names = [""] * len(leaves)
        for rank, k in enumerate(order, 1):
            names[k] = f"region_{rank:03d}"
        names[order[0]], names[order[-1]] = BOTTOM, TOP
        return Candidate(group_S, tuple(names), sums, tree)

    def rule(self, candidate: Candidate) -> TreeRule:
        """Write the tree as thresholds, without parts whose regions have one name."""
        tree = _nodes(candidate.model)
        leaf_names = iter(candidate.names)
        nodes = []
        for n in range(tree.node_count):
            if tree.children_left[n] < 0:
                nodes.append(TreeNode(cohort=next(leaf_names)))
            else:
                nodes.append(
                    TreeNode(
                        axis=AXES[tree.feature[n]],
                        threshold=float(tree.threshold[n]),
                        left=int(tree.children_left[n]),
                        right=int(tree.children_right[n]),
                    )
                )
        return TreeRule(tuple(nodes), self.public)

    def _grow(
        self, keep: np.ndarray | slice, rate_S: np.ndarray, words_S: np.ndarray, pruning: float
    ) -> DecisionTreeRegressor:
        tree = DecisionTreeRegressor(
            min_samples_leaf=self.min_speakers,
            min_weight_fraction_leaf=self.config.min_share,
            max_leaf_nodes=self.config.max_regions,
            ccp_alpha=pruning,
            random_state=self.seed,
        )
        return tree.fit(self.points_S2[keep], rate_S[keep], sample_weight=words_S[keep])

    def _prune(self, rate_S: np.ndarray, words_S: np.ndarray) -> DecisionTreeRegressor:
        """Grow the tree whose pruning strength predicts the rates of held-out speakers best."""
        full = self._grow(slice(None), rate_S, words_S, 0.0)
        steps = np.unique(weakest_links(full))
        steps = np.maximum(steps[np.isfinite(steps)], 0.0)
        if not len(steps):
            return full
        # Between two steps the tree is the same; CART tries the geometric middle of each pair.
        tried_A = np.sqrt(steps * np.append(steps[1:], steps[-1] * 4))
        fold_S = np.random.default_rng(self.seed).permutation(len(rate_S)) % self.config.folds
        loss_A = np.zeros(len(tried_A))
        for fold in range(self.config.folds):
            out_S = fold_S == fold
            if out_S.all() or not out_S.any():
                continue
            tree = self._grow(~out_S, rate_S, words_S, 0.0)
            loss_A += _losses(tree, self.points_S2[out_S], rate_S[out_S], words_S[out_S], tried_A)
        best = len(loss_A) - 1 - int(np.argmin(loss_A[::-1]))  # the smallest of equal trees
        return self._grow(slice(None), rate_S, words_S, float(tried_A[best]))


def _nodes(tree: DecisionTreeRegressor) -> Any:
    """Return the arrays of a fitted tree, whose names the compiled class does not declare."""
    return tree.tree_


def _losses(
    tree: DecisionTreeRegressor,
    points_S2: np.ndarray,
    rate_S: np.ndarray,
    words_S: np.ndarray,
    pruning_A: np.ndarray,
) -> np.ndarray:
    """Return the word-weighted squared error of the tree at each pruning strength."""
    collapse_N = weakest_links(tree)
    value_N = _nodes(tree).value[:, 0, 0]
    leaf_S = tree.apply(points_S2)
    losses = []
    for pruning in pruning_A:
        at_N = _pruned_leaves(tree, collapse_N <= pruning)
        losses.append(np.sum(words_S * (rate_S - value_N[at_N[leaf_S]]) ** 2))
    return np.array(losses)


def _pruned_leaves(tree: DecisionTreeRegressor, collapsed_N: np.ndarray) -> np.ndarray:
    """Return for each node the node that stands for it: its topmost collapsed ancestor."""
    left_N, right_N = _nodes(tree).children_left, _nodes(tree).children_right
    at_N = np.arange(len(left_N))
    for n in np.flatnonzero(left_N >= 0):  # parents before children
        if collapsed_N[n] or at_N[n] != n:
            at_N[left_N[n]] = at_N[right_N[n]] = at_N[n]
    return at_N


def weakest_links(tree: DecisionTreeRegressor) -> np.ndarray:
    """Return the pruning strength from which on each inner node is a leaf (N,); infinite at leaves.

    This is the weakest-link pruning of Breiman et al. (1984), which scikit-learn does too, but for
    one strength at a time with a tree grown anew.
    """
    t = _nodes(tree)
    left_N, right_N = t.children_left, t.children_right
    cost_N = t.impurity * t.weighted_n_node_samples / t.weighted_n_node_samples[0]
    collapse_N = np.full(t.node_count, np.inf)
    open_N = left_N >= 0
    strength = 0.0
    while open_N[0]:
        below_N, leaves_N = cost_N.copy(), np.ones(t.node_count)
        for n in np.flatnonzero(open_N)[::-1]:  # children before parents
            below_N[n] = below_N[left_N[n]] + below_N[right_N[n]]
            leaves_N[n] = leaves_N[left_N[n]] + leaves_N[right_N[n]]
        inner = np.flatnonzero(open_N)
        gain = (cost_N[inner] - below_N[inner]) / (leaves_N[inner] - 1)
        weakest = inner[np.argmin(gain)]
        strength = max(strength, float(gain.min()))
        for n in _subtree(weakest, left_N, right_N):
            if open_N[n]:
                collapse_N[n], open_N[n] = strength, False
    return collapse_N


def _subtree(root: int, left_N: np.ndarray, right_N: np.ndarray) -> list[int]:
    nodes = [root]
    for n in nodes:
        if left_N[n] >= 0:
            nodes += [left_N[n], right_N[n]]
    return nodes
