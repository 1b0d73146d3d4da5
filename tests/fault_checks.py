"""Other faults than kills: full disks, damaged checkpoints, clocks, two runs at once."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_stages import STAGES, Stage
from faults import Pipeline, tree

from asrlib.experiments.trust import FaultCheck

_BY_NAME = {stage.name: stage for stage in STAGES}
_YEARS = 10 * 365 * 24 * 3600.0
LAST = "score"  # the pipeline has to be complete up to this stage


def can_mount() -> bool:
    """Whether this process may mount file systems."""
    if os.geteuid():
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


@contextmanager
def _disk(path: Path, room: int) -> Iterator[None]:
    """Put a directory on a disk of its own, with `room` bytes left."""
    copy = path.parents[2] / f"{path.name}-copy"
    path.mkdir(exist_ok=True)
    path.rename(copy)
    path.mkdir()
    files = (p for p in copy.rglob("*") if p.is_file())
    used = sum(-(-p.stat().st_size // 4096) * 4096 for p in files)
    _mount("-t", "tmpfs", "-o", f"size={used + room}", "none", path)
    try:
        shutil.copytree(copy, path, symlinks=True, dirs_exist_ok=True)
        yield
    finally:
        shutil.rmtree(copy)
        shutil.copytree(path, copy, symlinks=True)
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()
        copy.rename(path)


def _refused(pipeline: Pipeline, stage: Stage) -> str:
    """Run a stage that cannot succeed; returns what it tells."""
    code = pipeline.start(stage).wait(300.0)
    assert code == 1, f"exit code {code}: {pipeline.messages.read_text()[-2000:]}"
    return pipeline.told()


def _same(pipeline: Pipeline, stage: Stage) -> None:
    """Run a stage to the end; it leaves what it leaves without a fault."""
    pipeline.finish(stage)
    different = pipeline.differences(stage)
    assert not different, different


def full_disk(pipeline: Pipeline, stage: Stage, folder: str, room: int) -> str:
    pipeline.restore(stage)
    with _disk(pipeline.recipe / folder, room):
        told = _refused(pipeline, stage)
        assert "No space left on device" in told, told
        _mount("-o", "remount,size=200M", pipeline.recipe / folder)
        _same(pipeline, stage)
    return told


def read_only(pipeline: Pipeline, stage: Stage, folder: str) -> str:
    pipeline.restore(stage)
    before = tree(pipeline.recipe)
    with _disk(pipeline.recipe / folder, 2**20):
        _mount("-o", "remount,ro", pipeline.recipe / folder)
        told = _refused(pipeline, stage)
        assert tree(pipeline.recipe) == before
        _mount("-o", "remount,rw,size=200M", pipeline.recipe / folder)
        _same(pipeline, stage)
    return told


def newest_checkpoint_damaged(pipeline: Pipeline) -> str:
    """A training is killed when it has two checkpoints, and the newer one is damaged."""
    stage = _BY_NAME["train"]
    pipeline.restore(stage)
    run, folder = pipeline.start(stage), pipeline.recipe / "exp" / "lstm" / "checkpoints"
    while len(list(folder.glob("step-*.pt"))) < 2:
        assert run.wait(0.0) is None, pipeline.messages.read_text()[-2000:]
        time.sleep(0.001)
    run.kill()
    newest = max(folder.glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:-1000])
    _same(pipeline, stage)
    log = (pipeline.recipe / "exp" / "lstm" / "log" / "train.log").read_text()
    told = next(line for line in log.splitlines() if "falling back" in line)
    return told[told.index("exp/lstm") :]


def model_damaged(pipeline: Pipeline) -> str:
    """The finished model is damaged; without it, the same training makes it again."""
    stage = _BY_NAME["decode"]
    pipeline.restore(stage)
    model = pipeline.recipe / "exp" / "lstm" / "final.pt"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 255
    model.write_bytes(content)
    told = _refused(pipeline, stage)
    model.unlink()
    pipeline.finish(_BY_NAME["train"])
    _same(pipeline, stage)
    return told


def clock_skew(pipeline: Pipeline) -> str:
    """All files are dated years into the future or the past; then all stages run again."""
    last = _BY_NAME[LAST]
    pipeline.restore(last)
    pipeline.finish(last)
    rng = random.Random(1)
    for path in sorted(pipeline.recipe.rglob("*")):
        moment = time.time() + rng.uniform(-_YEARS, _YEARS)
        os.utime(path, (moment, moment), follow_symlinks=False)
    for stage in STAGES[: STAGES.index(last) + 1]:
        pipeline.finish(stage)
    # This stamp holds the dates of the audio, so that stage 1 looks at all files again.
    different = set(pipeline.differences(last)) - {"data/manifests.stamp"}
    assert not different, different
    return ""


def two_runs(pipeline: Pipeline, stage: Stage) -> str:
    """Two runs of a stage start at once: one is done, the other does no harm or is refused."""
    pipeline.restore(stage)
    files = [pipeline.messages.with_name(f"messages-{i}.txt") for i in (1, 2)]
    runs = [pipeline.start(stage, file) for file in files]
    codes = [run.wait(300.0) for run in runs]
    told = [pipeline.told(file) for file, code in zip(files, codes, strict=True) if code]
    assert set(codes) <= {0, 1}, codes
    assert 0 in codes, told
    assert all("at work there" in text for text in told), told
    different = pipeline.differences(stage)
    assert not different, different
    return "".join(told)


def checks(pipeline: Pipeline) -> Iterator[FaultCheck]:
    """Run all of them; the pipeline is complete up to the stage `LAST`."""
    todo: dict[str, Callable[[], str]] = {}
    if can_mount():
        for name, folder, room in (
            ("manifests", "data", 8192),
            ("train", "exp", 40960),
            ("decode", "exp", 4096),
        ):
            stage = _BY_NAME[name]
            todo[f"full disk, {name}"] = lambda s=stage, f=folder, r=room: full_disk(
                pipeline, s, f, r
            )
            todo[f"read-only directory, {name}"] = lambda s=stage, f=folder: read_only(
                pipeline, s, f
            )
    todo["newest checkpoint damaged"] = lambda: newest_checkpoint_damaged(pipeline)
    todo["model damaged"] = lambda: model_damaged(pipeline)
    todo["files dated in the future and the past"] = lambda: clock_skew(pipeline)
    for name in ("manifests", "fbank", "train", "decode"):
        stage = _BY_NAME[name]
        todo[f"two runs at once, {name}"] = lambda s=stage: two_runs(pipeline, s)
    for name, check in todo.items():
        try:
            yield FaultCheck(name=name, told=check(), holds=True)
        except (AssertionError, RuntimeError) as e:
            yield FaultCheck(name=name, told=str(e)[:1000], holds=False)
