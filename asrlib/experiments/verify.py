"""Verification of a set: its trials, from embeddings and cuts, and the threshold of dev."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asrlib.data.cuts import iter_cuts
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.scoring.records import read_speakers
from asrlib.verification.config import VerificationConfig
from asrlib.verification.records import Threshold
from asrlib.verification.score import TrialSource, fix_threshold, score_trials, usable

log = logging.getLogger(__name__)


def dev_threshold(
    recipe: Recipe, dev: Path, dev_set: str, trials: Path | None, config: VerificationConfig
) -> Threshold:
    """Fix the threshold on the embeddings of a dev set."""
    source, _ = read_source(recipe, [dev], [dev_set], trials, config)
    config = with_list(config, trials)
    return fix_threshold(score_trials(source, config, str(dev)), config, str(dev))


def with_list(config: VerificationConfig, trials: Path | None) -> VerificationConfig:
    """Return the configuration, whose kind of trials is `list` if a list is given."""
    return config if trials is None else dataclasses.replace(config, trials="list")


def read_source(
    recipe: Recipe,
    paths: Sequence[Path],
    set_names: Sequence[str],
    trials: Path | None,
    config: VerificationConfig,
) -> tuple[TrialSource, int]:
    """Read what the trials of one set or of several sets together are made of.

    Args:
        recipe: the recipe; the cuts and the speaker table of its data are used if they exist.
        paths: tables of the embeddings.
        set_names: names of the sets.
        trials: list of trials, which needs no facts of the cuts; None if there is none.
        config: configuration.

    Returns:
        The source, and the number of utterances without a usable embedding.

    Raises:
        DataError: a table is broken, or cuts are missing whose attribute enrolment needs.
    """
    tables = {path: EmbeddingTable.read(path) for path in paths}
    kept = EmbeddingTable.joined([usable(table, str(path)) for path, table in tables.items()])
    sessions: dict[str, str] = {}
    values: dict[str, str] | None = None
    for name in set_names if trials is None else ():
        cuts = recipe.data / name / "cuts.jsonl.gz"
        if not cuts.exists() and config.enrol_attribute and config.trials == "enrol":
            raise DataError(
                f"{cuts}: missing, in which verification.enrol_attribute looks for "
                f"{config.enrol_attribute}",
                "run stage 1, or set verification.enrol_attribute to an empty text",
            )
        if not cuts.exists():
            log.warning("%s: missing, so each utterance counts as a session of its own", cuts)
            continue
        sessions |= cut_facts(cuts, config.session)
        if config.enrol_attribute:
            values = (values or {}) | cut_facts(cuts, config.enrol_attribute)
    metadata = read_speakers(recipe.data / "speakers.tsv", set_names[0])
    source = TrialSource(kept, sessions, values, metadata, trials)
    return source, sum(len(table.ids) for table in tables.values()) - len(kept.ids)


def cut_facts(path: Path, name: str) -> dict[str, str]:
    """Read one fact of each cut: `recording`, `text`, or a custom field.

    Returns:
        The facts by cut id, without the cuts that lack it.
    """
    facts = {}
    for cut in iter_cuts(path, "run the manifests stage (1) again"):
        spoken = cut.supervisions[0] if cut.supervisions else None
        custom = {**(cut.custom or {}), **((spoken and spoken.custom) or {})}
        known: Mapping[str, Any] = {
            **custom,
            "recording": cut.recording_id if cut.has_recording else None,
            "text": spoken.text if spoken else None,
        }
        if known.get(name) not in (None, ""):
            facts[cut.id] = str(known[name])
    if not facts:
        log.warning("%s: no cut has '%s'", path, name)
    return facts
