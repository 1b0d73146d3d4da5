"""A command line called in this process, and a small recipe directory to spoil."""

from __future__ import annotations

import contextlib
import gzip
import io
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import click
import click.testing
import numpy as np
import soundfile
import yaml

from asrlib.__main__ import cli, main
from asrlib.config import to_dict
from asrlib.data.raw import RawUtterance, write_raw
from asrlib.encoders import LstmConfig, LstmStackConfig
from asrlib.transducer.model import TransducerConfig
from asrlib.transducer.predictor import StatelessConfig

TEXTS = ("ONE TWO", "TWO", "THREE ONE", "ONE", "THREE TWO ONE")
SETS = {"train": 5, "dev": 1, "test": 2}
STAGES = {
    "manifests": ("manifests",),
    "fbank": ("fbank", "--nj", "1"),
    "tokens": ("tokens",),
    "train": ("train", "--model", "tiny"),
    "decode": ("decode", "--name", "tiny"),
    "score": ("score", "--name", "tiny"),
    "results": ("results",),
    "publish": ("publish",),
}


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def call(*arguments: object, command: click.Command = cli) -> Outcome:
    """Run a command line as `python -m asrlib` does."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["asrlib", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(command)
    except SystemExit as e:
        return Outcome(e.code or 0, out.getvalue(), err.getvalue())
    finally:
        sys.argv = argv
    raise AssertionError("main always exits")


def invoke(*arguments: object) -> click.testing.Result:
    """Run a command; what it raises is raised here."""
    words = [str(argument) for argument in arguments]
    return click.testing.CliRunner().invoke(cli, words, catch_exceptions=False)


def explained(outcome: Outcome, *named: object) -> bool:
    """Whether the error says what and where, and how to fix it, and is no traceback."""
    assert outcome.code == 1, outcome
    assert "Traceback" not in outcome.err
    *_, what, fix = outcome.err.splitlines()
    assert what.startswith("error: "), outcome.err
    assert len(fix) > len("  fix: "), outcome.err
    assert fix.startswith("  fix: "), outcome.err
    assert all(str(name) in f"{what}\n{fix}" for name in named), outcome.err
    return True


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the same error as a full disk, one number apart."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(gzip.compress(b'{"type": "MonoCut", "id"\n'))


def sound(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Tones below 3 kHz that change every 0.15 s: the same sound at any rate."""
    generator, time_N = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    hum = sum(np.sin(2 * np.pi * f * time_N + f) for f in range(100, 3400, 90))
    samples_N = 0.002 * hum
    for begin in np.arange(0, seconds, 0.15):
        swell_N = np.clip(1 - np.abs(time_N - begin - 0.1) / 0.1, 0, None)
        for tone in generator.uniform(200, 3000, 3):
            samples_N += 0.1 * swell_N * np.sin(2 * np.pi * tone * time_N)
    return samples_N


def in_process(function, shards, **_):
    return [function(shard) for shard in shards]  # jobs take seconds to start


def write_recipe(
    directory: Path, sets: Mapping[str, int] = SETS, own_speakers: bool = False
) -> None:
    """What a recipe's local step leaves, and configuration for a tiny model.

    Each set has one speaker, SET-s, or with `own_speakers` one for each utterance, SET-sN.
    """
    (directory / "wav").mkdir()
    rows = {}
    for name, count in sets.items():
        rows[name] = []
        for number in range(count):
            id_, text = f"{name}-{number}", TEXTS[number % len(TEXTS)]
            speaker = f"{name}-s{number}" if own_speakers else f"{name}-s"
            soundfile.write(directory / "wav" / f"{id_}.wav", sound(1.0, 16000, number), 16000)
            row = RawUtterance(id=id_, audio=f"wav/{id_}.wav", text=text, speaker=speaker)
            rows[name].append(row)
    write_raw(directory / "data" / "raw", rows)
    model = TransducerConfig(
        encoder=LstmConfig(output_dim=32, lstm=LstmStackConfig(layers=1, hidden_dim=32)),
        predictor=StatelessConfig(output_dim=16),
        joiner_dim=16,
    )
    sections = {
        "tokens": {"vocab_size": 18},
        "augment": {"speeds": [1.0], "noise_probability": 0.0},
        "data": {"num_buckets": 1},
        "train": {"max_steps": 2, "num_threads": 1, "num_workers": 0},
        "model/tiny": to_dict(model),
    }
    (directory / "conf" / "model").mkdir(parents=True)
    for name, values in sections.items():
        (directory / "conf" / f"{name}.yaml").write_text(yaml.safe_dump(values))


def row(text: str, start: str) -> list[str]:
    """Cells of the first line of a table that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]
