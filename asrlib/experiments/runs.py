"""Everything scored that lies in exp/."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib.scoring.compare import Decoding
from asrlib.scoring.score import SCORES_FILE, Scores

_SEED = re.compile(r"^(?P<family>.+)_seed(?P<seed>\d+)$")


@dataclass(frozen=True)
class Run:
    """One scored decode directory.

    Attributes:
        name: the model's directory under exp/.
        family: its name without `_seedN`.
        seed: N, or None.
        scores: what stands in scores.json.
    """

    name: str
    family: str
    seed: int | None
    test_set: str
    search: str
    decoding: Decoding
    scores: Scores


def run_name(model: str, tag: str = "", seed: int | None = None) -> str:
    """Directory under exp/ of a training: steps/run_name.sh gives the same.

    >>> run_name("sts/single", "cmp", 2)
    'sts_single_cmp_seed2'
    """
    family = model.replace("/", "_") + (f"_{tag}" if tag else "")
    return family if seed is None else f"{family}_seed{seed}"


def split_seed(name: str) -> tuple[str, int | None]:
    """Family and seed of a model's name.

    >>> split_seed("lstm_seed2"), split_seed("lstm")
    (('lstm', 2), ('lstm', None))
    """
    match = _SEED.match(name)
    return (match["family"], int(match["seed"])) if match else (name, None)


def collect_runs(exp: Path) -> list[Run]:
    """All scored runs, in order of test set, family, search and seed.

    Raises:
        DataError: scores are broken or of another version; names the file.
    """
    runs = []
    for path in sorted(exp.glob(f"*/decode_*/{SCORES_FILE}")):
        scores = Scores.from_file(path, "score again with --force")
        name = path.parent.parent.name
        family, seed = split_seed(name)
        meta, decoding = scores.meta, Decoding(path.parent)
        runs.append(Run(name, family, seed, meta.set, meta.search, decoding, scores))
    return sorted(runs, key=lambda r: (r.test_set, r.family, r.search, r.seed or 0, r.name))


def of_set(runs: Sequence[Run], test_set: str) -> list[Run]:
    return [r for r in runs if r.test_set == test_set]


def systems(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Runs by (family, search): those of one list differ in their seed only.

    A training without a seed in its name, beside some with one, may have been made otherwise.
    """
    seeded = {(run.family, run.search) for run in runs if run.seed is not None}
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        alone = run.seed is None and (run.family, run.search) in seeded
        family = f"{run.family} (no seed)" if alone else run.family
        grouped.setdefault((family, run.search), []).append(run)
    return grouped


def representatives(runs: Sequence[Run]) -> dict[str, Run]:
    """One run a system, the lowest seed, by a label that tells it apart from the others."""
    chosen = {key: members[0] for key, members in systems(runs).items()}
    several = len({search for _, search in chosen}) > 1
    return {
        f"{run.name}, {search}" if several else run.name: run for (_, search), run in chosen.items()
    }
