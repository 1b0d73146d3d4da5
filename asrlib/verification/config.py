"""Configuration of speaker verification."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asrlib.config import configclass
from asrlib.numbers import Count, Positive, PositiveFloat
from asrlib.scoring.gaps import Resampling
from asrlib.verification.groups import Impostors


@configclass
class VerificationConfig:
    """Configuration of `python -m asrlib score-verification` (conf/verification.yaml).

    Attributes:
        trials: which pairs of utterances are scored.
        same_group: columns that both speakers of an impostor trial share (`trials: same_group`).
        enrol: number of utterances that are averaged on each side (`trials: enrol`).
        enrol_attribute: fact of an utterance in which the utterances of both sides differ; empty
            if there is none (`trials: enrol`).
        session: fact of an utterance that names its session.
        threshold: rule that fixes the threshold on dev speakers.
        dev_false_alarm: share of false alarms on dev (`threshold: false_alarm`).
        impostors: which impostor trials count as false alarms of a group.
        p_target: prior probability of a target trial in the detection cost.
        cost_miss, cost_false_alarm: costs of the two errors in the detection cost.
        replicates: number of resampled sets of speakers.
        permutations: number of random regroupings of the speakers.
        confidence: coverage of the intervals.
        seed: seed of the resampling and of the choice of utterances.
    """

    trials: Literal["all", "same_group", "enrol", "list"] = "all"
    same_group: tuple[str, ...] = ("gender",)
    enrol: Positive = 3
    enrol_attribute: str = ""
    session: str = "recording"
    threshold: Literal["eer", "false_alarm"] = "eer"
    dev_false_alarm: float = Field(default=0.01, gt=0, lt=1)
    impostors: Impostors = "same_group"
    p_target: float = Field(default=0.01, gt=0, lt=1)
    cost_miss: PositiveFloat = 1.0
    cost_false_alarm: PositiveFloat = 1.0
    replicates: int = Field(default=1000, ge=100)
    permutations: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: Count = 1

    @property
    def resampling(self) -> Resampling:
        """The settings of the bootstrap."""
        return Resampling(self.replicates, self.confidence, self.seed, self.permutations)
