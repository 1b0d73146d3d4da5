"""Everything scored that lies in exp/."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from asrlib.errors import DataError
from asrlib.experiments.run_record import RUN_FILE, RunRecord, read_record
from asrlib.experiments.run_scores import MAIN_PLAN
from asrlib.experiments.store import Skipped
from asrlib.experiments.systems import group_systems
from asrlib.json_record import JsonRecord
from asrlib.scoring.compare import SystemDecoding
from asrlib.scoring.score import SCORES_FILE, Scores

RecordT = TypeVar("RecordT", bound=JsonRecord)


class HasRecord(Protocol):
    """A scored decode of either kind."""

    @property
    def name(self) -> str: ...

    @property
    def record(self) -> RunRecord | None: ...


@dataclass(frozen=True)
class Run:
    """One scored decode directory.

    Attributes:
        name: the model's directory under exp/.
        record: what the run is; None of one that left no record.
        search: name of the search, and what the model was told about cohorts (`DecodeMeta.way`).
        scores: what stands in scores.json.
    """

    name: str
    record: RunRecord | None
    test_set: str
    search: str
    decoding: SystemDecoding
    scores: Scores


def run_name(model: str, tag: str = "", seed: int | None = None) -> str:
    """Directory under exp/ of a training: steps/run_name.sh gives the same.

    >>> run_name("sts/single", "cmp", 2)
    'sts_single_cmp_seed2'
    """
    family = model.replace("/", "_") + (f"_{tag}" if tag else "")
    return family if seed is None else f"{family}_seed{seed}"


def record_in(model_dir: Path) -> RunRecord | None:
    """The record of exp/NAME; None where the training left none.

    Raises:
        DataError: it is broken, or of another version.
    """
    return read_record(model_dir) if (model_dir / RUN_FILE).exists() else None


def plan_of(run: HasRecord) -> str:
    """The plan that a run belongs to."""
    return (run.record and run.record.plan) or MAIN_PLAN


def collect_runs(exp: Path) -> tuple[list[Run], list[Skipped]]:
    """All scored runs, in order of test set, name and search; and what cannot be read."""
    found, skipped = scored_decodes(exp, SCORES_FILE, Scores)
    runs = [
        Run(
            folder.parent.name,
            record,
            scores.meta.set,
            scores.meta.way,
            SystemDecoding(folder),
            scores,
        )
        for folder, record, scores in found
    ]
    return sorted(runs, key=lambda r: (r.test_set, r.name, r.search)), skipped


def scored_decodes(
    exp: Path, file: str, kind: type[RecordT]
) -> tuple[list[tuple[Path, RunRecord | None, RecordT]], list[Skipped]]:
    """Read the scores of all decodes; and what cannot be read.

    Args:
        file: name of the scores in a decode directory.
        kind: what they are.

    Returns:
        Decode directory, record of the training and scores of each, in order of path.
    """
    found: list[tuple[Path, RunRecord | None, RecordT]] = []
    skipped = []
    for path in sorted(exp.glob(f"*/decode_*/{file}")):
        folder = path.parent
        try:
            record = record_in(folder.parent)
            found.append((folder, record, kind.from_file(path, "score again with --force")))
        except DataError as e:
            skipped.append(Skipped(folder.relative_to(exp.parent).as_posix(), e.what))
    return found, skipped


def of_set(runs: Sequence[Run], test_set: str) -> list[Run]:
    return [r for r in runs if r.test_set == test_set]


def systems(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Runs by (label, search), in order: those of one list differ in their seed only."""
    found = {}
    for search in sorted({run.search for run in runs}):
        own = [run for run in runs if run.search == search]
        for label, members in group_systems(own, lambda r: r.record, lambda r: r.name).items():
            found[label, search] = members
    return found


def representatives(runs: Sequence[Run]) -> dict[str, Run]:
    """One run a system, the lowest seed, by a label that tells it apart from the others."""
    chosen = {key: members[0] for key, members in systems(runs).items()}
    several = len({search for _, search in chosen}) > 1
    return {
        f"{label}, {search}" if several else label: run for (label, search), run in chosen.items()
    }


def training_commands(runs: Iterable[HasRecord]) -> list[str]:
    """The commands that trained these models, once each, where they left a record."""
    records = {run.name: run.record for run in runs if run.record is not None}
    return [shlex.join(records[name].argv) for name in sorted(records)]


def curve_labels(runs: Iterable[HasRecord]) -> dict[str, str]:
    """By directory, the system whose learning curve it is, with its plan."""
    labels = {}
    by_plan: dict[str, dict[str, HasRecord]] = {}
    for run in runs:
        by_plan.setdefault(plan_of(run), {})[run.name] = run
    for plan, named in by_plan.items():
        grouped = group_systems(named.values(), lambda r: r.record, lambda r: r.name)
        for label, members in grouped.items():
            shown = label if plan == MAIN_PLAN else f"{label} ({plan})"
            labels |= {member.name: shown for member in members}
    return labels
