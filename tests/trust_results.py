"""Where the figures of tests/faults.sh and tests/damage.sh go."""

from __future__ import annotations

import subprocess

from fault_stages import MINI, REPO

from asrlib.experiments.store import TRUST_PLAN, write_about
from asrlib.experiments.trust import Damage, Faults
from asrlib.report.results_page import write_pages


def commit() -> str:
    """The commit that is checked out; with `+` if files differ from it."""
    git = ("git", "-C", str(REPO))
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    return head.stdout.strip() + ("+" if changed else "")


def publish(found: Faults | Damage) -> None:
    """Write the figures to egs/mini/results/trust/ and renew the pages."""
    write_about(MINI, TRUST_PLAN, found)
    write_pages(MINI)
