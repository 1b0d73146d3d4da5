"""Which jobs of a plan failed and why: exp/plans/PLAN/failed.txt, for pages and for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asrlib.files import atomic_write

FAILED_FILE = "failed.txt"


def write_failures(folder: Path, failed: Mapping[str, str]) -> None:
    """Write a line `NAME: why` for each job; without any, remove the file of an earlier call."""
    path = folder / FAILED_FILE
    path.unlink(missing_ok=True)
    if failed:
        with atomic_write(path) as f:
            f.writelines(
                f"{name}: {' '.join(why.split())}\n" for name, why in sorted(failed.items())
            )


def read_failures(folder: Path) -> dict[str, str]:
    """Read why jobs failed, by name; empty if none did."""
    path = folder / FAILED_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: why for name, _, why in (line.partition(": ") for line in lines)}
