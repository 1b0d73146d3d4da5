"""Forced alignment: the most probable frames of given tokens under a CTC layer.

The trellis is that of CTC (Graves et al., ICML 2006): the tokens with a blank before, between and
after them, where a path may leave out a blank between two different tokens. The Viterbi path is the
one of torchaudio's tutorial on forced alignment; torchaudio 0.13 has no function for it.

Shapes: S output frames, V vocabulary, L = 2 U + 1 labels of the trellis, U tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.text.tokenizer import BLANK_ID


@dataclass(frozen=True)
class TokenSpan:
    """Frames of a token: from `start` on, up to but not including `end`."""

    start: int
    end: int


def fewest_frames(tokens: Sequence[int]) -> int:
    """Return the number of frames below which no path exists: equal neighbours need a blank."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def align_tokens(
    log_probs_SV: np.ndarray, tokens: Sequence[int], blank: int = BLANK_ID
) -> tuple[list[TokenSpan], float]:
    """Find the most probable CTC path of the tokens.

    Args:
        log_probs_SV: natural-log probabilities of each frame.
        tokens: the tokens, without blank; at least one.

    Returns:
        The frames of each token, and the natural-log probability of the path.

    Raises:
        ValueError: there is no token, or there are fewer frames than the tokens need.
    """
    if not tokens or len(log_probs_SV) < fewest_frames(tokens):
        raise ValueError(f"{len(tokens)} tokens do not fit in {len(log_probs_SV)} frames")
    labels_L = np.full(2 * len(tokens) + 1, blank)
    labels_L[1::2] = tokens
    emitted_SL = log_probs_SV.astype(np.float64)[:, labels_L]
    can_skip_L = np.zeros(len(labels_L), dtype=bool)
    can_skip_L[3::2] = labels_L[3::2] != labels_L[1:-2:2]
    steps_SL, best_L = _forward(emitted_SL, can_skip_L)
    at = len(labels_L) - 1 if best_L[-1] >= best_L[-2] else len(labels_L) - 2
    score = float(best_L[at])
    path_S = np.empty(len(log_probs_SV), dtype=int)
    for s in range(len(path_S) - 1, -1, -1):
        path_S[s] = at
        at -= steps_SL[s, at]
    spans = []
    for label in range(1, len(labels_L), 2):
        frames = np.flatnonzero(path_S == label)
        spans.append(TokenSpan(int(frames[0]), int(frames[-1]) + 1))
    return spans, score


def _forward(emitted_SL: np.ndarray, can_skip_L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return by how many labels the best path into each cell has moved, and the last scores."""
    best_L = np.full(emitted_SL.shape[1], -np.inf)
    best_L[:2] = emitted_SL[0, :2]
    steps_SL = np.zeros(emitted_SL.shape, dtype=np.int8)
    for s in range(1, len(emitted_SL)):
        from_3L = np.full((3, len(best_L)), -np.inf)
        from_3L[0] = best_L
        from_3L[1, 1:] = best_L[:-1]
        from_3L[2, 2:] = np.where(can_skip_L[2:], best_L[:-2], -np.inf)
        steps_SL[s] = from_3L.argmax(0)
        best_L = from_3L.max(0) + emitted_SL[s]
    return steps_SL, best_L
