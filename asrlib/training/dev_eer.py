"""Equal error rate of dev utterances at each validation of a speaker extractor.

Shapes: N utterances, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_curve


def eer_of_pairs(vectors_ND: np.ndarray, speakers: Sequence[str]) -> tuple[float, float]:
    """Return the equal error rate over all pairs of utterances, and its threshold.

    The score of a pair is the cosine. Between two points of the ROC curve, both are interpolated.

    Args:
        vectors_ND: finite embeddings.
        speakers: the speaker of each.

    Raises:
        ValueError: no pair, or every pair, is of one speaker.
    """
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND = vectors_ND / np.maximum(length_N1, 1e-12)
    first, second = np.triu_indices(len(unit_ND), k=1)
    scores = (unit_ND @ unit_ND.T)[first, second]
    names = np.asarray(speakers)
    target = names[first] == names[second]
    if not target.any() or target.all():
        raise ValueError("the equal error rate needs pairs of one speaker and of two")
    alarms, hits, thresholds = roc_curve(target, scores, drop_intermediate=False)
    thresholds[0] = scores.max()  # scikit-learn puts infinity there: nothing is accepted
    gap = alarms + hits - 1.0  # false alarms minus misses, which only rises
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return float(alarms[0]), float(thresholds[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    rate, threshold = (
        values[after - 1] + share * (values[after] - values[after - 1])
        for values in (alarms, thresholds)
    )
    return float(rate), float(threshold)
