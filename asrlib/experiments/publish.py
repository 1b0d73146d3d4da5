"""From scores in exp/ to the store of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib.config import configclass
from asrlib.experiments.store import Skipped
from asrlib.recipe import Recipe


@configclass
class PublishConfig:
    """conf/publish.yaml.

    Attributes:
        public: whether ids of speakers and sessions may be published; else they become numbers.
    """

    public: bool = False


@dataclass(frozen=True)
class Published:
    """What `publish` did: files written (or unchanged), and what could not be published."""

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def publish(recipe: Recipe, names: Sequence[str] = (), plan: str | None = None) -> Published:
    """Copy scores of runs in exp/ to the store; write nothing else.

    Args:
        names: directories under exp/; empty: all that have a record and scores.
        plan: only runs of this plan.
    """
    raise NotImplementedError
