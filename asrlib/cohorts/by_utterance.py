"""The cohort that a single utterance tells: what a system knows of a speaker it never heard.

The cohort of a speaker comes from the mean embedding of all that he or she said. A recogniser in
use has the utterance at hand alone, so that its assignment is less certain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asrlib.cohort_file import BY_UTTERANCE, COHORTS_FILE
from asrlib.cohorts.clusters import ClusterRule
from asrlib.cohorts.definition import DEFINITION_FILE, cohort_lines, read_definition, write_lines
from asrlib.cohorts.table import SpeakerTable
from asrlib.embedding_table import EmbeddingTable


def write_by_utterance(
    out: Path, methods: Sequence[str], speakers: Collection[str], tables: Sequence[EmbeddingTable]
) -> None:
    """Write `by_utterance/cohorts.jsonl` below each directory of clusters of voices alone.

    Args:
        out: directory of the methods' directories; those that found nothing have none.
        speakers: whose utterances are assigned.
    """
    own = set(speakers)
    for method in methods:
        if not (out / method / DEFINITION_FILE).exists():
            continue
        definition = read_definition(out / method)
        if not isinstance(definition.rule, ClusterRule) or definition.rule.measures:
            continue
        lines: dict[str, dict[str, Any]] = {}  # a file may be given twice
        for table in tables:
            mine_N = np.array([s in own for s in table.speakers], dtype=bool)
            kept = SpeakerTable(table.ids, {}).select(mine_N)
            voices = EmbeddingTable(table.ids, table.ids, table.vectors_ND)
            assignment = definition.assign(kept.with_embeddings([voices]))
            for line in cohort_lines(definition, kept.speakers, assignment, "confirmation"):
                utterance = line.pop("speaker")
                lines[utterance] = {"utterance": utterance, **line}
        write_lines(out / method / BY_UTTERANCE / COHORTS_FILE, list(lines.values()))
