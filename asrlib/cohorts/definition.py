"""definition.json: how a method assigns speakers; and cohorts.jsonl: the cohort of each speaker."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from asrlib.cohort_file import COHORTS_FILE, Split
from asrlib.cohorts.clusters import ClusterRule
from asrlib.cohorts.geodemographic import COPY, AttributeRule
from asrlib.cohorts.metadata import ColumnRule
from asrlib.cohorts.ranking import CohortRate
from asrlib.cohorts.scan import CircleRule
from asrlib.cohorts.search import Assignment, Evidence
from asrlib.cohorts.table import SpeakerTable
from asrlib.cohorts.tree import TreeRule
from asrlib.files import atomic_dir, atomic_write
from asrlib.json_record import JsonRecord

_AGAIN = "find the cohorts again: python -m asrlib cohorts find"

DEFINITION_FILE = "definition.json"
AnyRule = Annotated[
    TreeRule | CircleRule | AttributeRule | ClusterRule | ColumnRule, Field(discriminator="kind")
]


@dataclass(frozen=True)
class Definition(JsonRecord):
    """The cohorts of one method.

    Attributes:
        method: name of the method.
        corpus: title of the corpus and a hash of the discovery speakers.
        public: whether files and pages may tell exact places of speakers.
        speakers: number of discovery speakers that took part.
        unknown: number of discovery speakers whose cohort is unknown, by reason.
        cohorts: error rates on discovery speakers, by cohort; those of `bottom` and `top` were
            searched for, so they are inflated.
        evidence: comparison with permuted errors.
        rule: how a speaker is assigned.
    """

    method: str
    corpus: str
    public: bool
    speakers: int
    unknown: dict[str, int]
    cohorts: tuple[CohortRate, ...]
    evidence: Evidence
    rule: AnyRule

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of metadata that define the cohorts."""
        return self.rule.columns if isinstance(self.rule, ColumnRule) else ()

    def assign(self, table: SpeakerTable) -> Assignment:
        """Assign each speaker of a table.

        Raises:
            DataError: the table has no embeddings, or others, or the table of shares changed.
        """
        return self.rule.assign(table)


def cohort_lines(
    definition: Definition, speakers: Sequence[str], assignment: Assignment, split: Split | None
) -> list[dict[str, Any]]:
    """Return the lines of cohorts.jsonl for some speakers; without a split for new speakers."""
    lines = []
    for speaker, cohort, used, reason in zip(
        speakers, assignment.cohorts, assignment.used, assignment.reasons, strict=True
    ):
        line = {"speaker": speaker, "cohort": cohort, "method": definition.method}
        line |= {"split": split} if split else {}
        line |= {"reason": reason} if reason else {}
        lines.append({**line, **{k: v for k, v in used.items() if k not in line}})
    return lines


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write lines of JSON, whole or not at all."""
    with atomic_write(path) as f:
        f.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def write_cohorts(directory: Path, definition: Definition, lines: Sequence[dict[str, Any]]) -> None:
    """Replace a method's directory by its definition and its cohorts."""
    with atomic_dir(directory) as folder:
        if isinstance(definition.rule, AttributeRule):
            shutil.copyfile(definition.rule.table, folder / COPY)
            rule = dataclasses.replace(definition.rule, table=COPY)
            definition = dataclasses.replace(definition, rule=rule)
        definition.to_file(folder / DEFINITION_FILE)
        write_lines(folder / COHORTS_FILE, lines)


def read_definition(directory: Path) -> Definition:
    """Read a method's definition.

    Raises:
        DataError: it is missing, broken, or of another version.
    """
    definition = Definition.from_file(directory / DEFINITION_FILE, _AGAIN)
    if isinstance(definition.rule, AttributeRule):
        rule = dataclasses.replace(definition.rule, table=str(directory / COPY))
        definition = dataclasses.replace(definition, rule=rule)
    return definition
