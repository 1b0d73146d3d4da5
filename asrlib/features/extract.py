"""Feature extraction of stage 2, in shards, with mean and deviation of the features.

The names of a shard's files contain a key, a hash of inputs and configuration. So a run after a
kill uses the finished shards again, and a run with another configuration never overwrites an
archive to which a manifest still points.

Features are stored in an archive, or computed on the fly, each time that a cut's features are
loaded (`asrlib.features.on_the_fly`). The manifests differ in nothing else.

Suffixes: N samples, T frames, F mel bins.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut
from lhotse.utils import compute_num_samples

from asrlib.features.cut_audio import (
    audio_reader,
    change_speed,
    changed_cut,
    cut_line,
    load_cut_audio,
)
from asrlib.features.fbank import FbankConfig
from asrlib.features.lhotse_fbank import KaldifeatFbank
from asrlib.features.on_the_fly import STORAGE, storage_key, write_settings
from asrlib.features.storage import Float16ArchiveWriter
from asrlib.files import atomic_path, atomic_write
from asrlib.spool import sorted_on_disk

FBANK_VERSION = 1  # raised when the output of `fbank` changes; see asrlib/stamps.py
# Length of audio that is read before its features are computed, seconds. If decoder and kaldifeat
# alternate for every utterance, they evict each other from the processor's caches, which costs a
# tenth of the speed.
_SECONDS_AT_A_TIME = 20.0


@dataclass(frozen=True)
class Moments:
    """Sums over frames, which give mean and deviation; the sums of parts can be added."""

    frames: int
    sum_F: tuple[float, ...]
    square_F: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Moments:
        """Read the sums that `write` stored."""
        frames, sum_F, square_F = json.loads(path.read_text())
        return cls(frames, tuple(sum_F), tuple(square_F))

    def write(self, path: Path) -> None:
        """Write the sums exactly, without rounding."""
        with atomic_write(path) as f:
            json.dump([self.frames, self.sum_F, self.square_F], f)

    def write_cmvn(self, path: Path) -> None:
        """Write mean and deviation as `{"mean": [F], "std": [F], "frames": n}`."""
        mean_F = np.array(self.sum_F) / self.frames
        variance_F = np.array(self.square_F) / self.frames - mean_F**2
        # Rounding hides the order of summation, which depends on the number of jobs.
        std_F = np.sqrt(np.maximum(variance_F, 1e-8))
        content = {
            "mean": np.round(mean_F, 6).tolist(),
            "std": np.round(std_F, 6).tolist(),
            "frames": self.frames,
        }
        with atomic_write(path) as f:
            json.dump(content, f)


def add_moments(parts: Iterable[Moments]) -> Moments:
    """Add the sums of all parts."""
    parts = list(parts)
    return Moments(
        frames=sum(p.frames for p in parts),
        sum_F=tuple(np.sum([p.sum_F for p in parts], axis=0).tolist()),
        square_F=tuple(np.sum([p.square_F for p in parts], axis=0).tolist()),
    )


@dataclass(frozen=True)
class ShardTask:
    """One job's shard of a set: cuts `index`, `index + count`, `index + 2 count`, ...

    Attributes:
        cuts: manifest of the set.
        out: directory for the shard's archive and manifest.
        key: hash of inputs and configuration, part of the file names.
        index: number of the shard, from 0.
        count: number of shards.
        speeds: speed factors; every cut is stored once for each.
        config: settings of the features.
        stored: whether the features are stored; if not, they are computed on the fly.
        summed: whether the sums of the features are needed. Otherwise features that are not stored
            are not computed here either, and only their frames are counted.
    """

    cuts: Path
    out: Path
    key: str
    index: int
    count: int
    speeds: tuple[float, ...]
    config: FbankConfig
    stored: bool = True
    summed: bool = True

    def _file(self, kind: str) -> Path:
        return self.out / f"{self.key}.{self.index + 1}of{self.count}.{kind}"

    @property
    def archive(self) -> Path:
        """Archive of the features, or the settings to compute them with."""
        return self._file("f16" if self.stored else "fly")

    @property
    def manifest(self) -> Path:
        """Manifest of the shard's cuts with features, sorted by id."""
        return self._file("jsonl")

    @property
    def moments(self) -> Path:
        """File of the feature sums, written last, so that it marks a finished shard."""
        return self._file("json")


def extract_shard(task: ShardTask) -> Moments:
    """Compute and store the features of a shard; of a finished shard, only read the sums.

    Raises:
        DataError: an audio file can no longer be read; the message names it.
    """
    torch.set_num_threads(1)  # one job, one core
    if task.moments.exists() and task.archive.exists() and task.manifest.exists():
        return Moments.read(task.moments)
    sums = _Sums(task.config.num_bins)
    with atomic_write(task.manifest) as f:
        lines = _lines(_stored(task, sums) if task.stored else _on_the_fly(task, sums))
        f.writelines(f"{line}\n" for _, line in sorted_on_disk(lines))
    moments = sums.moments()
    moments.write(task.moments)
    return moments


