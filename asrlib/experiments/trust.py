"""What faults and damaged inputs did to the pipeline: figures of tests/faults.sh and damage.sh."""

from __future__ import annotations

from dataclasses import dataclass

from asrlib.json_record import JsonRecord


@dataclass(frozen=True, kw_only=True)
class StageFaults(JsonRecord):
    """What kills did to one stage.

    Attributes:
        number: of the stage in run.sh; None: it belongs to none.
        kills: runs that were ended by SIGKILL at a random moment.
        runs: runs to the end, each after one to three kills.
        differences: files of these that are not as they are without a fault.
        failures: runs that did not come to their end.
    """

    name: str
    number: int | None
    kills: int
    runs: int
    differences: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class FaultCheck(JsonRecord):
    """Another fault than a kill.

    Attributes:
        told: the message that the user gets; empty if the command succeeds.
        holds: whether nothing was lost or half-written, and the message is clear.
    """

    name: str
    told: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Faults(JsonRecord):
    """results/trust/faults.json.

    Attributes:
        command: what repeats it.
        commit: of the code.
    """

    command: str
    commit: str
    seed: int
    stages: tuple[StageFaults, ...]
    checks: tuple[FaultCheck, ...]

    @property
    def kills(self) -> int:
        return sum(stage.kills for stage in self.stages)

    @property
    def differences(self) -> int:
        return sum(stage.differences + stage.failures for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class FamilyDamage(JsonRecord):
    """What became of all kinds of damage to one file.

    Attributes:
        refused: commands that told the file, the reason and the fix.
        quarantined: utterances that were left out, with a reason.
        accepted: inputs that could be used, or whose damage cost no good utterance or speaker.
        crashes: commands that ended with a traceback, or did not end.
        unnamed: errors that did not name the file.
        lost: inputs by which a good utterance or speaker, or an earlier output, was lost.
        escaped: inputs by which a file was written where none belongs, or a command was run.
    """

    name: str
    kinds: int
    refused: int
    quarantined: int
    accepted: int
    crashes: int
    unnamed: int
    lost: int
    escaped: int


@dataclass(frozen=True, kw_only=True)
class Damage(JsonRecord):
    """results/trust/damage.json; attributes as of `Faults`."""

    command: str
    commit: str
    families: tuple[FamilyDamage, ...]

    @property
    def kinds(self) -> int:
        return sum(family.kinds for family in self.families)
