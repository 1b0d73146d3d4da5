"""Stage 1: convert raw utterance tables to lhotse cuts.

The input is the output of a recipe's local step, `data/raw/<set>.jsonl` (format:
`asrlib.data.raw`). Every file is decoded once. Usable utterances become cuts with one supervision
each in `data/<set>/cuts.jsonl.gz`; the others go to `data/quarantine.tsv` with the reason.

Times inside a cut (supervision, word alignment) count from the cut's start.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import json
import logging
import os
import tempfile
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem
from tqdm import tqdm

from asrlib.audio.io import Audio
from asrlib.data.raw import RawUtterance
from asrlib.data.raw_index import RawIndex, audio_path
from asrlib.data.speakers import SpeakerRows, check_shared_speakers, write_speakers
from asrlib.data.validation import (
    QuarantineCounts,
    Quarantined,
    Reason,
    ValidationConfig,
    decode,
    printable,
    validate_utterance,
)
from asrlib.errors import DataError
from asrlib.files import atomic_path, atomic_write, naming
from asrlib.spool import sorted_on_disk

MANIFESTS_VERSION = 2  # raised when the output of `manifests` changes; see asrlib/stamps.py
Normalise = Callable[[str], str]
_Row = tuple[int, str, RawUtterance]  # number, set, utterance
_FILES_PER_JOB = 8  # files that are decoded or wait for it, for each thread


@dataclass(frozen=True)
class Verdict:
    """What became of a raw row: the cut of a usable utterance, or why it is unusable."""

    set: str
    utterance: RawUtterance
    outcome: MonoCut | Quarantined


def judge(
    sets: Mapping[str, Sequence[RawUtterance]],
    base: Path,
    normalise: Normalise,
    config: ValidationConfig,
    num_jobs: int = 1,
) -> Iterator[Verdict]:
    """Decode every file once and yield a verdict on every row, in the order of the raw tables.

    The memory that this takes does not grow with the tables, beyond that of a `RawIndex`, as long
    as the rows of a file stand together. Otherwise the cuts of a file wait for their turn.

    Args:
        sets: raw rows by set.
        base: directory that relative audio paths start from.
        normalise: function that makes a transcript the text that the recogniser should output.
        config: limits that an utterance must meet.
        num_jobs: number of files decoded at a time, in threads, since the decoder releases Python's
            lock.

    Raises:
        DataError: the training set shares speakers with another set, and that is not permitted.
    """
    check_shared_speakers(sets, config.permit_shared_speakers)  # checked before hours of decoding
    index = RawIndex(sets, base)
    judge_file = partial(_judge_file, normalise=normalise, config=config)
    ready: dict[int, Verdict] = {}
    following = 0
    bar = tqdm(total=index.files, desc="decode", unit="file", disable=None)
    with bar, contextlib.closing(_judged(index, base, judge_file, num_jobs)) as judged:
        for found, files in judged:
            bar.update(files)
            ready.update(found)
            while following in ready:
                yield ready.pop(following)
                following += 1


def _judged(
    index: RawIndex,
    base: Path,
    judge_file: Callable[[Path, Sequence[_Row]], dict[int, Verdict]],
    num_jobs: int,
) -> Generator[tuple[dict[int, Verdict], int], None, None]:
    """Yield verdicts by number of the row, and of how many files they are."""
    jobs: deque[Future[dict[int, Verdict]]] = deque()
    judged: set[int] = set()  # rows that were judged with the first row of their file
    with ThreadPoolExecutor(max_workers=max(1, num_jobs)) as pool:
        for number, name, utterance in index.rows():
            if number in judged:
                judged.remove(number)
                continue
            path = audio_path(base, utterance)
            duplicate = Reason("duplicate id") if index.is_duplicate(number) else None
            if reason := duplicate or _bad_name(utterance):
                bad = Quarantined(utterance.id, str(path), reason)
                yield {number: Verdict(name, utterance, bad)}, 0
                continue
            others = [(n, *index.row(n)) for n in index.rows_of_file(path) if n > number]
            rows = [(number, name, utterance), *(row for row in others if not _bad_name(row[2]))]
            judged.update(n for n, _, _ in rows[1:])
            jobs.append(pool.submit(judge_file, path, rows))
            if len(jobs) >= _FILES_PER_JOB * num_jobs:
                yield jobs.popleft().result(), 1
        while jobs:
            yield jobs.popleft().result(), 1


def _bad_name(utterance: RawUtterance) -> Reason | None:
    """Return a reason if the id or the speaker would break a table with a name in each line."""
    for field in ("id", "speaker"):
        name = getattr(utterance, field)
        if " ".join(name.split()) != name or not name:
            return Reason("unusable name", f"the {field} is empty or has white space but spaces")
        if any(unicodedata.category(c) == "Cc" for c in name):
            return Reason("unusable name", f"the {field} has control characters")
    return None


def _judge_file(
    path: Path, rows: Sequence[_Row], normalise: Normalise, config: ValidationConfig
) -> dict[int, Verdict]:
    decoded = decode(path, config)
    if isinstance(decoded, Reason):
        return {n: Verdict(name, u, Quarantined(u.id, str(path), decoded)) for n, name, u in rows}
    recording = Recording(
        id=rows[0][2].id if len(rows) == 1 else str(path),
        sources=[AudioSource(type="file", channels=[0], source=str(path))],
        sampling_rate=decoded.rate,
        num_samples=len(decoded.samples_NC),
        duration=len(decoded.samples_NC) / decoded.rate,
    )
    verdicts: dict[int, Verdict] = {}
    for number, name, utterance in rows:
        found = _judge(utterance, decoded, recording, normalise, config)
        if isinstance(found, Reason):
            found = Quarantined(utterance.id, str(path), found)
        verdicts[number] = Verdict(name, utterance, found)
    return verdicts


def _judge(
    utterance: RawUtterance,
    audio: Audio,
    recording: Recording,
    normalise: Normalise,
    config: ValidationConfig,
) -> MonoCut | Reason:
    whole = len(audio.samples_NC)
    start, end = utterance.start or 0.0, utterance.end
    if not all(0 <= time <= whole / audio.rate + 1 for time in (start, end or 0.0)):
        return Reason("segment outside the file", f"{start:g} s, of {whole / audio.rate:g} s")
    start = round(start * audio.rate)
    end = whole if end is None else round(end * audio.rate)
    # Segment ends are often rounded to 0.01 s, so an end may lie up to 0.01 s beyond the file.
    if not 0 <= start < end <= whole + audio.rate // 100:
        last = whole / audio.rate
        return Reason("segment outside the file", f"{start / audio.rate:g} s, of {last:g} s")
    samples_N: np.ndarray = audio.mono_N[start : min(end, whole)]
    text = normalise(utterance.text)
    reason = validate_utterance(samples_N, audio.rate, text, config)
    if reason is not None:
        return reason
    duration = len(samples_N) / audio.rate
    words = {"word": _alignment(utterance)} if utterance.words is not None else None
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=0.0,
        duration=duration,
        channel=0,
        text=text,
        speaker=utterance.speaker,
        gender=utterance.gender,
        custom=_custom(utterance),
        alignment=words,
    )
    cut = MonoCut(
        id=utterance.id,
        start=start / audio.rate,
        duration=duration,
        channel=0,
        supervisions=[supervision],
        recording=recording,
    )
    if audio.rate != config.expected_sample_rate:
        # lhotse returns a MonoCut for a MonoCut, but its annotation is wider.
        return cast(MonoCut, cut.resample(config.expected_sample_rate))
    return cut


def _alignment(utterance: RawUtterance) -> list[AlignmentItem]:
    return [
        AlignmentItem(symbol=word, start=start, duration=round(end - start, 6))
        for word, start, end in utterance.words or ()
    ]


def _custom(utterance: RawUtterance) -> dict | None:
    age = {} if utterance.age is None else {"age": utterance.age}
    return {**age, **utterance.speaker_meta, **utterance.custom} or None


def write_manifests(
    verdicts: Iterable[Verdict], sets: Iterable[str], data: Path, config: ValidationConfig
) -> None:
    """Write cuts, speaker table and quarantine table into the recipe's `data/`.

    The quarantine table is written first, so that the user can read it if the error budget is
    exceeded; the other files appear only when all are complete.

    Args:
        verdicts: what `judge` yields.
        sets: names of all sets.

    Raises:
        DataError: more utterances are unusable than the budget allows, a set has no usable
            utterance, or two utterances of a speaker disagree about the speaker.
    """
    table, speakers = data / "quarantine.tsv", SpeakerRows()
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data, prefix=".manifests.") as folder:
        parts = {name: _SetWriter(Path(folder), name) for name in sets}
        with naming(data), contextlib.ExitStack() as open_files, atomic_write(table) as f:
            for part in parts.values():
                open_files.enter_context(contextlib.closing(part))
            total, bad = _divide(verdicts, parts, speakers, f)
        bad.check_budget(total, config.error_budget, table)
        for part in parts.values():
            part.check(data, bad, table)
        write_speakers(data / "speakers.tsv", speakers.rows())
        for part in parts.values():
            part.publish(data)
    logging.info("quarantined: %d of %d%s", len(bad), total, f": {bad}" if len(bad) else "")


def _divide(
    verdicts: Iterable[Verdict],
    parts: Mapping[str, _SetWriter],
    speakers: SpeakerRows,
    quarantine: IO[str],
) -> tuple[int, QuarantineCounts]:
    """Write each row to its set or to quarantine.

    The table of quarantine holds id, path and reason; it never contains a transcript.

    Returns:
        The number of rows, and the counts of the bad ones.
    """
    rows = csv.writer(quarantine, delimiter="\t", lineterminator="\n")
    rows.writerow(["id", "path", "reason"])
    total, bad = 0, QuarantineCounts()
    for verdict in verdicts:
        total += 1
        outcome = verdict.outcome
        if isinstance(outcome, Quarantined):
            bad.add(outcome)
            rows.writerow(map(printable, (outcome.id, outcome.path, str(outcome.reason))))
        else:
            parts[verdict.set].add(outcome)
            speakers.add(verdict.set, verdict.utterance)
    return total, bad


class CutWriter:
    """Writes a manifest that lhotse reads, cut by cut; equal cuts give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._raw = open(path, "wb")  # noqa: SIM115  (`close` closes it)
        self._packed = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)

    def add(self, cut: MonoCut) -> None:
        """Write a cut."""
        self._packed.write((json.dumps(cut.to_dict(), ensure_ascii=False) + "\n").encode())

    def close(self) -> None:
        """Complete the file."""
        self._packed.close()
        self._raw.close()


