"""Where the figures of tests/faults.sh and tests/damage.sh go."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from fault_stages import MINI, REPO

from asrlib.experiments.store import TRUST_PLAN, read_plan, write_about
from asrlib.experiments.trust import Damage, Faults
from asrlib.report.results_page import write_pages


def commit() -> str:
    """The commit that is checked out; with `+` if files differ from it."""
    git = ("git", "-C", str(REPO))
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    return head.stdout.strip() + ("+" if changed else "")


def publish(found: Faults | Damage) -> None:
    """Write the figures to egs/mini/results/trust/ and renew the pages.

    Of a run of some stages, those of the other stages and the other faults stay as they were.
    """
    before = read_plan(MINI, TRUST_PLAN).faults
    if isinstance(found, Faults) and before is not None and not found.checks:
        again = {stage.name: stage for stage in found.stages}
        stages = tuple(again.pop(stage.name, stage) for stage in before.stages)
        command = f"{before.command}\n{found.command}"
        stages += tuple(again.values())
        found = replace(before, command=command, commit=found.commit, stages=stages)
    write_about(MINI, TRUST_PLAN, found)
    write_pages(MINI)
