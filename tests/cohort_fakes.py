"""Made-up speakers for the tests of asrlib.cohorts."""

import numpy as np

from asrlib.cohorts.config import CohortsConfig
from asrlib.cohorts.find import Settings
from asrlib.cohorts.table import SpeakerTable
from asrlib.scoring.wer import ErrorRate


def people(count, seed=0, prefix="d", times=1.0, dimension=8):
    """Speakers in the United States; around (33, -88) their error rate is `times` higher.

    Returns:
        The table, the errors of each speaker, and who lives there.
    """
    rng = np.random.default_rng(seed)
    latitude, longitude = rng.uniform(25, 48, count), rng.uniform(-120, -70, count)
    there = np.hypot(latitude - 33, longitude + 88) < 6
    words = rng.integers(50, 120, count)
    rate = 0.1 * rng.gamma(3, 1 / 3, count) * np.where(there, times, 1.0)
    errors = rng.poisson(rate * words)
    vectors = rng.normal(size=(count, dimension))
    vectors[there] += 4.0
    columns = {
        "latitude": [f"{x:.4f}" for x in latitude],
        "longitude": [f"{x:.4f}" for x in longitude],
        "gender": rng.choice(["f", "m"], count),
        "age": rng.integers(5, 70, count),
        "snr_db": [f"{x:.1f}" for x in rng.normal(20, 5, count)],
        "group": np.where(there, "planted", "none"),
    }
    names = tuple(f"{prefix}{i:04d}" for i in range(count))
    table = SpeakerTable(names, {k: tuple(map(str, v)) for k, v in columns.items()}, vectors)
    rates = [ErrorRate(0, 0, int(e), int(n)) for e, n in zip(errors, words, strict=True)]
    return table, dict(zip(names, rates, strict=True)), there


def settings(**config):
    """Settings with few permutations and small cohorts."""
    values = {"permutations": 0, "min_speakers": 11, **config}
    return Settings(
        CohortsConfig(**values), columns=("gender", "age"), bands={"age": (10.0, 16.0, 30.0)}
    )
