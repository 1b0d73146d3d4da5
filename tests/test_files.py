"""asrlib.files: a name, once there, holds the whole content, whatever happened while writing."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.errors import UserError
from asrlib.files import alone, atomic_dir, atomic_path, atomic_write


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def start(script: str, *args: object, **options: object) -> subprocess.Popen:
    repo = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.Popen(command, cwd=repo, text=True, **options)


def fail(after: Callable, *args: object) -> None:
    after(*args)
    raise RuntimeError


@given(content=st.binary())
def test_bytes_come_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "a" / "b.bin"
    with atomic_write(path, "wb") as f:
        f.write(content)
    assert path.read_bytes() == content
    assert names(path.parent) == ["b.bin"]


def test_text_is_utf8_and_replaces_the_old(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as f:
        f.write("ñ")
        assert path.read_text() == "old"
    assert path.read_bytes() == "ñ".encode()


def test_the_temporary_sibling_has_the_suffixes_that_libraries_look_at(tmp_path):
    with atomic_path(tmp_path / "cuts.jsonl.gz") as temp:
        assert temp.name.endswith(".jsonl.gz")
        assert temp.parent == tmp_path


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "plain_dir").mkdir()
    with atomic_write(tmp_path / "atomic"):
        pass
    with atomic_dir(tmp_path / "atomic_dir"):
        pass
    for kind in ("", "_dir"):
        modes = [
            stat.S_IMODE((tmp_path / f"{n}{kind}").stat().st_mode) for n in ("plain", "atomic")
        ]
        assert modes[0] == modes[1]


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_write_leaves_what_was_there(tmp_path, existing):
    path = tmp_path / "a.txt"
    if existing:
        path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as f:
        fail(f.write, "half")
    assert names(tmp_path) == (["a.txt"] if existing else [])
    assert not existing or path.read_text() == "old"


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_directory_leaves_what_was_there(tmp_path, existing):
    path = tmp_path / "d"
    if existing:
        path.mkdir()
        (path / "old").touch()
    with pytest.raises(RuntimeError), atomic_dir(path) as temp:
        fail((temp / "new").touch)
    assert names(tmp_path) == (["d"] if existing else [])
    assert not existing or names(path) == ["old"]


def test_a_directory_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "d"
    for name in ("one", "two"):
        with atomic_dir(path) as temp:
            (temp / "sub").mkdir()
            (temp / "sub" / name).write_text(name)
    assert names(path / "sub") == ["two"]
    assert names(tmp_path) == ["d"]


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from asrlib.files import atomic_dir, atomic_write

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    path = Path(sys.argv[1])
    try:
        if sys.argv[2] == "file":
            with atomic_write(path) as f:
                f.write("x" * 5000)
        else:
            with atomic_dir(path) as temp:
                (temp / "part").write_text("x" * 5000)
    except OSError as e:
        print(e.errno, e.filename)
"""


@pytest.mark.parametrize("kind", ["file", "dir"])
def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, kind):
    path = tmp_path / "out"
    child = start(FULL_DISK, path, kind, stdout=subprocess.PIPE)
    out, _ = child.communicate()
    assert out == f"{errno.EFBIG} {path}\n"
    assert names(tmp_path) == []


def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path):
    script = """
        import sys, time
        from pathlib import Path
        from asrlib.files import atomic_write

        with atomic_write(Path(sys.argv[1])) as f:
            f.write("half"); f.flush(); print("wrote", flush=True); time.sleep(60)
    """
    path = tmp_path / "out"
    child = start(script, path, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "wrote\n"
    child.kill()
    child.communicate()
    assert not path.exists()


def test_a_reader_never_sees_a_half_written_file(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from asrlib.files import atomic_write

        for i in range(200):
            with atomic_write(Path(sys.argv[1])) as f:
                for _ in range(20):
                    f.write(f"{i}\\n"); f.flush()
    """
    path = tmp_path / "out"
    child = start(script, path)
    deadline, seen = time.monotonic() + 60, 0
    while child.poll() is None and time.monotonic() < deadline:
        if path.exists():
            lines = path.read_text().splitlines()
            assert len(lines) == 20
            assert len(set(lines)) == 1
            seen += 1
    assert child.wait() == 0
    assert seen > 0


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path):
    lock = tmp_path / "deep" / ".lock"
    script = """
        import sys, time
        from pathlib import Path
        from asrlib.files import alone

        with alone(Path(sys.argv[1]), "taken", "wait"):
            print("held", flush=True); time.sleep(60)
    """
    child = start(script, lock, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="taken\n  fix: wait"), alone(lock, "taken", "wait"):
        pass
    child.kill()
    child.communicate()
    with alone(lock, "taken", "wait"):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with alone(tmp_path / ".lock", "taken", "wait"):
        pass
    assert "No locks available" in caplog.text
