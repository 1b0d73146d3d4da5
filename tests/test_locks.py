"""The locks of both environments, and what tools/install.sh builds from source for them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from asrlib.installation import BUILT, ENVIRONMENTS

LOCKS = ("requirements.txt", "requirements-torch2.txt")
locks = pytest.mark.parametrize("lock", LOCKS)


def locked(repo: Path, lock: str = "requirements.txt") -> dict[str, list[str]]:
    """Hashes of each `name==version` of a lock."""
    entries = re.split(r"^(?=[a-z0-9])", (repo / "tools" / lock).read_text(), flags=re.M)
    return {e.split()[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})", e) for e in entries[1:]}


@locks
def test_every_locked_package_has_hashes(repo, lock):
    assert len(locked(repo, lock)) > 50
    assert [name for name, hashes in locked(repo, lock).items() if not hashes] == []


def test_k2_is_chosen_by_the_one_hash_of_its_wheel_for_this_python(repo):
    assert locked(repo)["k2==1.23.4"] == [
        "1404589732fdb7f6f5bf62297a20dd73318b7b4f2e10dd52dc3d5b6669688a4c"
    ]


@locks
def test_the_lock_names_no_index(repo, lock):
    text = (repo / "tools" / lock).read_text()
    assert not re.search(r"https?:|file:|index|find-links|trusted-host", text)


@locks
def test_all_that_is_required_is_locked(repo, lock):
    wanted = re.findall(r"^[\w-]+", (repo / "tools/requirements.in").read_text(), re.MULTILINE)
    names = {package.split("==")[0] for package in locked(repo, lock)}
    assert {name.lower() for name in wanted} <= names


def test_the_locks_differ_only_in_torch_and_what_it_needs(repo):
    wanted = (repo / "tools/requirements-torch2.in").read_text()
    replaced = dict(re.findall(r"^([\w-]+)==([\d.]+)", wanted, re.MULTILINE))
    first, second = (dict(package.split("==") for package in locked(repo, lock)) for lock in LOCKS)
    assert {"torch", "torchaudio"} <= set(replaced)
    assert {name: second[name] for name in replaced} == replaced
    assert {n for n in first if second.get(n, first[n]) != first[n]} == set(replaced)
    gone = {name for name in first if name not in second}
    assert {name for name in gone if not name.startswith("nvidia-")} == {"k2"}


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=lambda e: e.name)
def test_the_doctor_and_the_installation_mean_the_same(repo, environment):
    versions = dict(package.split("==") for package in locked(repo, environment.lock))
    assert versions["torch"].startswith(environment.torch + ".")
    assert environment.name == f".venv{environment.lock[len('requirements') : -len('.txt')]}"
    assert (environment.loss == "k2") is ("k2" in versions)
    script = (repo / "tools/install.sh").read_text()
    for name, version in BUILT.items():
        assert f'"{name}=={version} ' in script
    assert f"{environment.torch}: {environment.name}, with {environment.loss}" in script


def build_tree(repo: Path, root: Path, files: list[str], cuda: bool = False) -> list[str]:
    """The includes of the one C++ file that tools/build_sdist.py makes of these files."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    sys.path.insert(0, str(repo / "tools"))
    try:
        import build_sdist
    finally:
        sys.path.pop(0)
    build_sdist.write_build_tree(root, cuda)
    return re.findall('"(.*)"', (root / "all.cc").read_text())


def test_kaldifeat_is_built_from_all_its_sources_but_the_tests(repo, tmp_path):
    root = tmp_path / "kaldifeat-1.24"
    files = ("csrc/a.cc", "csrc/test_a.cc", "python/csrc/b.cc", "python/kaldifeat/x.py")
    found = build_tree(repo, root, [f"kaldifeat/{file}" for file in files])
    assert found == ["kaldifeat/csrc/a.cc", "kaldifeat/python/csrc/b.cc"]
    assert 'version="1.24"' in (root / "setup.py").read_text()


@pytest.mark.parametrize("cuda", [False, True])
def test_fast_rnnts_code_for_gpus_is_built_only_if_asked_for(repo, tmp_path, cuda):
    root = tmp_path / "fast_rnnt-1.3"
    names = ("csrc/mutual_information_cpu.cu", "csrc/mutual_information_cuda.cu")
    names += ("python/csrc/fast_rnnt.cu", "python/fast_rnnt/x.py")
    found = build_tree(repo, root, [f"fast_rnnt/{name}" for name in names], cuda)
    assert found == [
        "fast_rnnt/csrc/mutual_information_cpu.cu",
        "fast_rnnt/python/csrc/fast_rnnt.cu",
    ]
    setup = (root / "setup.py").read_text()
    assert ("mutual_information_cuda.cu" in setup) is ("CUDAExtension" in setup) is cuda
    version = (root / "fast_rnnt/python/fast_rnnt/torch_version.py").read_text()
    assert f"fast_rnnt_with_cuda = {cuda}" in version
