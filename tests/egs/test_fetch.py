"""Corpora are found where they are, and fetched whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_fakes import full_disk

from asrlib.errors import DataError
from local.fetch import Archive, download, fetch

RECIPES = ["an4", "speechocean762", "librispeech", "kaldi_dir", "pooled"]
RECIPES += ["speech_commands", "commonvoice", "voxceleb"]


@pytest.fixture
def archive(tmp_path) -> Path:
    """A corpus of two files, packed."""
    source = tmp_path / "source" / "corpus"
    source.mkdir(parents=True)
    (source / "README").write_text("a corpus")
    (source / "audio.bin").write_bytes(bytes(range(256)) * 4000)
    path = tmp_path / "corpus.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        tar.add(source, "corpus")
    return path


def checksum(path: Path, kind: str) -> str:
    return f"{kind}:{hashlib.new(kind, path.read_bytes()).hexdigest()}"


class RangeServer(http.server.SimpleHTTPRequestHandler):
    """Serves ranges, and breaks off the first whole answer after 100,000 bytes."""

    broken = False
    ranges: list[str]

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path.strip("/")).read_bytes()
        wanted = self.headers.get("Range")
        self.ranges.append(wanted or "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = start + 100_000 if not type(self).broken else len(data)
        type(self).broken = True
        self.wfile.write(data[start:stop])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, type[RangeServer]]]:
    handler = type("Handler", (RangeServer,), {"ranges": []})
    bound = functools.partial(handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), bound) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", handler
        httpd.shutdown()


@pytest.mark.parametrize("kind", ["md5", "sha256", ""])
def test_fetched_corpus_is_whole_and_recorded(tmp_path, archive, kind):
    dest = tmp_path / "dest"
    fetch(Archive(archive.as_uri(), kind and checksum(archive, kind)), dest)
    assert (dest / "corpus" / "README").read_text() == "a corpus"
    record = json.loads((dest / ".fetched" / "corpus.tar.gz.json").read_text())
    assert record["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert record["bytes"] == archive.stat().st_size
    assert sorted(p.name for p in dest.iterdir()) == [".fetched", "corpus"]


def test_fetched_once(tmp_path, archive):
    fetch(Archive(archive.as_uri()), tmp_path / "dest")
    archive_uri = archive.as_uri()
    archive.unlink()
    fetch(Archive(archive_uri), tmp_path / "dest")


def test_wrong_checksum_leaves_nothing(tmp_path, archive):
    dest = tmp_path / "dest"
    with pytest.raises(DataError, match="md5 is"):
        fetch(Archive(archive.as_uri(), "md5:" + "0" * 32), dest)
    assert [p for p in dest.rglob("*") if p.is_file()] == []


def test_broken_connection_goes_on_where_it_stopped(tmp_path, archive, server):
    url, handler = server
    wanted = Archive(f"{url}/corpus.tar.gz", checksum(archive, "sha256"))
    with pytest.raises(DataError, match="not downloaded"):
        fetch(wanted, tmp_path / "dest")
    assert not (tmp_path / "dest" / "corpus").exists()
    fetch(wanted, tmp_path / "dest")
    assert handler.ranges == ["", "bytes=100000-"]
    assert (tmp_path / "dest" / "corpus" / "audio.bin").stat().st_size == 256 * 4000


def test_whole_download_is_not_repeated(tmp_path, archive, server):
    url, handler = server
    handler.broken = True
    part = tmp_path / "part"
    download(f"{url}/corpus.tar.gz", part)
    download(f"{url}/corpus.tar.gz", part)
    assert part.read_bytes() == archive.read_bytes()


def test_cut_archive_is_an_error_and_removed(tmp_path, archive):
    archive.write_bytes(archive.read_bytes()[:200_000])
    with pytest.raises(DataError, match="broken archive"):
        fetch(Archive(archive.as_uri()), tmp_path / "dest")
    assert [p for p in (tmp_path / "dest").rglob("*") if p.is_file()] == []


def test_archive_cannot_write_outside(tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(DataError, match="outside the corpus folder"):
        fetch(Archive(path.as_uri()), tmp_path / "dest")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("room", [100_000, 1_050_000], ids=["download", "unpacked"])
def test_full_disk_leaves_no_half_corpus(tmp_path, archive, room):
    if room > 1_000_000:  # the packed file fits, a file in it does not
        big = tmp_path / "source" / "corpus" / "silence.bin"
        big.write_bytes(bytes(2_000_000))
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.add(big.parent, "corpus")
        assert archive.stat().st_size < room
    dest = tmp_path / "dest"
    with full_disk(room), pytest.raises(OSError, match="File too large") as error:
        fetch(Archive(archive.as_uri()), dest)
    assert str(dest) in str(error.value.filename)
    assert [p.name for p in dest.iterdir()] == [".fetched"]
    fetch(Archive(archive.as_uri()), dest)
    assert (dest / "corpus" / "README").exists()


def test_no_connection_names_the_mend(tmp_path):
    with pytest.raises(DataError, match="--corpus-dir"):
        fetch(Archive((tmp_path / "none.tar.gz").as_uri()), tmp_path / "dest")


def corpus_step(repo: Path, recipe: str, *options: str) -> subprocess.CompletedProcess:
    command = [str(repo / "egs" / recipe / "local" / "corpus.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("recipe", RECIPES)
def test_missing_corpus_is_an_error_that_names_the_place(repo, tmp_path, recipe):
    done = corpus_step(
        repo, recipe, "--recipe-dir", str(tmp_path), "--corpus-dir", str(tmp_path / "none")
    )
    assert done.returncode == 1
    assert f"error: {tmp_path / 'none'}" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    left = [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()]
    assert left == ["corpus.log"]


def test_unknown_part_of_librispeech(repo, tmp_path):
    done = corpus_step(repo, "librispeech", "--recipe-dir", str(tmp_path), "--parts", "train-clea")
    assert done.returncode == 2
    assert "no part 'train-clea'" in done.stderr


def test_place_is_remembered(repo, tmp_path):
    corpus = tmp_path / "parent" / "an4"
    (corpus / "etc").mkdir(parents=True)
    (corpus / "etc" / "an4_train.fileids").touch()
    first = corpus_step(
        repo, "an4", "--recipe-dir", str(tmp_path), "--corpus-dir", str(corpus.parent)
    )
    again = corpus_step(repo, "an4", "--recipe-dir", str(tmp_path))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert json.loads((tmp_path / "data" / "corpus.json").read_text())["corpus_dir"] == str(corpus)
    lines = (tmp_path / "data" / "log" / "corpus.log").read_text().splitlines()
    assert [line.partition(" INFO ")[2] for line in lines] == [f"AN4: {corpus}"] * 2
