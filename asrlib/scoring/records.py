"""Readers of the files that scoring takes as input: hyp.jsonl, meta.json and speakers.tsv."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from asrlib.errors import ConfigError, DataError
from asrlib.json_record import JsonRecord
from asrlib.spool import sorted_on_disk
from asrlib.text.words import TimedWord

HYP_FILE = "hyp.jsonl"
Told = Literal["true", "found"]  # what a model is told about the cohorts of the speakers
TAG = re.compile(r"[A-Za-z0-9.+-]+")  # of a name of settings of decoding

# The type of a field that is left out of the file where it is None.
_OrLeftOut = pydantic.Field(exclude_if=lambda value: value is None)


def decode_dir_name(
    test_set: str, search: str, membership: str | None = None, tag: str | None = None
) -> str:
    """Return the name of a decode directory in a model's directory.

    Args:
        test_set: name of the test set.
        search: name of the search.
        membership: what the model was told about cohorts, see `DecodeMeta`; None for nothing.
        tag: name of the settings of decoding; None for those of conf/.
    """
    told = f"_{membership}_cohorts" if membership else ""
    return f"decode_{test_set}_{search}{told}" + (f"_{tag}" if tag else "")


def row_commands(recipe: str, name: str, meta: DecodeMeta, score: str) -> list[str]:
    """List the commands that reproduce one row of a results table: decoding, then scoring.

    Args:
        recipe: the recipe's directory.
        name: the model's directory under exp/.
        meta: what was decoded.
        score: the command of `python -m asrlib` that scores.
    """
    where = f"--recipe-dir {recipe} --name {name} --test-set {meta.set} --search {meta.search}"
    if meta.tag is not None:
        where += f" --tag {meta.tag}"
    decode = " ".join([f"python -m asrlib decode {where}", *_settings(meta)])
    score = f"python -m asrlib {score} {where}"
    if meta.membership is None:
        return [decode, score]
    told = f"--membership {meta.membership}"
    return [f"{decode} {told} --cohorts {meta.cohorts}", f"{score} {told}"]


def is_given(section: Mapping[str, Any]) -> bool:
    """Whether `decode.lm` or `decode.hotwords` names anything; if not, its weights do nothing."""
    return any(section.get(key) for key in ("path", "lodr_path", "phrases"))


def _settings(meta: DecodeMeta) -> list[str]:
    """The settings that a tag stands for, as words of the command."""
    if meta.tag is None:
        return []
    values = {key: meta.config.get(key) for key in ("blank_penalty", "temperature", "n_best")}
    for section in ("lm", "hotwords"):
        inner = meta.config.get(section) or {}
        if is_given(inner):
            values |= {f"{section}.{key}": value for key, value in inner.items()}
    words = (f"decode.{k}={json.dumps(v)}" for k, v in values.items() if v not in (None, "", []))
    return [f"--set {shlex.quote(word)}" for word in words]


@dataclass(frozen=True)
class Machine(JsonRecord):
    """The machine on which a timing was measured (see `asrlib.machine.machine`).

    Attributes:
        cpu: model name of the processor.
        cores: number of cores that the process was allowed to use.
        matrix_code: instruction set that MKL used for matrix products, such as AVX2; None if
            unknown.
    """

    cpu: str
    cores: int
    matrix_code: str | None = None


@dataclass(frozen=True)
class ParameterCounts(JsonRecord):
    """Number of parameters of each module of a model.

    Attributes:
        training_only: number of parameters that decoding never uses.
    """

    encoder: int = 0
    predictor: int = 0
    joiner: int = 0
    training_only: int = 0

    @property
    def decoding(self) -> int:
        """Number of parameters that decoding uses."""
        return self.encoder + self.predictor + self.joiner


@dataclass(frozen=True)
class DecodeMeta(JsonRecord):
    """Content of meta.json: what was decoded, and at what cost.

    A value is None if the decoder did not record it.

    Attributes:
        model: name of the model's directory under exp/.
        set: name of the test set, a directory under data/.
        search: name of the search.
        config: values of the `decode` section of the configuration.
        audio_seconds: length of the audio, in seconds.
        cpu_seconds, wall_seconds: time spent on features, model and search, in seconds.
        real_time_factor: wall-clock seconds per second of audio.
        peak_memory_mb: largest resident memory of the process, in MiB.
        parameters: numbers of parameters of the model.
        flops_per_second: floating-point operations per second of audio.
        compute_share: number of multiplications of an encoder that can skip computation, divided
            by their number at full compute; None for encoders that never skip any.
        machine: the machine on which the set was decoded.
        threads: number of threads of torch.
        streams: number of utterances that were decoded at the same time.
        run: identity of the training of the model; None if the training left no record.
        membership: what the model was told about the cohorts of the speakers: the `true` ones,
            those that were `found` from each utterance alone, or nothing (None). meta.json leaves
            None out, so that all other decodes leave what they always left.
        cohorts: cohort directory that the memberships come from.
        tag: name of the settings of decoding, where it was given one, as with a language model or
            hotwords.
        files: SHA-256 of the language models and hotwords, by key of the section `decode`.
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
    run: str | None = None
    membership: Annotated[Told | None, _OrLeftOut] = None
    cohorts: Annotated[str | None, _OrLeftOut] = None
    tag: Annotated[str | None, _OrLeftOut] = None
    files: Annotated[dict[str, str] | None, _OrLeftOut] = None

    @property
    def way(self) -> str:
        """How the set was decoded, as tables call it: search, what is known of cohorts, tag."""
        told = f"{self.membership} cohorts" if self.membership else None
        return ", ".join(part for part in (self.search, told, self.tag) if part)


