"""The audit as pip installs it: a built wheel, an empty environment, a directory elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from audit_fakes import Tables

PYTHONS = ("3.10", "3.13")


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that knows nothing of this checkout."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        list(map(str, words)), cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )


def find_python(version: str, cwd: Path) -> str | None:
    """A Python of this version: one that uv finds, or one of pyenv's."""
    found = run("uv", "python", "find", "--no-python-downloads", version, cwd=cwd)
    if found.returncode == 0:
        return found.stdout.strip()
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    others = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    return str(others[-1]) if others else None


@pytest.fixture(scope="module")
def wheel(repo, tmp_path_factory) -> Path:
    """The wheel, built from a copy of what is committed or new."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repo / name, source)
    shutil.copytree(repo / "asrlib", source / "asrlib", ignore=shutil.ignore_patterns("*.pyc"))
    built = run("uv", "build", "--wheel", "--out-dir", out, source, cwd=out)
    assert built.returncode == 0, built.stderr
    return next(out.glob("fairstream-*.whl"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_audits_outside_the_repository(wheel, tmp_path, version):
    python = find_python(version, tmp_path)
    if python is None:
        pytest.skip(f"no Python {version} under uv or pyenv")
    environment = tmp_path / "environment"
    assert run("uv", "venv", "--python", python, environment, cwd=tmp_path).returncode == 0
    own = environment / "bin" / "python"
    installed = run("uv", "pip", "install", "--python", own, f"{wheel}[audit]", cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    listed = run("uv", "pip", "list", "--format=json", "--python", own, cwd=tmp_path)
    names = {p["name"] for p in json.loads(listed.stdout)}
    assert not names & {"torch", "torchaudio", "k2", "lhotse", "sentencepiece"}
    tables = Tables(tmp_path / "tables", times=4.0)
    words = [*tables.write(), *tables.voices, "--permutations", "99", "--out", "report"]
    done = run(environment / "bin" / "fairstream", "audit", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert found["finding"].startswith("Worst confirmed cohort")
    assert (tmp_path / "report" / "audit.html").exists()
    atlas = 'from asrlib.report.us_map import outlines; assert "Ohio" in outlines()'
    assert run(own, "-c", atlas, cwd=tmp_path).returncode == 0
