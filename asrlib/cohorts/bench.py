"""Time and memory of discovery on many made-up speakers, each part in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from asrlib.cohorts.clusters import ClusterSearch
from asrlib.cohorts.config import AutomaticConfig, TreeConfig
from asrlib.cohorts.table import SpeakerTable
from asrlib.cohorts.tree import TreeSearch
from asrlib.scoring.gaps import Resampling, gap_change
from asrlib.scoring.speaker_sums import SpeakerSums

_WIDTH = 192  # of an embedding of ECAPA-TDNN
_VOICES = 200  # centres around which embeddings lie


@dataclass(frozen=True)
class Cost:
    """What a part cost.

    Attributes:
        seconds: wall-clock time, without making up the speakers.
        memory_mb: largest resident memory of the process, in MiB, with the speakers.
    """

    seconds: float
    memory_mb: float


def measure_discovery(speakers: int, replicates: int, seed: int) -> dict[str, Cost]:
    """Measure each part.

    - `tree`: a tree of at most 126 regions, pruned by 5-fold cross-validation.
    - `clusters`: 192-dimensional embeddings into 50 clusters (mini-batches beyond 20,000
      speakers), ranked and merged, each speaker assigned.
    - `bootstrap`: the change of a gap between two systems with `replicates` draws of speakers.
    """
    parts: dict[str, Callable[[int, int, int], Cost]] = {
        "tree": _tree,
        "clusters": _clusters,
        "bootstrap": _bootstrap,
    }
    costs = {}
    for name, part in parts.items():
        context = multiprocessing.get_context("spawn")  # a new process: its memory is its own
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            costs[name] = pool.submit(part, speakers, replicates, seed).result()
    return costs


def _sums(speakers: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    words_S = rng.integers(50, 150, speakers).astype(np.float64)
    rate_S = 0.1 * rng.gamma(3.0, 1 / 3, speakers)
    return rng.poisson(rate_S * words_S).astype(np.float64), words_S


def _cost(work: Callable[[], object]) -> Cost:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return Cost(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _tree(speakers: int, replicates: int, seed: int) -> Cost:
    rng = np.random.default_rng(seed)
    errors_S, words_S = _sums(speakers, rng)
    points_S2 = rng.uniform([25.0, -120.0], [48.0, -70.0], (speakers, 2))
    # Error rates that vary over the map, so that pruning leaves regions.
    errors_S += rng.poisson(words_S * 0.05 * (np.sin(points_S2 / 3).sum(axis=1) > 0.5))
    search = TreeSearch(points_S2, TreeConfig(), 20, True, seed)
    return _cost(lambda: search.find(errors_S, words_S))


def _clusters(speakers: int, replicates: int, seed: int) -> Cost:
    rng = np.random.default_rng(seed)
    errors_S, words_S = _sums(speakers, rng)
    centres = rng.standard_normal((_VOICES, _WIDTH), dtype=np.float32)
    vectors_SD = rng.standard_normal((speakers, _WIDTH), dtype=np.float32)
    vectors_SD += centres[rng.integers(_VOICES, size=speakers)]
    table = SpeakerTable(tuple(map(str, range(speakers))), {}, vectors_SD)

    def work() -> None:
        ClusterSearch(table, AutomaticConfig(clusters=(50,)), (), seed).find(errors_S, words_S)

    return _cost(work)


def _bootstrap(speakers: int, replicates: int, seed: int) -> Cost:
    rng = np.random.default_rng(seed)
    ids = tuple(f"{s:08d}" for s in range(speakers))
    tenth = speakers // 10
    systems = []
    for _ in range(2):
        errors_S, words_S = _sums(speakers, rng)
        bottom = SpeakerSums(ids[:tenth], errors_S[:tenth], words_S[:tenth])
        systems.append((bottom, SpeakerSums(ids[tenth:], errors_S[tenth:], words_S[tenth:])))
    resampling = Resampling(replicates=replicates, seed=seed)
    return _cost(lambda: gap_change(systems[0], systems[1], resampling))
