"""The equal error rate of all pairs, against a search over every threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from asrlib.training.dev_eer import eer_of_pairs


def searched(vectors_ND: np.ndarray, speakers: list[str]) -> tuple[float, float]:
    """False alarms and misses where they are nearest to each other."""
    scores, target = [], []
    for i, j in itertools.combinations(range(len(speakers)), 2):
        a_D, b_D = vectors_ND[i], vectors_ND[j]
        scores.append(a_D @ b_D / np.linalg.norm(a_D) / np.linalg.norm(b_D))
        target.append(speakers[i] == speakers[j])
    scores, target = np.array(scores), np.array(target)
    rates = [((scores[~target] >= t).mean(), (scores[target] < t).mean()) for t in sorted(scores)]
    return min(rates, key=lambda pair: abs(pair[0] - pair[1]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0])
def test_lies_between_false_alarms_and_misses_where_they_meet(seed, spread):
    rng = np.random.default_rng(seed)
    speakers = [f"s{i % 5}" for i in range(30)]
    centres = rng.standard_normal((5, 4))
    vectors_ND = np.stack([centres[i % 5] for i in range(30)])
    vectors_ND = vectors_ND + spread * rng.standard_normal((30, 4))
    eer, threshold = eer_of_pairs(vectors_ND, speakers)
    alarms, misses = searched(vectors_ND, speakers)
    step = 1 / 75  # of the target pairs, the fewer
    assert min(alarms, misses) - step <= eer <= max(alarms, misses) + step
    assert -1 <= threshold <= 1


def test_speakers_apart_have_no_errors_and_strangers_half():
    vectors_ND = np.repeat(np.eye(3), 4, axis=0)
    eer, threshold = eer_of_pairs(vectors_ND, list("aaaabbbbcccc"))
    assert eer == 0.0
    assert 0.0 < threshold <= 1.0
    rng = np.random.default_rng(1)
    eer, _ = eer_of_pairs(rng.standard_normal((300, 8)), [str(i % 9) for i in range(300)])
    assert 0.47 < eer < 0.53


def test_pairs_of_one_session_are_no_target_trials():
    """Two utterances of one session are alike, two of other sessions of the speaker are not."""
    vectors_ND = np.repeat(np.eye(4), 2, axis=0)
    speakers, sessions = list("aaaabbbb"), [f"session {i // 2}" for i in range(8)]
    assert eer_of_pairs(vectors_ND, speakers)[0] < 0.5
    assert eer_of_pairs(vectors_ND, speakers, sessions)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("speakers", [["a", "a"], ["a", "b"], ["a"]])
def test_no_pair_of_one_kind_is_refused(speakers):
    with pytest.raises(ValueError, match="pairs"):
        eer_of_pairs(np.ones((len(speakers), 3)), speakers)
