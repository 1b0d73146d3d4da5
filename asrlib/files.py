"""Write files and directories atomically: a path that exists always has its complete content."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from asrlib.errors import UserError

_LONGEST_NAME = 100  # characters of an id in a file name; file systems permit 255 bytes


def file_name(id: str, suffix: str = "") -> str:
    """Make a file name of an id, which may hold any characters: it stays in its directory.

    An id of letters, digits and `. _ + = @ , -` stays as it is. Otherwise the name ends with a hash
    of the id, so that different ids give different names.
    """
    plain = re.sub(r"[^A-Za-z0-9._+=@,-]", "_", id)[:_LONGEST_NAME].lstrip(".-")
    if plain != id or not id:
        digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
        plain = f"{plain}-{digest[:8]}"
    return plain + suffix


def is_plain_name(name: str) -> bool:
    """Whether a name is that of a file or directory in a directory: no path, nothing hidden."""
    return bool(name) and not name.startswith(".") and not set(name) & set("/\0")


def no_room(error: OSError) -> bool:
    """Return whether a write failed because of a full disk, a quota or a limit on file sizes."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fsync_dir(path: Path) -> None:
    """Write the entries of directory `path` to disk, so that a rename in it is permanent."""
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
    """Add `path` to the error of a full disk, which does not name a file by itself."""
    try:
        yield
    except OSError as e:
        if e.filename is None and no_room(e):
            e.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the body succeeds.

    Use it with libraries that open files by name; the suffixes are the same. If the body raises,
    the temporary file is deleted.
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
    """Open a file for writing; it appears at `path` only if the body succeeds."""
    with atomic_path(path) as temp:
        encoding = None if "b" in mode else "utf-8"
        with open(temp, mode, encoding=encoding) as f:
            yield f


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; it replaces `path` if the body succeeds.

    An old directory at `path` is renamed before it is deleted, so that `path` is never incomplete.
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


@contextlib.contextmanager
def alone(lock: Path, what: str, fix: str) -> Iterator[None]:
    """Hold a lock on the file `lock`, which is made if need be; it ends with the process.

    Raises:
        UserError: another process holds it; the error says `what` and `fix`.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(what, fix) from None
        except OSError as e:
            _not_locked(lock, e)
        yield


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this context with this folder, which must exist."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as e:
            _not_locked(folder, e)
        yield
    finally:
        os.close(handle)


def _not_locked(path: Path, error: OSError) -> None:
    # Some network file systems have no locks.
    logging.warning("%s: cannot be locked against a second run: %s", path, error.strerror)
