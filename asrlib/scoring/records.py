"""What decoding leaves and scoring reads: hyp.jsonl, meta.json, speakers.tsv."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.text.words import TimedWord


def row_commands(recipe: str, name: str, test_set: str, search: str, score: str) -> list[str]:
    """What makes one row of a table: decoding, then the command that scores."""
    where = f"--recipe-dir {recipe} --name {name} --test-set {test_set} --search {search}"
    return [f"python -m asrlib {command} {where}" for command in ("decode", score)]


@dataclass(frozen=True)
class Machine(JsonRecord):
    """What a timing depends on beside the code (`asrlib.machine.machine`).

    Attributes:
        cpu: model name of the processor.
        cores: number of cores that the process might use.
        matrix_code: instructions that MKL multiplied matrices with, such as AVX2; None if unknown.
    """

    cpu: str
    cores: int
    matrix_code: str | None = None


@dataclass(frozen=True)
class ParameterCounts(JsonRecord):
    """Parameters of a model by module; `training_only` are those that no decoding uses."""

    encoder: int = 0
    predictor: int = 0
    joiner: int = 0
    training_only: int = 0

    @property
    def decoding(self) -> int:
        """How many of them decoding uses."""
        return self.encoder + self.predictor + self.joiner


@dataclass(frozen=True)
class DecodeMeta(JsonRecord):
    """meta.json: what was decoded and what it cost; None where whoever decoded did not say.

    Attributes:
        model: name of its directory under exp/.
        set: name of the test set, a directory under data/.
        search: name of the search.
        config: the values of the `decode` section.
        audio_seconds: length of the audio.
        cpu_seconds, wall_seconds: spent on features, model and search.
        real_time_factor: wall-clock seconds per second of audio.
        peak_memory_mb: largest resident memory of the process, in MiB.
        flops_per_second: floating-point operations per second of audio.
        compute_share: multiplications of an encoder that leaves work out, as a share of its full
            work; None for encoders that always do all of it.
        threads: number of threads of torch.
        streams: number of utterances that were decoded at a time.
    """

    model: str
    set: str
    search: str
    config: dict[str, Any] = field(default_factory=dict)
    audio_seconds: float | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    real_time_factor: float | None = None
    peak_memory_mb: float | None = None
    parameters: ParameterCounts | None = None
    flops_per_second: float | None = None
    compute_share: float | None = None
    machine: Machine | None = None
    threads: int | None = None
    streams: int | None = None


@dataclass(frozen=True)
class Utterance:
    """One line of hyp.jsonl.

    Attributes:
        ref, hyp: words, split at white space; either may be empty.
        hyp_words: recognised words; `end` is the stream time at which the last token came out.
        ref_words: where the words were spoken, or None where unknown.
        final_time: stream time (s) at which the result was final, or None.
        private: holds personal data: counted in every rate, its words never written.
    """

    id: str
    speaker: str
    ref: tuple[str, ...]
    hyp: tuple[str, ...]
    duration: float = 0.0
    hyp_words: tuple[TimedWord, ...] = ()
    ref_words: tuple[TimedWord, ...] | None = None
    final_time: float | None = None
    private: bool = False


def parse_utterance(entry: Mapping[str, Any]) -> Utterance:
    """Build an utterance of one parsed line of hyp.jsonl.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or of another kind.
    """
    ref_words = entry.get("ref_words")
    return Utterance(
        id=str(entry["id"]),
        speaker=str(entry.get("speaker") or entry["id"]),
        ref=tuple(entry["ref"].split()),
        hyp=tuple(entry["hyp"].split()),
        duration=float(entry.get("duration") or 0.0),
        hyp_words=_timed_words(entry.get("hyp_words") or ()),
        ref_words=None if ref_words is None else _timed_words(ref_words),
        final_time=entry.get("final_time"),
        private=bool(entry.get("private", False)),
    )


def _timed_words(words: Any) -> tuple[TimedWord, ...]:
    return tuple(TimedWord(str(w), float(start), float(end)) for w, start, end in words)


def read_utterances(path: Path) -> list[Utterance]:
    """Read hyp.jsonl, in order of id.

    Raises:
        DataError: missing, empty, a broken line (by number), or an id that comes twice.
    """
    if not path.exists():
        raise DataError(f"{path}: missing", "run the decode stage (5) first")
    utterances: dict[str, Utterance] = {}
    with open(path, "rb") as f:  # a line that is no UTF-8 is a broken line like others
        for number, line in enumerate(f, 1):
            try:
                utterance = parse_utterance(json.loads(line))
            except (KeyError, TypeError, ValueError, AttributeError) as e:
                # The reason goes without the line's text: it may be private.
                raise DataError(
                    f"{path}: line {number} is no decoded utterance ({type(e).__name__})",
                    "decode again with --force",
                ) from None
            if utterance.id in utterances:
                raise DataError(f"{path}: {utterance.id} comes twice", "decode again with --force")
            utterances[utterance.id] = utterance
    if not utterances:
        raise DataError(f"{path}: holds no utterance", "decode again with --force")
    return [utterances[i] for i in sorted(utterances)]


def read_speakers(path: Path, test_set: str) -> dict[str, dict[str, str]]:
    """Read speakers.tsv: metadata of each speaker; the row of `test_set` wins over others.

    Returns an empty table where the file is absent: groups are then skipped.
    """
    if not path.exists():
        return {}
    try:
        with open(path, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{path}: not a table: {e}", "run the manifests stage (1) again") from None
    if rows and "speaker" not in rows[0]:
        raise DataError(f"{path}: has no column 'speaker'", "run the manifests stage (1) again")
    table: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda r: r.get("set") == test_set):
        table[row["speaker"]] = {k: (v or "").strip() for k, v in row.items() if k}
    return table
