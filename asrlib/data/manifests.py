"""Stage 1: convert raw utterance tables to lhotse cuts.

The input is the output of a recipe's local step, `data/raw/<set>.jsonl` (format:
`asrlib.data.raw`). Every file is decoded once. Usable utterances become cuts with one supervision
each in `data/<set>/cuts.jsonl.gz`; the others go to `data/quarantine.tsv` with the reason.

Times inside a cut (supervision, word alignment) count from the cut's start.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import logging
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem
from tqdm import tqdm

from asrlib.audio.io import Audio
from asrlib.data.raw import RawUtterance
from asrlib.data.speakers import check_shared_speakers, speaker_rows, write_speakers
from asrlib.data.validation import (
    Quarantined,
    Reason,
    ValidationConfig,
    check_budget,
    decode,
    summarise,
    validate_utterance,
)
from asrlib.errors import DataError
from asrlib.files import atomic_path, atomic_write

MANIFESTS_VERSION = 2  # raised when the output of `manifests` changes; see asrlib/stamps.py
Normalise = Callable[[str], str]
_Row = tuple[str, int, RawUtterance]  # set, index within it, utterance


@dataclass(frozen=True)
class Manifests:
    """The result of stage 1.

    Attributes:
        cuts: cuts of the usable utterances by set, in the order of the raw tables.
        utterances: raw rows of these utterances by set.
        quarantined: unusable utterances, in the same order.
    """

    cuts: dict[str, CutSet]
    utterances: dict[str, list[RawUtterance]]
    quarantined: list[Quarantined]

    @property
    def total(self) -> int:
        return sum(len(u) for u in self.utterances.values()) + len(self.quarantined)


def build_manifests(
    sets: Mapping[str, Sequence[RawUtterance]],
    base: Path,
    normalise: Normalise,
    config: ValidationConfig,
    num_jobs: int = 1,
) -> Manifests:
    """Decode every file once and divide the utterances into cuts and quarantine.

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
    verdicts: dict[tuple[str, int], MonoCut | Quarantined] = {}
    files: dict[Path, list[_Row]] = {}
    seen: set[str] = set()
    for name, utterances in sets.items():
        for index, utterance in enumerate(utterances):
            path = audio_path(base, utterance)
            reason = Reason("duplicate id") if utterance.id in seen else _bad_name(utterance)
            if reason is not None:
                verdicts[name, index] = Quarantined(utterance.id, str(path), reason)
            else:
                files.setdefault(path, []).append((name, index, utterance))
            seen.add(utterance.id)
    with ThreadPoolExecutor(max_workers=max(1, num_jobs)) as pool:
        judge = partial(_judge_file, normalise=normalise, config=config)
        jobs = pool.map(judge, files.keys(), files.values())
        for found in tqdm(jobs, total=len(files), desc="decode", unit="file", disable=None):
            verdicts.update(found)
    return _collect(sets, verdicts)


def _bad_name(utterance: RawUtterance) -> Reason | None:
    """Return a reason if the id or the speaker would break a table with a name in each line."""
    for field in ("id", "speaker"):
        name = getattr(utterance, field)
        if " ".join(name.split()) != name or not name:
            return Reason("unusable name", f"the {field} is empty or has white space but spaces")
        if any(unicodedata.category(c) == "Cc" for c in name):
            return Reason("unusable name", f"the {field} has control characters")
    return None


def audio_path(base: Path, utterance: RawUtterance) -> Path:
    """Return the absolute path of an utterance's audio file."""
    return (base / utterance.audio).absolute()


def _collect(
    sets: Mapping[str, Sequence[RawUtterance]],
    verdicts: Mapping[tuple[str, int], MonoCut | Quarantined],
) -> Manifests:
    cuts: dict[str, CutSet] = {}
    good: dict[str, list[RawUtterance]] = {}
    for name, utterances in sets.items():
        found = [(verdicts[name, i], u) for i, u in enumerate(utterances)]
        cuts[name] = CutSet.from_cuts(v for v, _ in found if isinstance(v, MonoCut))
        good[name] = [u for v, u in found if isinstance(v, MonoCut)]
    ordered = (verdicts[name, i] for name in sets for i in range(len(sets[name])))
    return Manifests(cuts, good, [v for v in ordered if isinstance(v, Quarantined)])


