"""Declared factors may differ between runs that are compared, and nothing else.

A plan's factors are declared in the records of its runs. Commit, versions, processor and device
are printed beside results, not compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asrlib.cohort_file import COHORTS_FILE
from asrlib.experiments.run_record import RunRecord, decisive
from asrlib.scoring.records import HYP_FILE, is_given

SEED = "train.seed"
_CONDITION, _MEMBERSHIP = "model.encoder.condition", "membership"
_INIT_PART, _LANG = "train.init_part", "data.lang"
# Keys that name directories of files, and the names that `data_names` gives to these files.
_NAMES_FILE = {
    f"{_MEMBERSHIP}.cohorts": COHORTS_FILE,
    "mitigation.cohorts.directory": COHORTS_FILE,
    "mitigation.cohorts.labels": HYP_FILE,
}


@dataclass(frozen=True)
class Difference:
    """A key that has other values in two runs; None: one of them lacks it."""

    key: str
    a: Any
    b: Any


def declared_keys(records: Collection[RunRecord]) -> frozenset[str]:
    """Keys that may differ: factors of any of the runs, and the seed of the draw."""
    return frozenset({SEED}.union(*(record.factors for record in records)))


def undeclared(
    a: RunRecord,
    b: RunRecord,
    declared: Collection[str],
    decode_a: Mapping[str, Any] | None = None,
    decode_b: Mapping[str, Any] | None = None,
) -> list[Difference]:
    """Keys in which two runs differ although nobody declared them, in order.

    Where the models differ, all of their own section may. Where the condition of the encoder may
    differ and only one of the runs has memberships, these and their cohorts may, too. Where a key
    that names a file may differ, the file may. Where the part that is taken from a start may
    differ, the start may; where the directory of the tokens may, the tokens may.

    Args:
        declared: keys of `--set`; one that names a whole section of keys allows all of them.
        decode_a, decode_b: the `decode` section that test sets were decoded with, where compared.
    """
    ours, theirs = _values(a, decode_a), _values(b, decode_b)
    free = {*declared, "model"} if a.model != b.model else set(declared)
    told = [_MEMBERSHIP in record.config for record in (a, b)]
    if _covered(_CONDITION, free) and told[0] != told[1]:
        free.add(_MEMBERSHIP)
    if _covered(_INIT_PART, free):
        free.add("start")
    other_tokens = _covered(_LANG, free)
    followers = [name for key, name in _NAMES_FILE.items() if _covered(key, free)]
    return [
        Difference(key, ours.get(key), theirs.get(key))
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
        and not _covered(key, free)
        and not any(key.startswith(f"data/{name}") for name in followers)
        and not (other_tokens and key.startswith("data/") and key.endswith("/bpe.model"))
    ]


def refusal(a: str, b: str, difference: Difference) -> str:
    """Why two runs are not compared."""
    return f"{a} had {difference.key}: {difference.a}, but {b} {difference.b}"


def why_not(
    a: RunRecord | None,
    b: RunRecord | None,
    declared: Collection[str],
    decode_a: Mapping[str, Any],
    decode_b: Mapping[str, Any],
) -> str | None:
    """Why two runs are not compared; None where they may be, or left no record."""
    if a is None or b is None:
        return None
    found = undeclared(a, b, declared, decode_a, decode_b)
    more = f" (and {len(found) - 1} more keys)" if len(found) > 1 else ""
    return refusal(a.name, b.name, found[0]) + more if found else None


def _values(record: RunRecord, decode: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is compared, by key: configuration, hashes of the data, and the start."""
    sections: dict[str, Any] = decisive(record.config)
    if decode is not None:
        sections |= decisive({"decode": _in_use(decode)})
    found = dict(_flat(sections, ""))
    found |= {f"data/{name}": hash[:12] for name, hash in record.data.items()}
    found["start"] = record.start and record.start[:12]
    return found


def _in_use(decode: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of decoding without those of hotwords and language models that are not there."""
    found = dict(decode)
    for part in ("lm", "hotwords"):
        if part in found and not is_given(found[part]):
            del found[part]
    if "lm" in found and not found["lm"].get("lodr_path"):
        found["lm"] = {key: v for key, v in found["lm"].items() if key != "lodr_scale"}
    return found


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _covered(key: str, declared: Collection[str]) -> bool:
    return any(key == known or key.startswith(f"{known}.") for known in declared)