class _Sums:
    """Adds up the features of cuts."""

    def __init__(self, num_bins: int) -> None:
        self._frames, self._sum_F, self._square_F = 0, np.zeros(num_bins), np.zeros(num_bins)

    def add(self, features_TF: np.ndarray) -> None:
        self._frames += len(features_TF)
        self._sum_F += features_TF.sum(axis=0, dtype=np.float64)
        self._square_F += np.einsum("tf,tf->f", features_TF, features_TF)

    def add_frames(self, frames: int) -> None:
        self._frames += frames

    def moments(self) -> Moments:
        return Moments(self._frames, tuple(self._sum_F.tolist()), tuple(self._square_F.tolist()))


def _lines(cuts: Iterable[MonoCut]) -> Iterator[tuple[str, str]]:
    for cut in cuts:
        yield cut.id, cut_line(cut)


def _stored(task: ShardTask, sums: _Sums) -> Iterator[MonoCut]:
    """Store the features of the shard's cuts, and yield the cuts with them."""
    extractor = KaldifeatFbank(task.config)
    with atomic_write(task.archive, "wb") as f, audio_reader():
        writer = Float16ArchiveWriter(task.archive.resolve(), f)
        for _, _, cut, features_TF in _computed(task, extractor):
            sums.add(features_TF)
            cut.features = extractor.store(cut, features_TF, writer)
            yield cut


def _on_the_fly(task: ShardTask, sums: _Sums) -> Iterator[MonoCut]:
    """Yield the shard's cuts with features that are computed whenever they are loaded."""
    extractor = KaldifeatFbank(task.config)
    write_settings(task.archive, task.config)
    path = str(task.archive.resolve())
    if task.summed:
        with audio_reader():
            for original, speed, cut, features_TF in _computed(task, extractor):
                sums.add(features_TF)
                key = storage_key(original, speed)
                cut.features = extractor.describe(cut, len(features_TF), STORAGE, path, key)
                yield cut
        return
    for original in read_share(task):
        for speed in task.speeds:
            cut = changed_cut(original, speed)
            samples = compute_num_samples(cut.duration, cut.sampling_rate)
            frames, key = task.config.num_frames(samples), storage_key(original, speed)
            sums.add_frames(frames)
            cut.features = extractor.describe(cut, frames, STORAGE, path, key)
            yield cut


def read_share(task: ShardTask) -> Iterator[MonoCut]:
    """Iterate over the shard's cuts, without parsing the lines of other shards."""
    with gzip.open(task.cuts, "rt", encoding="utf-8") as lines:
        for line in islice(lines, task.index, None, task.count):
            yield MonoCut.from_dict(json.loads(line))


def _computed(
    task: ShardTask, extractor: KaldifeatFbank
) -> Iterator[tuple[MonoCut, float, MonoCut, np.ndarray]]:
    """Yield each cut of the shard, each speed, the cut at this speed and its features (T, F)."""
    for group in _groups(read_share(task)):
        audio = [(cut, load_cut_audio(cut)) for cut in group]
        for cut, samples_1N in audio:
            for speed in task.speeds:
                changed, changed_1N = change_speed(cut, samples_1N, speed)
                yield cut, speed, changed, extractor.extract(changed_1N, cut.sampling_rate)


def _groups(cuts: Iterable[MonoCut]) -> Iterator[list[MonoCut]]:
    """Group cuts, in their order; all cuts of a group are read before features are computed."""
    group, seconds = [], 0.0
    for cut in cuts:
        group.append(cut)
        seconds += cut.duration
        if seconds >= _SECONDS_AT_A_TIME:
            yield group
            group, seconds = [], 0.0
    if group:
        yield group


def merge_shards(tasks: Sequence[ShardTask], out: Path) -> None:
    """Merge the shards' manifests into `out`, sorted by id, and remove outdated files.

    The order does not depend on the number of shards.
    """
    files = [open(task.manifest, encoding="utf-8") for task in tasks]  # noqa: SIM115
    try:
        lines = heapq.merge(*files, key=lambda line: json.loads(line)["id"])
        with (
            atomic_path(out) as temp,
            open(temp, "wb") as raw,
            # Level 3 is four times faster than the default; the file is a tenth larger.
            gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0) as packed,
        ):
            packed.writelines(line.encode() for line in lines)
    finally:
        for file in files:
            file.close()
    keep = {task.archive for task in tasks}
    for path in tasks[0].out.iterdir():
        if path.suffix in (".f16", ".fly", ".jsonl", ".json") and path not in keep:
            path.unlink()
