"""A run of a plan that was trained before under another name of exp/: it is copied, not repeated.

The same identity gives the same weights, up to rounding on another processor, so that the models of
`./run.sh` are also those runs of a plan that have the recipe's settings and seed.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from asrlib.experiments.run_record import RUN_FILE, RunRecord, identity_in, read_record
from asrlib.files import atomic_path

_FINAL = "final.pt"
_FOLDERS = ("checkpoints", "tensorboard")  # of a training, not of its decoding


def same_training(exp: Path, name: str, identity: str) -> Path | None:
    """The directory of a finished training of this identity under `exp`, but not that of `name`."""
    others = (path.parent for path in sorted(exp.glob(f"*/{_FINAL}")))
    return next((d for d in others if d.name != name and identity_in(d) == identity), None)


def copy_training(found: Path, directory: Path, record: RunRecord) -> None:
    """Copy a finished training; the model comes last, so that a half-made copy is not finished.

    Its record keeps the machine, the code and the time of the training that was run, and has the
    name, plan, factors and command of `record`.

    Raises:
        DataError: the record of `found` is missing or broken.
    """
    trained = read_record(found)
    for name in _FOLDERS:
        if (found / name).is_dir():
            shutil.copytree(found / name, directory / name, dirs_exist_ok=True)
    _copy(found / "config.yaml", directory / "config.yaml")
    named = {key: getattr(record, key) for key in ("name", "model", "plan", "factors", "argv")}
    replace(trained, **named).to_file(directory / RUN_FILE)
    _copy(found / _FINAL, directory / _FINAL)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as copy:
        shutil.copyfile(source, copy)