def _judge_file(
    path: Path, rows: Sequence[_Row], normalise: Normalise, config: ValidationConfig
) -> dict[tuple[str, int], MonoCut | Quarantined]:
    decoded = decode(path, config)
    if isinstance(decoded, Reason):
        return {(name, i): Quarantined(u.id, str(path), decoded) for name, i, u in rows}
    recording = Recording(
        id=rows[0][2].id if len(rows) == 1 else str(path),
        sources=[AudioSource(type="file", channels=[0], source=str(path))],
        sampling_rate=decoded.rate,
        num_samples=len(decoded.samples_NC),
        duration=len(decoded.samples_NC) / decoded.rate,
    )
    verdicts: dict[tuple[str, int], MonoCut | Quarantined] = {}
    for name, index, utterance in rows:
        found = _judge(utterance, decoded, recording, normalise, config)
        bad = isinstance(found, Reason)
        verdicts[name, index] = Quarantined(utterance.id, str(path), found) if bad else found
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


def write_manifests(manifests: Manifests, data: Path, config: ValidationConfig) -> None:
    """Write cuts, speaker table and quarantine table into the recipe's `data/`.

    The quarantine table is written first, so that the user can read it if the error budget is
    exceeded.

    Raises:
        DataError: more utterances are unusable than the budget allows, or a set has no usable
            utterance.
    """
    table = data / "quarantine.tsv"
    write_quarantine(table, manifests.quarantined)
    check_budget(manifests.quarantined, manifests.total, config.error_budget, table)
    for name, cuts in manifests.cuts.items():
        if len(cuts) == 0:
            raise DataError(
                f"{data / 'raw' / name}.jsonl: no usable utterance in set {name}: "
                + (summarise(manifests.quarantined) or "the table is empty"),
                f"fix the utterances that {table} lists, or the recipe's local step",
            )
    write_speakers(data / "speakers.tsv", speaker_rows(manifests.utterances))
    for name, cuts in manifests.cuts.items():
        write_cuts(data / name / "cuts.jsonl.gz", cuts)
        log_set(name, cuts)
    bad = summarise(manifests.quarantined)
    logging.info(
        "quarantined: %d of %d%s", len(manifests.quarantined), manifests.total, bad and f": {bad}"
    )


def write_cuts(path: Path, cuts: Iterable[MonoCut]) -> None:
    """Write a manifest that lhotse reads; equal cuts give equal bytes."""
    with (
        atomic_path(path) as temp,
        open(temp, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        for cut in cuts:
            packed.write((json.dumps(cut.to_dict(), ensure_ascii=False) + "\n").encode())


def write_quarantine(path: Path, bad: Iterable[Quarantined]) -> None:
    """Write a TSV table of id, path and reason; it never contains a transcript."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["id", "path", "reason"])
    writer.writerows([item.id, item.path, str(item.reason)] for item in bad)
    with atomic_write(path) as f:
        f.write(text.getvalue())


def log_set(name: str, cuts: CutSet) -> None:
    """Log a set's numbers of utterances, speakers and minutes in one line."""
    speakers = {cut.supervisions[0].speaker for cut in cuts}
    minutes = sum(cut.duration for cut in cuts) / 60
    logging.info(
        "%s: %d utterances, %d speakers, %.1f minutes", name, len(cuts), len(speakers), minutes
    )


def audio_digest(sets: Mapping[str, Sequence[RawUtterance]], base: Path) -> str:
    """Hash path, size and modification time of all audio files, to detect changed files."""
    digest = hashlib.sha256()
    for path in sorted({audio_path(base, u) for us in sets.values() for u in us}):
        try:
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except (OSError, ValueError):  # ValueError: the name has a NUL
            digest.update(f"{path} missing\n".encode())
    return digest.hexdigest()
