"""Equal error rate of dev utterances at each validation of a speaker extractor.

Shapes: N utterances, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asrlib.verification.metrics import det_curve, equal_errors


def eer_of_pairs(
    vectors_ND: np.ndarray, speakers: Sequence[str], sessions: Sequence[str] | None = None
) -> tuple[float, float]:
    """Return the equal error rate over all pairs of utterances, and its threshold.

    The score of a pair is the cosine. As in `asrlib.verification.trials`, two utterances of one
    session are no target trial, because they also share the microphone and the room.

    Args:
        vectors_ND: finite embeddings.
        speakers: the speaker of each.
        sessions: the session of each; None if all differ.

    Raises:
        ValueError: no pair, or every pair, is of one speaker.
    """
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND = vectors_ND / np.maximum(length_N1, 1e-12)
    first, second = np.triu_indices(len(unit_ND), k=1)
    scores = (unit_ND @ unit_ND.T)[first, second]
    names = np.asarray(speakers)
    target = names[first] == names[second]
    if sessions is not None:
        heard = np.asarray(sessions)
        trial = ~(target & (heard[first] == heard[second]))
        scores, target = scores[trial], target[trial]
    curve = det_curve(scores, target)
    if curve is None:
        raise ValueError("the equal error rate needs pairs of one speaker and of two")
    found = equal_errors(curve)
    return found.rate, curve.between(found.index)
