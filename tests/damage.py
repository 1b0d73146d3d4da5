"""Damaged inputs, each fed to the command that reads it; and what has to hold of every one.

The laws: no traceback; a refusal names the file and says how to fix it, and leaves earlier outputs
as they were; if the command succeeds, no good utterance or speaker is missing from what it writes,
and bad audio is in quarantine with a reason or is read later as it was announced; nothing is
written outside the recipe, and no name becomes a command.

    python tests/damage.py [--out FILE] [--every N]     feed all kinds, and print a table
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
from command_fakes import Outcome, call, explained
from damage_families import Family, families, prepare
from damage_texts import Damage

_PATIENCE = 60  # seconds that a command may take


@dataclass(frozen=True)
class Verdict:
    """What became of one damaged input.

    Attributes:
        outcome: `refused` with a reason, `quarantined`, `accepted`, or how a law was broken:
            `crash`, `unnamed`, `good lost`, `escaped`.
        told: the error, or what is wrong.
    """

    family: str
    kind: str
    outcome: str
    told: str = ""

    @property
    def holds(self) -> bool:
        return self.outcome in ("refused", "quarantined", "accepted")


def _quarantine(recipe: Path) -> dict[str, str]:
    with open(recipe / "data" / "quarantine.tsv", encoding="utf-8", newline="") as f:
        return {row["id"]: row["reason"] for row in csv.DictReader(f, delimiter="\t")}


class Judge:
    """Feeds damaged inputs to commands.

    Args:
        work: an empty directory.
    """

    def __init__(self, work: Path) -> None:
        self.recipe, self.copy = work / "damaged" / "recipe", work / "whole"
        prepare(self.recipe)
        self.recipe.rename(self.copy)

    def feed(self, family: Family, kind: str, damage: Damage) -> Verdict:
        """Damage a copy of the recipe, run the command, and say what became of it."""
        shutil.rmtree(self.recipe.parent)
        shutil.copytree(self.copy, self.recipe, symlinks=True)
        if family.name == "audio":
            _add_row(self.recipe)
        damage(self.recipe / family.file)
        before = self._read(family.outputs)
        verdict = partial(Verdict, family.name, kind)
        try:
            with _patience():
                words = (word.format(recipe=self.recipe) for word in family.command)
                done = call(*words, **({"command": family.program} if family.program else {}))
        except BaseException as e:
            return verdict("crash", f"{type(e).__name__}: {e}"[:300])
        if strangers := self._strangers():
            return verdict("escaped", strangers)
        if done.code:
            same = self._read(family.outputs) == before
            return verdict(*_refusal(done, family.file.name, same))
        return verdict(*self._acceptance(family))

    def _acceptance(self, family: Family) -> tuple[str, str]:
        try:
            lost = family.good - family.survivors(self.recipe)
        except (OSError, ValueError, KeyError) as e:
            return "crash", f"output: {type(e).__name__}: {e}"
        if lost:
            return "good lost", ", ".join(sorted(lost)[:5])
        if family.name != "audio":
            return "accepted", ""
        reason = _quarantine(self.recipe).get("bad")
        return ("quarantined", reason) if reason else _readable(self.recipe)

    def _read(self, outputs: Sequence[Path]) -> list[bytes | None]:
        paths = [self.recipe / path for path in outputs]
        return [path.read_bytes() if path.is_file() else None for path in paths]

    def _strangers(self) -> str:
        """What was written where nothing belongs."""
        beside = [p.name for p in self.recipe.parent.iterdir() if p != self.recipe]
        above = [
            p.name for p in self.copy.parent.iterdir() if p not in (self.copy, self.recipe.parent)
        ]
        fixed = [str(p) for p in (Path("pwned"), Path("/tmp/absolute-name")) if p.exists()]
        inside = [str(p) for p in self.recipe.rglob("*pwned*") if p.name == "pwned"]
        return ", ".join((*beside, *above, *fixed, *inside))


def _add_row(recipe: Path) -> None:
    row = {"id": "bad", "audio": "wav/bad.wav", "text": "ONE", "speaker": "test-s"}
    with open(recipe / "data" / "raw" / "test.jsonl", "a") as f:
        f.write(json.dumps(row) + "\n")


def _refusal(done: Outcome, name: str, same: bool) -> tuple[str, str]:
    if done.code == 2 and name in done.err:  # click's words for a wrong argument
        return ("refused", done.err[-300:]) if same else ("good lost", "outputs changed")
    try:
        explained(done)
    except (AssertionError, ValueError) as e:
        return "unnamed", f"{done.err[-300:]} {str(e)[:100]}"
    what = "\n".join(line for line in done.err.splitlines() if line.strip())
    told = what[what.rindex("error: ") :]
    if name not in done.err:
        return "unnamed", told
    return ("refused", told) if same else ("good lost", f"outputs changed; {told}")


def _readable(recipe: Path) -> tuple[str, str]:
    """Whether stage 2 reads what stage 1 accepted as it was announced."""
    from lhotse import MonoCut

    with gzip.open(recipe / "data" / "test" / "cuts.jsonl.gz", "rt") as lines:
        cut = next(MonoCut.from_dict(row) for row in map(json.loads, lines) if row["id"] == "bad")
    samples = cut.load_audio()
    whole = samples.shape == (1, cut.num_samples) and bool(np.isfinite(samples).all())
    fine = whole and cut.sampling_rate == 16000 and math.isclose(cut.duration, samples.size / 16000)
    return ("accepted", "") if fine else ("good lost", "stage 2 cannot read it")


class _TooSlow(BaseException):
    """A command that hangs."""


class _patience:
    """End what takes too long inside."""

    def __enter__(self) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            raise _TooSlow(f"not done after {_PATIENCE} s")

        self.before = signal.signal(signal.SIGALRM, stop)
        signal.alarm(_PATIENCE)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.before)


def all_kinds() -> list[tuple[Family, str, Damage]]:
    """Every damage, with its family."""
    return [
        (family, name, damage)
        for family in families()
        for name, damage in dict(family.kinds()).items()  # a name of two kinds is one kind
    ]
