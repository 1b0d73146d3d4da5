"""Cohort membership of utterances, as an input of the encoder (arXiv 2207.11345).

The membership is [top, bottom]: a one where the speaker is in that cohort, and zeros for all other
cohorts and for speakers whose cohort is not known. In training, a share of the memberships is
replaced by zeros, so that the model also works without them (arXiv 2306.06083).

Shapes: B utterances, C = 2 values of a membership.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from asrlib.cohort_file import BOTTOM, COHORTS_FILE, TOP, read_cohort_map
from asrlib.config import configclass
from asrlib.errors import ConfigError, DataError
from asrlib.numbers import Probability
from asrlib.seeds import derive_seed

if TYPE_CHECKING:
    from lhotse.cut import Cut

logger = logging.getLogger(__name__)

MEMBERSHIP = (TOP, BOTTOM)  # the order of the values


@configclass
class MembershipConfig:
    """Memberships in training (`conf/membership.yaml`), for models with `encoder.condition`.

    Attributes:
        cohorts: directory that holds `cohorts.jsonl`, relative to the recipe's; None for none.
        unknown: probability that an utterance's membership is replaced by zeros in an epoch.
    """

    cohorts: str | None = None
    unknown: Probability = 0.1

    def file(self, recipe_dir: Path) -> Path:
        """Return the file of cohorts.

        Raises:
            ConfigError: `cohorts` names no directory.
        """
        if self.cohorts is None:
            raise ConfigError(
                "membership.cohorts names no directory, but the encoder takes memberships",
                "set for example membership.cohorts=exp/cohorts/tree",
            )
        return recipe_dir / self.cohorts / COHORTS_FILE


def membership_values(cohort: str | None) -> list[float]:
    """Return the membership [top, bottom] of a cohort; None if the cohort is not known."""
    return [float(cohort == name) for name in MEMBERSHIP]


@dataclass(frozen=True)
class Membership:
    """The cohort of each speaker, or of each utterance.

    Attributes:
        cohorts: cohort by id of speaker or utterance.
        source: the file that it was read from, for messages.
        unknown: probability of unknown memberships in training.
    """

    cohorts: Mapping[str, str]
    source: Path
    unknown: float = 0.0

    @classmethod
    def read(cls, directory: Path, unknown: float = 0.0) -> Membership:
        """Read `cohorts.jsonl` of a cohort directory.

        Raises:
            DataError: the file is missing or broken.
        """
        found = read_cohort_map(directory)
        return cls(found.cohorts, found.path, unknown)

    def cohort(self, cut: Cut) -> str | None:
        """Return the cohort of a cut, or of its first speaker; None if neither is known."""
        if cut.id in self.cohorts:
            return self.cohorts[cut.id]
        supervisions = cut.supervisions
        return self.cohorts.get(supervisions[0].speaker or "") if supervisions else None

    def of(self, cuts: Iterable[Cut]) -> Tensor:
        """Return the memberships (B, C) of cuts."""
        return memberships(self.cohort(cut) for cut in cuts)

    def drawn(self, cuts: Iterable[Cut], seed: int, epoch: int) -> Tensor:
        """Return the memberships (B, C) of cuts in an epoch, some of them replaced by zeros.

        The draw depends on the seed, the epoch and the id of a cut only.
        """
        return memberships(
            None if self._forgotten(cut.id, seed, epoch) else self.cohort(cut) for cut in cuts
        )

    def _forgotten(self, name: str, seed: int, epoch: int) -> bool:
        return derive_seed("membership", seed, epoch, name) < self.unknown * 2.0**32

    def check_training(self, cuts: Iterable[Cut]) -> None:
        """Check that a training set has utterances of both cohorts, and log how many.

        Raises:
            DataError: it has none of one of them; the message names the file and the cohort.
        """
        counts = Counter(self.cohort(cut) for cut in cuts)
        for name in MEMBERSHIP:
            if not counts[name]:
                raise DataError(
                    f"{self.source}: no speaker of the training set is in the cohort {name}",
                    "assign the training speakers to cohorts (python -m asrlib cohorts assign), "
                    "or choose the cohorts of this corpus",
                )
        top, bottom = (counts[name] for name in MEMBERSHIP)
        others = sum(counts.values()) - top - bottom
        logger.info("utterances in cohort top: %d, bottom: %d, neither: %d", top, bottom, others)

    def check_known(self, cuts: Iterable[Cut], name: str) -> None:
        """Check that the cohort of some speaker of a set is known.

        Args:
            cuts: cuts of the set.
            name: name of the set, for the message.

        Raises:
            DataError: none is known: the cohorts are of another corpus.
        """
        if all(self.cohort(cut) is None for cut in cuts):
            raise DataError(
                f"{self.source}: names no speaker of the set {name}",
                "choose the cohorts of this corpus, or decode with --membership unknown",
            )


def memberships(cohorts: Iterable[str | None]) -> Tensor:
    """Return the memberships (B, C) of cohorts; zeros for None."""
    values = [membership_values(cohort) for cohort in cohorts]
    return torch.tensor(values, dtype=torch.float32).reshape(-1, len(MEMBERSHIP))
