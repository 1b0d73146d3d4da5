"""Check the installation, of which `asrlib.installation` says what must hold.

This module needs the standard library only, so that it can say what else is missing. The checks
run in a child process: a library with a wrong ABI may kill the process that loads it, and that
must become a finding like any other.

`python -m asrlib.doctor CHECK...` is that child; it prints one JSON object a line.
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
    """The outcome of one check.

    Attributes:
        name: what was checked.
        ok: whether it holds.
        detail: the version or value seen, or the reason of the failure.
        fix: what to do; empty when ok, unless it is well but slow: then a warning.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def run_check(name: str, check: Callable[[], str]) -> Finding:
    """Run one check in this process; whatever it raises becomes a finding."""
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
    """Yield a finding for each check, in order, as they come.

    A check that kills the child process is a failure; a new child goes on with the next check.
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
    """The findings as lines for a terminal, and the fix of whatever fails or warns."""
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
