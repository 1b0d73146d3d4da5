"""What a training run is: `exp/NAME/run.json`, written when the training starts.

A run's identity is a hash of what decides its weights: the configuration, the data, and the run
that it starts from. Its directory's name is only a name, and the machine takes no part: the same
identity on another processor gives the same model up to rounding.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from asrlib import __version__
from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.recipe import PROJECT_DIR
from asrlib.scoring.records import Machine
from asrlib.searches import SEARCHES
from asrlib.spool import sorted_on_disk
from asrlib.stamps import hash_file
from asrlib.training.config import (
    HARMLESS_DATA_KEYS,
    HARMLESS_DECODING_KEYS,
    HARMLESS_MEMBERSHIP_KEYS,
    HARMLESS_MITIGATION_KEYS,
    MACHINE_KEYS,
    without,
)
from asrlib.training.training_inputs import input_names

RUN_FILE = "run.json"
# Files of data/ that follow from the sets of cuts, up to rounding.
_DERIVED = frozenset({"fbank/cmvn.json", "speakers.tsv"})
_LIBRARIES = ("torch", "k2", "fast_rnnt", "lhotse", "kaldifeat")
# What publishing writes is tracked, too, but changes no run.
_CODE = (".", ":!egs/*/results/*", ":!egs/*/RESULTS.md")


@dataclass(frozen=True)
class GitState(JsonRecord):
    """The commit that was checked out, and whether files differed from it."""

    commit: str
    dirty: bool


# A key that is added to conf/ has a line here, `section.key` or `section.key.key`: the value that
# gives what the code did without it.
_CAME_LATER: dict[str, Any] = {
    "train.precision": "float32",
    "data.unknown_source": 0.1,
    "decode.source": None,
}


@dataclass(frozen=True, kw_only=True)
class RunRecord(JsonRecord):
    """run.json.

    Attributes:
        name: of the directory under exp/.
        model: of `conf/model/<model>.yaml`.
        plan: of the plan that the run belongs to; None outside a plan.
        factors: values by key of `--set` that the plan varies on purpose.
        argv: words of the command that repeats the run from the top of a clone.
        git: None where there is no repository.
        config: plain values of all sections of `conf/` that the training reads.
        data: hashes by name of what it reads of `data/`: `train`, `dev`, `lang/bpe.model`, ...;
            and of files that lie elsewhere, such as `cohorts.jsonl`, if it reads them.
        start: what the run starts from: the identity of another run, or the hash of a model
            without a record; None of a run that starts from random weights.
        processor: what the training ran on, or would have without the device.
        device: `cpu`, or the GPU's name.
        versions: of Python, of asrlib and of the libraries that decide the result.
        started: UTC, ISO 8601.
    """

    name: str
    model: str
    plan: str | None
    factors: dict[str, Any]
    argv: tuple[str, ...]
    git: GitState | None
    config: dict[str, dict[str, Any]]
    data: dict[str, str]
    start: str | None
    processor: Machine
    device: str
    versions: dict[str, str]
    started: str

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what decides the weights."""
        return identity_of(self.config, self.data, self.start)

    @property
    def seed(self) -> int:
        """Of the training's random draws."""
        return int(self.config["train"]["seed"])


def identity_of(
    config: Mapping[str, Mapping[str, Any]], data: Mapping[str, str], start: str | None
) -> str:
    """SHA-256 of what decides a run's weights; see `RunRecord`."""
    return _hash({"config": decisive(config), "data": data, "start": start})


