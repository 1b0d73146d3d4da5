"""Run the checks of `asrlib.installation` and report their results.

This module needs the standard library only, so that it works when packages are missing. The checks
run in a child process, because a library with a wrong ABI may kill the process that loads it; the
death of the child is then reported like any other failure.

The child is `python -m asrlib.doctor CHECK...`; it prints one JSON object per line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asrlib.installation import CHECKS, INSTALL, REINSTALL, CheckWarning

PROJECT_DIR = Path(__file__).resolve().parents[1]
TIMEOUT_S = 300


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: name of the check.
        ok: whether the check succeeded.
        detail: the version or value found, or the reason of the failure.
        fix: what the user can do. It is empty if the check succeeded, except for a warning, which
            means that the installation works but is slow.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def run_check(name: str, check: Callable[[], str]) -> Finding:
    """Run one check in this process; turn any exception into a finding."""
    try:
        return Finding(name, True, check())
    except CheckWarning as e:
        return Finding(name, True, str(e), e.fix)
    except ModuleNotFoundError as e:
        return Finding(name, False, f"module {e.name} not found", INSTALL)
    except Exception as e:
        reason = " ".join(str(e).split()) or type(e).__name__
        return Finding(name, False, reason[:300], getattr(e, "fix", REINSTALL))


def examine(
    names: Sequence[str] = tuple(CHECKS),
    child_command: Sequence[str] = (sys.executable, "-m", "asrlib.doctor"),
) -> Iterator[Finding]:
    """Run checks in child processes; yield the finding of each check as soon as it is known.

    A check that kills its process counts as failed; a new child continues with the next check.
    """
    todo = list(names)
    while todo:
        command = [*child_command, *todo]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=PROJECT_DIR, text=True, **pipes) as child:
            watchdog = threading.Timer(TIMEOUT_S, child.kill)
            watchdog.start()
            for line in child.stdout or ():
                if line.startswith('{"finding"'):
                    yield Finding(**json.loads(line)["finding"])
                    todo.pop(0)
            status = child.wait()
            watchdog.cancel()
        if todo:
            reason = f"the process died (exit status {status})"
            yield Finding(todo.pop(0), False, reason, REINSTALL)


def table(findings: Sequence[Finding]) -> str:
    """Format findings as lines for a terminal, with the fix of each failure or warning."""
    width = max(len(f.name) for f in findings)
    lines = []
    for f in findings:
        state = "FAIL" if not f.ok else "warn" if f.fix else "ok  "
        lines.append(f"{state}  {f.name:<{width}}  {f.detail}")
        if f.fix:
            lines.append(f"      {'':<{width}}  fix: {f.fix}")
    failed = sum(not f.ok for f in findings)
    warned = sum(f.ok and bool(f.fix) for f in findings)
    well = f"all works; {warned} of {len(findings)} checks warn" if warned else "all is well"
    lines.append(f"{failed} of {len(findings)} checks failed" if failed else well)
    return "\n".join(lines)


def main() -> None:
    for name in sys.argv[1:]:
        finding = run_check(name, CHECKS[name])
        print(json.dumps({"finding": asdict(finding)}), flush=True)


if __name__ == "__main__":
    main()
