"""Download and unpack an archive, with resumption, a progress bar and a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.response import addinfourl

from tqdm import tqdm

from asrlib.errors import DataError
from asrlib.files import atomic_write, naming, no_room

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        url: address of the archive.
        checksum: published checksum, `md5:HEX` or `sha256:HEX`, or the empty string.
    """

    url: str
    checksum: str = ""

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def fetch(archive: Archive, dest: Path) -> None:
    """Download `archive` and unpack it into `dest`, unless this was done before.

    Address, size and SHA-256 are recorded in `dest/.fetched/<name>.json`. An interrupted download
    continues where it stopped.

    Raises:
        DataError: the download fails, its checksum is wrong, or the archive is broken.
    """
    marker = dest / ".fetched" / f"{archive.name}.json"
    if marker.exists():
        return
    part = dest / ".fetched" / f"{archive.name}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    download(archive.url, part)
    sha256 = _verify(archive, part)
    unpack(part, dest)
    size = part.stat().st_size
    with atomic_write(marker) as f:
        json.dump({"url": archive.url, "bytes": size, "sha256": sha256}, f)
    part.unlink()


def download(url: str, part: Path) -> None:
    """Download `url` to `part`, and continue after the bytes that `part` already holds."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            resumed = have > 0 and response.status == 206
            _copy(response, part, have if resumed else 0)
    except urllib.error.HTTPError as e:
        if e.code == 416 and have:  # all bytes are there already
            return
        raise _no_download(url, e) from e
    except (OSError, ValueError) as e:
        if isinstance(e, OSError) and no_room(e):
            e.filename = str(part)
            raise
        raise _no_download(url, e) from e


def _no_download(url: str, error: Exception) -> DataError:
    return DataError(
        f"{url}: not downloaded: {error}",
        "run again to continue where it stopped, or download and unpack it by hand and give its "
        "directory with --corpus-dir",
    )


def _copy(response: HTTPResponse | addinfourl, part: Path, have: int) -> None:
    left = response.headers.get("Content-Length")
    total = None if left is None else have + int(left)
    with (
        open(part, "ab" if have else "wb") as f,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
    ):
        while block := response.read(_BLOCK):
            f.write(block)
            bar.update(len(block))
        got = f.tell()
    if total is not None and got < total:
        raise OSError(f"the connection ended after {got} of {total} bytes")


def _verify(archive: Archive, part: Path) -> str:
    """Check the checksum and return the SHA-256; a wrong file is removed."""
    kind, _, expected = archive.checksum.partition(":")
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(part, "rb") as f:
        while block := f.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
    if expected and digests[kind].hexdigest() != expected.lower():
        part.unlink()
        raise DataError(
            f"{archive.url}: {kind} is {digests[kind].hexdigest()}, not {expected}",
            "run again; the broken download was removed",
        )
    return digests["sha256"].hexdigest()


def unpack(archive: Path, dest: Path) -> None:
    """Unpack a tar file into a temporary folder, then move it into `dest` as complete files."""
    temp = Path(tempfile.mkdtemp(dir=dest, prefix=".unpack."))
    try:
        with naming(dest), tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if _wanted(archive, m)]
            for member in tqdm(members, desc="unpack", unit="file", disable=None):
                tar.extract(member, temp)
        _merge(temp, dest)
    except (tarfile.TarError, EOFError) as e:
        archive.unlink()
        raise DataError(
            f"{archive}: broken archive: {e}", "run again; the broken download was removed"
        ) from e
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _wanted(archive: Path, member: tarfile.TarInfo) -> bool:
    """Whether to unpack a member: files and folders only.

    Links and devices are not part of a corpus, and could point outside its folder.

    Raises:
        DataError: the member's name points outside the folder.
    """
    path = Path(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{archive}: member {member.name} would be written outside the corpus folder",
            "check where the archive comes from; unpack it by hand and use --corpus-dir",
        )
    return member.isfile() or member.isdir()


def _merge(source: Path, dest: Path) -> None:
    for entry in source.iterdir():
        target = dest / entry.name
        if entry.is_dir() and target.is_dir():
            _merge(entry, target)
        else:
            os.replace(entry, target)
