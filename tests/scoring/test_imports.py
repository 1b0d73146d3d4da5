"""Scoring needs no torch, and none of what needs it: it runs where nothing is trained."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import asrlib.cohorts
import asrlib.meetings
import asrlib.scoring
import asrlib.verification

BLOCKED = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio", "lhotse", "k2", "kaldifeat"):
            raise ImportError(f"{name} is blocked")
        if name.startswith("asrlib.report"):
            raise ImportError(f"{name} is of a floor above")

sys.meta_path.insert(0, Blocked())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def load(*names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, *names]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "package", [asrlib.scoring, asrlib.meetings, asrlib.verification, asrlib.cohorts]
)
def test_every_module_loads_without_torch(package):
    modules = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    assert len(modules) >= 3
    done = load(package.__name__, *modules)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["torch.nn", "asrlib.streaming.result", "asrlib.report.plots"])
def test_what_is_blocked_does_not_load(name):
    done = load(name)
    assert done.returncode != 0
    assert "is blocked" in done.stderr or "floor above" in done.stderr


def test_the_room_is_small():
    assert len(list(pkgutil.iter_modules(asrlib.scoring.__path__))) <= 15
