"""Stage stamps, by which a stage that is complete and unchanged is skipped.

A stamp is a small JSON file beside the outputs of a stage. It holds a hash of the content of the
stage's inputs, its configuration and its version, and the names of its outputs.

The version of a stage is an integer in the module that makes its output (`DECODE_VERSION` in
`asrlib.streaming.batch`). Increase it when the output changes for the same inputs and
configuration; tests/test_golden.py fails if this was forgotten.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from asrlib.files import alone, atomic_write

logger = logging.getLogger(__name__)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, or of a directory's names, sizes and times."""
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in sorted(path.rglob("*")):
            stat = entry.stat() if entry.exists() else entry.lstat()
            line = f"{entry.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}\n"
            digest.update(os.fsencode(line))
        return digest.hexdigest()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a stamp cannot hold a {type(value).__name__}: its hash might vary")


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The inputs, configuration and outputs of a stage.

    Attributes:
        path: the stamp file.
        inputs: files or directories that the stage reads. If one is missing, the stamp is not
            current.
        config: configuration of the stage: nested dataclasses, mappings, sequences and scalars.
        outputs: files that must exist for the stamp to be current.
        version: version of the stage.
        lasting: whether outputs of another version are kept, with a warning, because it takes too
            long to make them again.
    """

    path: Path
    inputs: Sequence[Path]
    config: Any
    outputs: Sequence[Path] = ()
    version: int = dataclasses.field(kw_only=True)
    lasting: bool = dataclasses.field(kw_only=True, default=False)

    def key(self) -> str:
        """Return the hash of inputs, configuration and version."""
        content = {
            "version": None if self.lasting else self.version,
            "inputs": [hash_file(p) if p.exists() else None for p in self.inputs],
            "config": self.config,
        }
        text = json.dumps(content, sort_keys=True, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_current(self) -> bool:
        """Return whether the stage ran with the same key and all of its outputs still exist."""
        try:
            stored = json.loads(self.path.read_text())
            key, version = stored["key"], stored["version"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        present = all(p.exists() for p in (*self.inputs, *self.outputs))
        if not present or key != self.key():
            return False
        if version != self.version:
            logger.warning(
                "%s: made by version %s of this stage, whose version is now %d; it is kept, and "
                "--force makes it again",
                *(", ".join(str(p) for p in self.outputs), version, self.version),
            )
        return True

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Make the outputs inside; the stamp is written if the body succeeds.

        Nobody else makes them meanwhile. There is no stamp meanwhile either: outputs that a killed
        run left, some old and some new, must not pass for complete with the old configuration. The
        new stamp is of the inputs as they were at the start.

        Raises:
            UserError: another process makes the outputs.
        """
        lock = self.path.with_name(f".{self.path.name.removeprefix('.')}.lock")
        told = f"{self.path.parent}: another run of the same stage is at work there"
        with alone(lock, told, "wait until it ends, or stop it, then run again"):
            self.path.unlink(missing_ok=True)
            key = self.key()
            yield
            self.write(key)

    def write(self, key: str | None = None) -> None:
        """Write the stamp file; call it after the stage has succeeded.

        Args:
            key: of the inputs that were used; None: as they are now.
        """
        outputs = [p.name for p in self.outputs]
        content = {"key": key or self.key(), "version": self.version, "outputs": outputs}
        with atomic_write(self.path) as f:
            json.dump(content, f)