def decisive(config: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The sections without keys that do not touch the result, and those of the machine.

    Keys that came later are left out where their value says what was so before, so that results
    that were published before stay those of the same training.
    """
    sections = _as_before(config)
    apart = {"train": MACHINE_KEYS, "decode": HARMLESS_DECODING_KEYS, "data": HARMLESS_DATA_KEYS}
    apart |= {"membership": HARMLESS_MEMBERSHIP_KEYS, "mitigation": HARMLESS_MITIGATION_KEYS}
    if decode := sections.get("decode"):
        apart["decode"] = apart["decode"] | (set(SEARCHES) - {decode.get("search")})
    return {name: without(values, apart.get(name, ())) for name, values in sections.items()}


def _as_before(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values without the keys that came later and have the value of `_CAME_LATER`."""
    kept = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            kept[key] = _as_before(value, f"{name}.")
        elif name not in _CAME_LATER or _CAME_LATER[name] != value:
            kept[key] = value
    return kept


def make_record(
    *,
    name: str,
    model: str,
    plan: str | None,
    factors: Mapping[str, Any],
    argv: Iterable[str],
    config: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, str],
    start: str | None,
) -> RunRecord:
    """The record of a run that starts now, on this machine, with this code.

    Raises:
        DataError: as `hash_data`.
    """
    from asrlib.machine import machine

    return RunRecord(
        name=name,
        model=model,
        plan=plan,
        factors=dict(factors),
        argv=tuple(argv),
        git=git_state(PROJECT_DIR),
        config={section: dict(values) for section, values in config.items()},
        data=dict(data),
        start=start,
        processor=Machine(**machine()),
        device=_device_name(str(config["train"]["device"])),
        versions=_versions(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def read_record(model_dir: Path) -> RunRecord:
    """The record of exp/NAME.

    Raises:
        DataError: it is missing, broken, or of another version.
    """
    return RunRecord.from_file(model_dir / RUN_FILE, "train the model again with --force")


def identity_in(model_dir: Path) -> str | None:
    """The identity of the run in exp/NAME; None where no record is, or a broken one."""
    try:
        return read_record(model_dir).identity
    except DataError:
        return None


def start_of(init: Path | None) -> str | None:
    """What a run starts from: see `RunRecord.start`.

    Args:
        init: the model file that it starts from.
    """
    if init is None:
        return None
    known = identity_in(init.parent) if init.name == "final.pt" else None
    return known or hash_file(init)


def hash_data(data: Path, files: Iterable[Path]) -> dict[str, str]:
    """Hashes of what decides a training, by name, wherever the recipe lies.

    Of a set of cuts its ids, times, texts and speakers count, not where its audio and features
    are stored. The features' statistics follow from these, up to rounding, and do not count.

    Args:
        data: the recipe's data directory.
        files: those that the training reads, of `Configs.input_files`.

    Raises:
        DataError: a file is missing or unreadable.
    """
    hashes = {}
    for path, name in data_names(data, files).items():
        if path.name.endswith(".jsonl.gz"):
            hashes[name] = _hash_sorted(_cut_lines(path))
        elif name not in _DERIVED:
            hashes[name] = hash_file(path)
    return hashes


def data_names(data: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Name files as `hash_data` does: cuts by their set, and other files by their path in `data`.

    Files that lie elsewhere are named by `input_names`.
    """
    names = input_names(data, files)
    for path in names:
        if path.is_relative_to(data):
            said = path.parent if path.name.endswith(".jsonl.gz") else path
            names[path] = said.relative_to(data).as_posix()
    return names


def _cut_lines(path: Path) -> Iterable[str]:
    """One line for each cut of a manifest, without what depends on the machine."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as f:
            for line in f:
                cut = json.loads(line)
                said = [
                    [s.get("text"), s.get("speaker"), _time(s["start"]), _time(s["duration"])]
                    for s in cut.get("supervisions", ())
                ]
                where = [_time(cut["start"]), _time(cut["duration"]), cut.get("channel")]
                yield json.dumps([cut["id"], *where, said])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"{path}: unreadable or half-written ({type(e).__name__})", "run stage 2 with --force"
        ) from e


def _time(seconds: float) -> float:
    return round(seconds, 6)


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_sorted(lines: Iterable[str]) -> str:
    """Return `_hash(sorted(lines))`, without all lines in memory."""
    digest, comma = hashlib.sha256(b"["), ""
    for line, _ in sorted_on_disk((line, "") for line in lines):
        digest.update(f"{comma}{json.dumps(line)}".encode())
        comma = ","
    digest.update(b"]")
    return digest.hexdigest()


def git_state(repository: Path) -> GitState | None:
    """What is checked out there; None without git or a commit."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(repository), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):
        return None
    return GitState(commit, bool(changed.strip()))


def _device_name(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "asrlib": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