class _SetWriter(CutWriter):
    """Writes the manifest of a set to a temporary folder, and counts what is in it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._name = folder / f"{name}.jsonl.gz", name
        super().__init__(self._path)
        self._cuts, self._seconds = 0, 0.0
        self._speakers: set[str | None] = set()

    def add(self, cut: MonoCut) -> None:
        super().add(cut)
        self._cuts += 1
        self._seconds += cut.duration
        self._speakers.add(cut.supervisions[0].speaker)

    def check(self, data: Path, bad: QuarantineCounts, table: Path) -> None:
        """Raise an error if the set has no cut."""
        if not self._cuts:
            raise DataError(
                f"{data / 'raw' / self._name}.jsonl: no usable utterance in set {self._name}: "
                + (str(bad) or "the table is empty"),
                f"fix the utterances that {table} lists, or the recipe's local step",
            )

    def publish(self, data: Path) -> None:
        """Move the complete manifest to its place, and log what is in it."""
        with atomic_path(data / self._name / "cuts.jsonl.gz") as temp:
            os.replace(self._path, temp)
        logging.info(
            "%s: %d utterances, %d speakers, %.1f minutes",
            self._name,
            self._cuts,
            len(self._speakers),
            self._seconds / 60,
        )


def write_cuts(path: Path, cuts: Iterable[MonoCut]) -> None:
    """Write a manifest that lhotse reads; equal cuts give equal bytes."""
    with atomic_path(path) as temp, contextlib.closing(CutWriter(temp)) as writer:
        for cut in cuts:
            writer.add(cut)


def audio_digest(sets: Mapping[str, Iterable[RawUtterance]], base: Path) -> str:
    """Hash path, size and modification time of all audio files, to detect changed files."""
    digest, last = hashlib.sha256(), None
    paths = (audio_path(base, u) for utterances in sets.values() for u in utterances)
    # Paths are in the order of their parts.
    for key, _ in sorted_on_disk(("\0".join(path.parts), "") for path in paths):
        if key == last:
            continue
        path, last = Path(*key.split("\0")), key
        try:
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except (OSError, ValueError):  # ValueError: the name has a NUL
            digest.update(f"{path} missing\n".encode())
    return digest.hexdigest()
