"""Kill stages of the pipeline at random moments, run them again, and compare what they leave.

`tests/faults.sh` is the command. Every stage is run once without a fault; then, from the same
inputs, it is killed (SIGKILL to the whole process group) one to three times and run to the end. The
files must then be the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fault_stages import STAGES, Stage, load_libraries, run_stage, write_small_recipe

_MOST_KILLS_OF_A_RUN = 3
_MISSES = 3  # kills that come too late, after each other, before a shorter time is drawn
_PATIENCE = 3600.0  # seconds that a stage may take to the end


def tree(recipe: Path) -> dict[str, str]:
    """Hash by path of all that a stage may leave, but logs, curves and hidden leftovers."""
    found = {}
    for path in sorted(recipe.rglob("*")):
        name = path.relative_to(recipe).as_posix()
        parts = set(name.split("/")[:-1])
        if path.is_dir() or parts & {"log", "tensorboard"} or is_leftover(path.relative_to(recipe)):
            continue
        if path.name.endswith(".lock"):
            continue
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def is_leftover(path: Path) -> bool:
    """Whether a file, or a directory it is in, is a temporary one of asrlib.files.

    Its name is a dot, the name of the file to be, and random letters; the suffix stays. So that of
    the hidden stamp `.score.stamp` starts with two dots.
    """
    return any(
        part.startswith("..") or (part.startswith(".") and not part.endswith(("stamp", ".lock")))
        for part in path.parts
    )


@dataclass
class Forked:
    """A stage that runs in a process group of its own.

    Attributes:
        pid: of the process, and of its group.
    """

    pid: int

    @classmethod
    def start(cls, stage: Stage, recipe: Path, messages: Path) -> Forked:
        """Start it; its output goes to `messages`."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return cls(pid)
        code = 70
        try:
            os.setsid()
            outcome = run_stage(stage, recipe)
            messages.write_text(f"{outcome.out}\n{outcome.err}")
            code = outcome.code
        except BaseException:
            import traceback

            messages.write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def wait(self, seconds: float) -> int | None:
        """Exit code; None if the process still runs after that time."""
        until = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= until:
                return None
            time.sleep(0.002)

    def kill(self) -> None:
        """End the whole group, and wait until none of it is left."""
        self._signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        until = time.monotonic() + 2.0
        while self._signal(signal.SIGKILL) and time.monotonic() < until:
            time.sleep(0.01)

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True


@dataclass
class Found:
    """What kills did to one stage.

    Attributes:
        seconds: that the stage takes without a fault.
        runs: completed runs, each after one to three kills.
        differences: files of them that are not as they are without a fault.
        failures: runs that did not complete, with what they told.
    """

    stage: Stage
    seconds: float
    kills: int = 0
    runs: int = 0
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Pipeline:
    """The stages of a small recipe, each run without a fault, with copies of what they start from.

    The recipe is always at the same path, because manifests hold absolute ones.

    Args:
        work: an empty directory.
    """

    def __init__(self, work: Path) -> None:
        self.recipe = work / "egs" / "mini"
        self.copies, self.messages = work / "before", work / "messages.txt"
        self.seconds: dict[str, float] = {}
        self.whole: dict[str, dict[str, str]] = {}
        load_libraries()
        self.copies.mkdir(parents=True)
        write_small_recipe(self.recipe)

    def complete(self, upto: str, tell: Callable[[str], None] = lambda _: None) -> None:
        """Run all stages up to one of them."""
        for stage in STAGES:
            shutil.copytree(self.recipe, self.copies / stage.name, symlinks=True)
            begin = time.monotonic()
            self.finish(stage)
            self.seconds[stage.name] = time.monotonic() - begin
            self.whole[stage.name] = tree(self.recipe)
            tell(f"{stage.name}: {self.seconds[stage.name]:.1f} s without a fault")
            if stage.name == upto:
                return

    def start(self, stage: Stage, messages: Path | None = None) -> Forked:
        return Forked.start(stage, self.recipe, messages or self.messages)

    def finish(self, stage: Stage) -> None:
        """Run a stage to the end.

        Raises:
            RuntimeError: it fails, or takes far too long.
        """
        run = self.start(stage)
        code = run.wait(_PATIENCE)
        if code is None:
            run.kill()
            raise RuntimeError(f"{stage.name}: not done after {_PATIENCE:g} s")
        if code:
            raise RuntimeError(f"{stage.name}: exit code {code}: {self.messages.read_text()}")

    def restore(self, stage: Stage) -> None:
        """Put the recipe back to what the stage starts from."""
        shutil.rmtree(self.recipe)
        shutil.copytree(self.copies / stage.name, self.recipe, symlinks=True)

    def differences(self, stage: Stage) -> list[str]:
        """Names of files that are not as they are without a fault."""
        left, whole = tree(self.recipe), self.whole[stage.name]
        return sorted(n for n in left.keys() | whole.keys() if left.get(n) != whole.get(n))

    def told(self, messages: Path | None = None) -> str:
        """The error of the last run, or of the one with these messages, in one line.

        Raises:
            AssertionError: it is none that says what is wrong and how to fix it.
        """
        text = (messages or self.messages).read_text()
        assert "Traceback" not in text, text[-2000:]
        *_, what, fix = text.strip().splitlines()
        assert what.startswith("error: "), text[-2000:]
        assert fix.startswith("  fix: "), text[-2000:]
        return f"{what} {fix.strip()}".replace(f"{self.recipe}/", "")

    def strike(self, stage: Stage, kills: int, rng: random.Random) -> Found:
        """Kill a stage at random moments, `kills` times in all."""
        found = Found(stage, self.seconds[stage.name])
        while found.kills < kills:
            self.restore(stage)
            due = min(rng.randint(1, _MOST_KILLS_OF_A_RUN), kills - found.kills)
            for _ in range(due):
                self._kill_once(stage, rng)
                found.kills += 1
                if rng.random() < 0.5:
                    damage_last_checkpoint(self.recipe, rng)
            try:
                self.finish(stage)
            except RuntimeError as e:
                found.failures.append(str(e))
            else:
                found.runs += 1
                found.differences += self.differences(stage)
        return found

    def _kill_once(self, stage: Stage, rng: random.Random) -> None:
        """Kill one run; one that ended before is not counted, and the stage begins anew."""
        longest, misses = self.seconds[stage.name], 0
        while True:
            run = self.start(stage)
            if run.wait(rng.uniform(0.0, longest)) is None:
                run.kill()
                return
            misses += 1
            self.restore(stage)
            if misses % _MISSES == 0:
                longest /= 2


def damage_last_checkpoint(recipe: Path, rng: random.Random) -> None:
    """Damage the newest checkpoint of each unfinished training that has an older one."""
    for folder in sorted((recipe / "exp").glob("*/checkpoints")):
        steps = sorted(folder.glob("step-*.pt"))
        if len(steps) < 2 or (folder.parent / "final.pt").exists():
            continue
        content = bytearray(steps[-1].read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 255
        steps[-1].write_bytes(content)
