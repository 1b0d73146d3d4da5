"""Feature extraction of stage 2, in shards, with mean and deviation of the features.

The names of a shard's archive and manifest contain a key, a hash of inputs and configuration. So
a run after a kill uses the finished shards again, and a run with another configuration never
overwrites an archive to which a manifest still points.

Suffixes: N samples, T frames, F mel bins.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lhotse import MonoCut
from lhotse.audio.backend import LibsndfileBackend, audio_backend
from lhotse.augmentation import AudioTransform, Speed
from lhotse.utils import compute_num_samples, fastcopy

from asrlib.errors import DataError
from asrlib.features.fbank import FbankConfig
from asrlib.features.lhotse_fbank import KaldifeatFbank
from asrlib.features.storage import Float16ArchiveWriter
from asrlib.files import atomic_path, atomic_write

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
    """

    cuts: Path
    out: Path
    key: str
    index: int
    count: int
    speeds: tuple[float, ...]
    config: FbankConfig

    def _file(self, kind: str) -> Path:
        return self.out / f"{self.key}.{self.index + 1}of{self.count}.{kind}"

    @property
    def archive(self) -> Path:
        return self._file("f16")

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
    extractor = KaldifeatFbank(task.config)
    sum_F = np.zeros(task.config.num_bins)
    square_F = np.zeros(task.config.num_bins)
    frames, done = 0, []
    with atomic_write(task.archive, "wb") as f, audio_reader():
        writer = Float16ArchiveWriter(task.archive.resolve(), f)
        for cut, features_TF in extract(read_share(task), extractor, task.speeds, writer):
            frames += len(features_TF)
            sum_F += features_TF.sum(axis=0, dtype=np.float64)
            square_F += np.einsum("tf,tf->f", features_TF, features_TF)
            done.append((cut.id, cut_line(cut)))
    with atomic_write(task.manifest) as f:
        f.writelines(line for _, line in sorted(done))
    moments = Moments(frames, tuple(sum_F.tolist()), tuple(square_F.tolist()))
    moments.write(task.moments)
    return moments


def read_share(task: ShardTask) -> Iterator[MonoCut]:
    """Iterate over the shard's cuts, without parsing the lines of other shards."""
    with gzip.open(task.cuts, "rt", encoding="utf-8") as lines:
        for line in islice(lines, task.index, None, task.count):
            yield MonoCut.from_dict(json.loads(line))


def extract(
    cuts: Iterable[MonoCut],
    extractor: KaldifeatFbank,
    speeds: Sequence[float],
    writer: Float16ArchiveWriter,
) -> Iterator[tuple[MonoCut, np.ndarray]]:
    """Yield each cut, once for each speed, with its features attached, and the features (T, F)."""
    for group in _groups(cuts):
        audio = [(cut, load_cut_audio(cut)) for cut in group]
        for cut, samples_1N in audio:
            for speed in speeds:
                changed, changed_1N = change_speed(cut, samples_1N, speed)
                features_TF = extractor.extract(changed_1N, cut.sampling_rate)
                changed.features = extractor.store(changed, features_TF, writer)
                yield changed, features_TF


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


def audio_reader() -> AbstractContextManager:
    """Make lhotse read with libsndfile; otherwise it searches for modules at every file."""
    return audio_backend(LibsndfileBackend())


def load_cut_audio(cut: MonoCut) -> np.ndarray:
    """Load the samples of a cut, (1, N); channels are averaged.

    Raises:
        DataError: the audio cannot be read; the message names the cut, its file and the reason.
    """
    try:
        samples_CN = cut.load_audio()
    except Exception as e:  # lhotse passes on whatever its audio backends raise
        source = cut.recording.sources[0].source if cut.recording else "no recording"
        raise DataError(
            f"{source}: cut {cut.id} cannot be read: {str(e).splitlines()[0]}",
            "restore the file, or run stage 1 again to quarantine it",
        ) from e
    return samples_CN if len(samples_CN) == 1 else samples_CN.mean(axis=0, keepdims=True)


def change_speed(cut: MonoCut, samples_1N: np.ndarray, speed: float) -> tuple[MonoCut, np.ndarray]:
    """Return the cut and its samples at another speed, without reading the file again."""
    if speed == 1.0:
        return fastcopy(cut), samples_1N
    # lhotse returns a MonoCut for a MonoCut, but its annotation is wider.
    changed = cast(MonoCut, cut.perturb_speed(speed))
    out_1N = Speed(speed)(samples_1N, cut.sampling_rate)
    num_samples = compute_num_samples(changed.duration, changed.sampling_rate)
    missing = num_samples - out_1N.shape[1]
    if missing > 0:  # by rounding, a sample or two
        out_1N = np.pad(out_1N, ((0, 0), (0, missing)), mode="edge")
    return changed, out_1N[:, :num_samples]


def cut_line(cut: MonoCut) -> str:
    """Make a line of a lhotse manifest, as from `cut.to_dict()` but ten times faster."""
    content = {"type": "MonoCut", **_fields(cut)}
    return json.dumps(content, default=_fields, ensure_ascii=False) + "\n"


def _fields(item: Any) -> dict[str, Any]:
    if isinstance(item, AudioTransform):
        return item.to_dict()
    return {key: value for key, value in vars(item).items() if value is not None}


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
        if path.suffix in (".f16", ".jsonl", ".json") and path not in keep:
            path.unlink()
