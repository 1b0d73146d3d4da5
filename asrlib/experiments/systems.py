"""Runs as systems: those of one system differ in the seed of their training only."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from asrlib.experiments.declared import SEED
from asrlib.experiments.run_record import RunRecord, decisive

T = TypeVar("T")


def group_systems(
    items: Iterable[T], record_of: Callable[[T], RunRecord | None], name_of: Callable[[T], str]
) -> dict[str, list[T]]:
    """Items by the label of their system, in order of label; of one system in order of seed.

    An item without a record is a system of its own, called by its name. Systems that would have
    one label have the name of their first run added, then its commit and a part of its identity, as
    far as it takes: a plan may be run twice, with other tokens for example.
    """
    found: dict[Hashable, list[T]] = {}
    for item in items:
        record = record_of(item)
        key = name_of(item) if record is None else (label_of(record), _method(record))
        found.setdefault(key, []).append(item)
    groups: list[tuple[str, list[T]]] = []
    for members in found.values():
        members.sort(key=lambda item: (_seed(record_of(item)), name_of(item)))
        record = record_of(members[0])
        label = name_of(members[0]) if record is None else label_of(record)
        groups.append((label, members))
    marks = [_marks(name_of(members[0]), record_of(members[0])) for _, members in groups]
    labels = [label for label, _ in groups]
    for count in (1, 2, 3):
        labels = [
            label if labels.count(label) == 1 else f"{plain} ({', '.join(own[:count])})"
            for label, (plain, _), own in zip(labels, groups, marks, strict=True)
        ]
    named = {label: members for label, (_, members) in zip(labels, groups, strict=True)}
    return dict(sorted(named.items(), key=lambda pair: _natural(pair[0])))


def label_of(record: RunRecord) -> str:
    """The model and its factors but the seed, for example `lstm, model.loss.fast_emit=0.01`."""
    factors = [f"{key}={_shown(v)}" for key, v in sorted(record.factors.items()) if key != SEED]
    return ", ".join([record.model, *factors])


def seeds_of(records: Sequence[RunRecord]) -> list[int]:
    """Seeds of the trainings, each once."""
    return sorted({record.seed for record in records})


def _marks(name: str, record: RunRecord | None) -> tuple[str, ...]:
    """What tells a system from another of the same label, the plainest first."""
    if record is None:
        return (name,)
    commit = () if record.git is None else (f"commit {record.git.commit[:7]}",)
    return (name, *commit, record.identity[:8])


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _method(record: RunRecord) -> str:
    """All that decides the weights but the draw."""
    sections = decisive(record.config)
    sections["train"] = {k: v for k, v in sections["train"].items() if k != "seed"}
    return json.dumps([sections, record.data, record.start is None], sort_keys=True)


def _seed(record: RunRecord | None) -> int:
    return 0 if record is None else record.seed


def _natural(label: str) -> tuple[tuple[int, float, str], ...]:
    """Sorts numbers in a label by size."""
    parts = label.replace("=", " ").replace(",", " ").split()
    return tuple((0, float(p), "") if _is_number(p) else (1, 0.0, p) for p in parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
