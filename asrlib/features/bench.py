"""Benchmark of feature extraction, relative to kaldifeat alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldifeat
import torch
from lhotse import CutSet, MonoCut

from asrlib.features.extract import (
    ShardTask,
    audio_reader,
    extract_shard,
    load_cut_audio,
    merge_shards,
)
from asrlib.features.fbank import FbankConfig, fbank_options

_BLOCK = 50  # cuts measured at a time


@dataclass(frozen=True)
class ExtractionSpeed:
    """Speeds, in seconds of audio per second of CPU time on one core.

    CPU time leaves out the time in which the core works for other processes.

    Attributes:
        audio_seconds: length of the audio that was read, seconds.
        bare: speed of kaldifeat on samples in memory, one utterance per call.
        read: speed of decoding the files.
        stage: speed of stage 2: reading, speed perturbation, kaldifeat, storing, manifests.
    """

    audio_seconds: float
    bare: float
    read: float
    stage: float

    @property
    def ratio(self) -> float:
        """Speed of the stage relative to bare kaldifeat."""
        return self.stage / self.bare


def measure_extraction(
    cuts: CutSet, config: FbankConfig, *, speeds: tuple[float, ...] = (1.0,), repeats: int = 5
) -> ExtractionSpeed:
    """Measure the speeds on blocks of cuts.

    The kinds of work alternate within a block, so that other load slows all of them equally.

    Args:
        cuts: utterances with audio; a few hundred are enough.
        config: settings of the features.
        speeds: speed factors; the stage stores each cut at each of them, and the audio counts once
            for each.
        repeats: number of measurements of each block.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    kaldi = kaldifeat.Fbank(fbank_options(config, snip_edges=False))
    cuts = cuts.to_eager()
    count = -(-len(cuts) // _BLOCK)
    blocks = [list(cuts)[i::count] for i in range(count)]  # the same cuts as in the shards
    totals = [0.0, 0.0, 0.0]
    try:
        with tempfile.TemporaryDirectory() as name, audio_reader():
            manifest = Path(name) / "cuts.jsonl.gz"
            cuts.to_file(manifest)
            for index, block in enumerate(blocks):
                task = ShardTask(manifest, Path(name) / "out", "", index, count, speeds, config)
                spent = _measure_block(kaldi, block, task, repeats)
                totals = [total + seconds for total, seconds in zip(totals, spent, strict=True)]
    finally:
        torch.set_num_threads(threads)
    audio = sum(cut.duration for cut in cuts)
    stored = audio * sum(1 / speed for speed in speeds)
    return ExtractionSpeed(audio, audio / totals[0], audio / totals[1], stored / totals[2])


def _measure_block(
    kaldi: kaldifeat.Fbank, block: Sequence[MonoCut], task: ShardTask, repeats: int
) -> list[float]:
    """Return the mean CPU seconds of kaldifeat, of reading and of the stage."""
    audio = [torch.from_numpy(load_cut_audio(cut)[0]) for cut in block]
    kinds: list[Callable[[], object]] = [
        lambda: [kaldi(samples_N) for samples_N in audio],
        lambda: [load_cut_audio(cut) for cut in block],
        lambda: _stage(task),
    ]
    spent = [0.0] * len(kinds)
    for _ in range(repeats):
        for kind, work in enumerate(kinds):
            start = time.process_time()
            work()
            spent[kind] += time.process_time() - start
    return [seconds / repeats for seconds in spent]


def _stage(task: ShardTask) -> None:
    task.moments.unlink(missing_ok=True)  # a finished shard would not be computed again
    extract_shard(task)
    merge_shards([task], task.out / "cuts_fbank.gz")
