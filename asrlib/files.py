"""Writing files so that a name, once there, always holds the whole content."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def no_room(error: OSError) -> bool:
    """Whether the disk, a quota or a limit on file sizes is what stopped a write."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fsync_dir(path: Path) -> None:
    """Make a rename in directory `path` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fsync_file(path: Path) -> None:
    with open(path, "rb") as f:
        os.fsync(f.fileno())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the error of a full disk, which knows no file, name `path`."""
    try:
        yield
    except OSError as e:
        if e.filename is None and no_room(e):
            e.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (same suffixes) that takes its name on success only.

    For libraries that open files by name. The sibling is removed when the body raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffixes = "".join(path.suffixes)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffixes)
    os.close(fd)
    temp = Path(name)
    try:
        with naming(path):
            yield temp
            _fsync_file(temp)
        temp.chmod(0o666 & ~_umask())
        os.replace(temp, path)
        fsync_dir(path.parent)
    finally:
        temp.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under `path` only when the body succeeds."""
    with atomic_path(path) as temp:
        encoding = None if "b" in mode else "utf-8"
        with open(temp, mode, encoding=encoding) as f:
            yield f


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling directory that replaces `path` on success only.

    An old `path` is moved aside before it is deleted, so that it never stands there half-deleted.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    new, old = temp / "new", temp / "old"
    new.mkdir()
    try:
        with naming(path):
            yield new
            for file in new.rglob("*"):
                if file.is_file():
                    _fsync_file(file)
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
        fsync_dir(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(temp, ignore_errors=True)
