"""Peak memory of the stages on made-up corpora of different sizes, each in its own process.

A corpus is a set `test` of short segments of noise with random words. The stages are run as users
run them, one after another, each on what the one before has left:

- `manifests`: stage 1, which decodes all audio.
- `fbank`: stage 2 with features on the fly, which reads and writes the manifest of all cuts; the
  set has no statistics, so that no feature is computed.
- `fbank, stored`: the first shard of stage 2, of `STORED` cuts of the same manifest, with audio,
  features and archive.
- `decode`: stage 5 without the recogniser, whose place a function takes that reads no audio: its
  results come `STREAMS` at a time in a random order, and one word in ten is wrong.
- `score`: stage 6.
- `loading`: a training's start, resumed `BATCHES` batches before the end of an epoch, and these
  batches, whose features are computed on the fly.

The number of speakers is the same at all sizes.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asrlib.files import atomic_write
from asrlib.json_record import JsonRecord

PARTS = ("manifests", "fbank", "fbank, stored", "decode", "score", "loading")
SPEAKERS, STORED, STREAMS, BATCHES = 500, 2000, 32, 20
_RATE, _SECONDS, _PER_FILE, _FILES = 16000, 0.5, 40, 8  # of a segment; segments of a file
_WORDS = 3  # of a segment


@dataclass(frozen=True, kw_only=True)
class Peak(JsonRecord):
    """What one part took.

    Attributes:
        cuts: size of the corpus.
        memory_mb: largest resident memory of the process and its children, in MiB.
        cpu_seconds: CPU time.
    """

    part: str
    cuts: int
    memory_mb: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Memory(JsonRecord):
    """memory.json: all peaks.

    Attributes:
        command: what repeats the measurement.
        peaks: by part, in the order of `PARTS`, and by size.
    """

    command: str
    peaks: tuple[Peak, ...]

    def joined(self, older: tuple[Peak, ...]) -> Memory:
        """Return the peaks with those of other parts and sizes that were measured before."""
        found = {(p.part, p.cuts): p for p in (*older, *self.peaks)}
        ordered = sorted(found.values(), key=lambda p: (PARTS.index(p.part), p.cuts))
        return Memory(command=self.command, peaks=tuple(ordered))


def measure_memory(cuts: int, folder: Path) -> Iterator[Peak]:
    """Run all parts on a corpus of `cuts` cuts in an empty directory."""
    make_corpus(folder, cuts)
    where = ["--recipe-dir", str(folder)]
    fly = ["--nj", "1", "--set", "data.features=on_the_fly", "--set", "augment.noise_probability=0"]
    scored = ["--name", "m", "--set", "score.replicates=100", "--set", "score.permutations=99"]
    commands = {
        "manifests": ["-m", "asrlib", "manifests", *where, "--nj", "1"],
        "fbank": ["-m", "asrlib", "fbank", *where, *fly],
        "fbank, stored": _call("store_some", folder),
        "decode": _call("decode_nothing", folder),
        "score": ["-m", "asrlib", "score", *where, *scored],
        "loading": _call("load_batches", folder),
    }
    for part in PARTS:
        memory_mb, cpu_seconds = _peak(commands[part], folder)
        yield Peak(part=part, cuts=cuts, memory_mb=memory_mb, cpu_seconds=cpu_seconds)


def _call(function: str, folder: Path) -> list[str]:
    return ["-m", "asrlib.experiments.memory", function, str(folder)]


# Linux counts the memory of the process that starts another one as memory of the new one. So a
# process that has loaded nothing starts what is measured.
_STARTER = """
import json, os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[2:]], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as f:
    json.dump([usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime], f)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _peak(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Run Python with arguments; return its peak memory, in MiB, and its CPU seconds."""
    log, figures = folder / "log.txt", folder / "usage.json"
    with open(log, "w") as f:
        command = [sys.executable, "-c", _STARTER, str(figures), *arguments]
        done = subprocess.run(command, stdout=f, stderr=f, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{log.read_text()[-2000:]}")
    memory_mb, cpu_seconds = json.loads(figures.read_text())
    return memory_mb, cpu_seconds


def make_corpus(folder: Path, cuts: int) -> None:
    """Write data/raw/test.jsonl and its audio: a few files of noise under many names."""
    import numpy as np
    import soundfile

    audio, raw = folder / "audio", folder / "data" / "raw"
    audio.mkdir(parents=True)
    raw.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(_FILES):
        samples_N = 0.1 * rng.standard_normal(round(_RATE * _SECONDS * _PER_FILE))
        soundfile.write(audio / f"noise{number}.wav", samples_N, _RATE, "PCM_16")
    draw = random.Random(1)
    words = [f"{a}{b}" for a, b in itertools.product("BDGKLMNPRS", "AEIOU")]
    with atomic_write(raw / "test.jsonl") as f:
        for number in range(cuts):
            file = number // _PER_FILE
            name = audio / f"f{file:07d}.wav"
            if number % _PER_FILE == 0:
                os.link(audio / f"noise{file % _FILES}.wav", name)
            f.write(json.dumps(_row(number, name, draw.choices(words, k=_WORDS))) + "\n")


def _row(number: int, audio: Path, said: list[str]) -> dict[str, object]:
    length = _SECONDS / _WORDS
    times = [(w, round(i * length, 3), round((i + 0.8) * length, 3)) for i, w in enumerate(said)]
    start = number % _PER_FILE * _SECONDS
    speaker = f"s{number // _PER_FILE % SPEAKERS:04d}"
    return {
        "id": f"u{number:08d}",
        "audio": str(audio),
        "text": " ".join(said),
        "speaker": speaker,
        "words": times,
        "start": start,
        "end": start + _SECONDS,
    }


# ---- what a process of its own does


def store_some(folder: Path) -> None:
    """Store the features of the first shard of the set, which has `STORED` cuts."""
    from asrlib.features.extract import ShardTask, extract_shard
    from asrlib.features.fbank import FbankConfig

    cuts = folder / "data" / "test" / "cuts.jsonl.gz"
    shards = max(1, _lines(folder / "data" / "raw" / "test.jsonl") // STORED)
    extract_shard(ShardTask(cuts, folder / "stored", "k", 0, shards, (1.0,), FbankConfig()))


def _lines(path: Path) -> int:
    with open(path, "rb") as f:
        return sum(1 for _ in f)


def decode_nothing(folder: Path) -> None:
    """Write hypotheses of the set as stage 5 does, with results that are made up."""
    from lhotse.cut import Cut

    from asrlib.data.cuts import iter_cuts
    from asrlib.experiments.decode import META_FILE, write_hypotheses
    from asrlib.scoring.records import HYP_FILE, DecodeMeta
    from asrlib.streaming.batch import Cost
    from asrlib.streaming.result import Result

    draw = random.Random(2)

    def decoder(cuts: Iterable[Cut]) -> tuple[Iterator[tuple[Cut, Result]], Cost]:
        return _made_up(iter(cuts), draw), Cost()

    path, out = folder / "data" / "test" / "cuts.jsonl.gz", folder / "exp/m/decode_test_greedy"
    seconds = sum(cut.duration for cut in iter_cuts(path, ""))
    write_hypotheses(out / HYP_FILE, iter_cuts(path, ""), decoder, seconds, "test")
    DecodeMeta(model="m", set="test", search="greedy").to_file(out / META_FILE)


def _made_up(cuts: Iterator, draw: random.Random) -> Iterator[tuple]:
    from asrlib.streaming.result import Result, Segment
    from asrlib.text.words import TimedWord

    while running := list(itertools.islice(cuts, STREAMS)):
        draw.shuffle(running)
        for cut in running:
            words = [
                TimedWord("DA" if draw.random() < 0.1 else item.symbol, item.start, item.end + 0.1)
                for item in cut.supervisions[0].alignment["word"]
            ]
            text = " ".join(w.word for w in words)
            times = tuple(w.end for w in words)
            segment = Segment(text, (), tuple(w.word for w in words), times, (), tuple(words))
            yield cut, Result((segment,), True, cut.duration + 0.5)


def load_batches(folder: Path) -> None:
    """Start a training as if it were resumed near the end of an epoch, and load its batches."""
    from asrlib.data.augment import AugmentConfig
    from asrlib.data.dataset import filter_trainable, sizes_of, train_batches
    from asrlib.data.sampler import DataConfig, sample_batches
    from asrlib.features.fbank import FbankConfig
    from asrlib.seeds import derive_seed
    from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer
    from asrlib.training.training_inputs import read_features

    letters = [" ".join("BDGKLMNPRSAEIOU")] * 3
    train_tokenizer(letters, TokensConfig(vocab_size=40), folder / "bpe.model")
    tokenizer = Tokenizer.from_file(folder / "bpe.model")
    cuts = read_features(folder / "data" / "test" / "cuts_fbank.jsonl.gz")
    cuts, data, augment = filter_trainable(cuts, tokenizer, 4), DataConfig(), AugmentConfig()
    start, seed = time.perf_counter(), derive_seed(1, 0)
    count = len(sample_batches(sizes_of(cuts, tokenizer), data, seed))
    print(f"{count} batches, in an order that took {time.perf_counter() - start:.1f} s")
    first = max(0, count - BATCHES)
    how = {"fbank": FbankConfig(), "seed": 1, "epoch": 0, "start_batch": first}
    for _ in train_batches(cuts, tokenizer, data, augment, **how):
        pass


_FUNCTIONS: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (store_some, decode_nothing, load_batches)
}

if __name__ == "__main__":
    _FUNCTIONS[sys.argv[1]](Path(sys.argv[2]))