@dataclass(frozen=True)
class Utterance:
    """One line of hyp.jsonl.

    Attributes:
        ref, hyp: words of the reference and of the hypothesis, split at white space; either may
            be empty.
        duration: length of the audio, in seconds.
        hyp_words: words of the hypothesis with times in seconds; `end` is the stream time at which
            the last token of the word was emitted.
        ref_words: words of the reference with their times in the audio, in seconds; None if the
            times are not known.
        final_time: stream time at which the result was final, in seconds; None if unknown.
        private: whether the utterance contains personal data. Such an utterance counts in every
            rate, but its words are never written to a file.
        encoder_work: multiplications of the encoder as a share of those at full compute; None for
            an encoder that never skips any.
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
    encoder_work: float | None = None


def parse_utterance(entry: Mapping[str, Any]) -> Utterance:
    """Build an utterance from one parsed line of hyp.jsonl.

    Raises:
        KeyError, TypeError, ValueError: a key is missing, or its value has the wrong type.
    """
    ref_words, id = entry.get("ref_words"), entry["id"]
    speaker = entry.get("speaker") or id
    if not (isinstance(id, str) and isinstance(speaker, str)):
        raise TypeError("id and speaker are text")
    json.dumps(entry, ensure_ascii=False).encode()  # no half of a surrogate pair
    return Utterance(
        id=id,
        speaker=speaker,
        ref=tuple(entry["ref"].split()),
        hyp=tuple(entry["hyp"].split()),
        duration=_number(entry.get("duration") or 0.0),
        hyp_words=_timed_words(entry.get("hyp_words") or ()),
        ref_words=None if ref_words is None else _timed_words(ref_words),
        final_time=_optional(entry.get("final_time")),
        private=bool(entry.get("private", False)),
        encoder_work=_optional(entry.get("encoder_work")),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError("not a finite number")
    return number


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _timed_words(words: Any) -> tuple[TimedWord, ...]:
    return tuple(TimedWord(str(w), _number(start), _number(end)) for w, start, end in words)


# What a line that is not as it should be raises; RecursionError: lists nested thousands deep.
_BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def iter_utterances(path: Path) -> Iterator[Utterance]:
    """Read hyp.jsonl and yield the utterances sorted by id, of which few are in memory at a time.

    Raises:
        DataError: the file is missing or empty, a line is broken (the message gives its number),
            or an id occurs twice.
    """
    last = None
    for name, line in sorted_on_disk(_checked_lines(path)):
        if name == last:
            raise DataError(f"{path}: {name} comes twice", "decode again with --force")
        yield parse_utterance(json.loads(line))
        last = name
    if last is None:
        raise DataError(f"{path}: contains no utterance", "decode again with --force")


def read_utterances(path: Path) -> list[Utterance]:
    """Read hyp.jsonl into memory, sorted by id; raises the same errors as `iter_utterances`."""
    return list(iter_utterances(path))


def _checked_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the id and the text of each line."""
    if not path.exists():
        raise DataError(f"{path}: missing", "run the decode stage (5) first")
    # Binary, so that a line that is not UTF-8 is reported like any broken line.
    with open(path, "rb") as f:
        for number, line in enumerate(f, 1):
            try:
                text = line.decode().strip()
                yield parse_utterance(json.loads(text)).id, text
            except _BROKEN as e:
                # The message does not quote the line, because its text may be private.
                raise DataError(
                    f"{path}: line {number} is not a decoded utterance ({type(e).__name__})",
                    "decode again with --force",
                ) from None


def read_speakers(path: Path, test_set: str) -> dict[str, dict[str, str]]:
    """Read speakers.tsv, the metadata of each speaker.

    If a speaker has rows for several sets, the row of `test_set` is used.

    Returns:
        The columns of each speaker; empty if the file does not exist, so that scoring then reports
        no groups.

    Raises:
        DataError: the file is not a table, or has no column `speaker`.
    """
    if not path.exists():
        return {}
    try:
        with open(path, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(
            f"{path}: is not a table: {e}", "run the manifests stage (1) again"
        ) from None
    if rows and "speaker" not in rows[0]:
        raise DataError(f"{path}: has no column 'speaker'", "run the manifests stage (1) again")
    table: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda r: r.get("set") == test_set):
        table[row["speaker"]] = {k: (v or "").strip() for k, v in row.items() if k}
    return table


def speaker_column(path: Path, test_set: str, column: str, setting: str) -> dict[str, str]:
    """Read one column of speakers.tsv, by speaker; "" where a speaker has no value.

    Args:
        path: the table.
        test_set: set whose row is used of a speaker with several.
        column: name of the column.
        setting: key of the configuration that names the column, for the message.

    Raises:
        ConfigError: there is no such column.
        DataError: the file is not a table.
    """
    rows = read_speakers(path, test_set)
    columns = sorted({name for row in rows.values() for name in row})
    if column not in columns:
        raise ConfigError(
            f"{setting}: {path} has no column {column}",
            f"choose one of {', '.join(columns) or 'a table with columns'}",
        )
    return {speaker: row.get(column, "") for speaker, row in rows.items()}
