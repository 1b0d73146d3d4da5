"""Run the data preparation of a recipe as stages 0 and 1 do, and read what it leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet


def step(repo: Path, recipe: str, script: str, *options: object) -> subprocess.CompletedProcess:
    command = [str(repo / "egs" / recipe / "local" / script), *map(str, options)]
    if script.startswith("make_"):
        command[0] = str(repo / "steps" / script)
    if script == "make_manifests.sh":
        command[1:1] = ["--recipe", recipe]
    if script.endswith(".py"):
        command = ["bash", "-c", f'. "{repo}/path.sh" && exec python "$@"', "-", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def copied(repo: Path, folder: Path) -> Path:
    """A copy of all that run.sh needs but .venv; its tools/install.sh only leaves a file."""
    for name in ("asrlib", "conf", "local", "steps", "tools"):
        shutil.copytree(repo / name, folder / name)
    unwanted = shutil.ignore_patterns("data", "exp", "corpus")
    shutil.copytree(repo / "egs", folder / "egs", ignore=unwanted)
    for script in repo.glob("*.sh"):
        shutil.copy(script, folder)
    (folder / "tools" / "install.sh").write_text("#!/usr/bin/env bash\n>installed\n")
    return folder


def prepare(repo: Path, recipe: str, recipe_dir: Path, corpus: Path, script: str) -> None:
    """Stage 0 and a script of stage 1; both must succeed."""
    where = ("--recipe-dir", recipe_dir)
    for done in (
        step(repo, recipe, "corpus.sh", *where, "--corpus-dir", corpus),
        step(repo, recipe, script, *where),
    ):
        assert done.returncode == 0, done.stderr


def raw(recipe_dir: Path) -> dict[str, list[dict]]:
    files = (recipe_dir / "data" / "raw").glob("*.jsonl")
    return {p.stem: [json.loads(line) for line in p.open(encoding="utf-8")] for p in files}


def speakers(rows: list[dict]) -> set[str]:
    return {row["speaker"] for row in rows}


def cuts(recipe_dir: Path, name: str) -> list:
    return list(CutSet.from_file(recipe_dir / "data" / name / "cuts.jsonl.gz"))


def noise(path: Path, seconds: float = 1.0, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples_N = 0.1 * np.random.default_rng(len(path.name)).standard_normal(int(16000 * seconds))
    soundfile.write(path, samples_N, 16000, **options)
