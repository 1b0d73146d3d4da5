"""Read Kaldi data directories as raw utterance tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from asrlib.data.raw import RawUtterance
from asrlib.data.validation import printable
from asrlib.errors import DataError, first_few

_FIX = "fix the directory; Kaldi's utils/fix_data_dir.sh finds such faults"


def read_kaldi_dir(
    path: Path, audio_root: Path | None = None, speaker_meta: Mapping[str, str] | None = None
) -> list[RawUtterance]:
    """Read `wav.scp` (and `segments`), `text`, `utt2spk`, `spk2gender`, `spk2age`.

    Only the tables are read. lhotse's `load_kaldi_data_dir` opens every audio file and stops at
    the first broken one; here broken files are left to stage 1, which quarantines them.

    Args:
        path: data directory.
        audio_root: directory that relative paths in `wav.scp` start from; default: `path`, or its
            parent if the file is there.
        speaker_meta: facts that hold for all speakers of the directory.

    Returns:
        Utterances in the order of `segments` or `wav.scp`. An utterance without a line in `text`
        has an empty transcript; without a line in `utt2spk`, its id is also its speaker's id.

    Raises:
        DataError: a table is missing or malformed, `text` has utterances without audio, or
            `wav.scp` holds a command.
    """
    wavs = read_table(path / "wav.scp", required=True)
    texts = read_table(path / "text", required=True)
    speakers = read_table(path / "utt2spk")
    genders = read_table(path / "spk2gender")
    ages = read_table(path / "spk2age")
    roots = [audio_root] if audio_root else [path, path.parent]
    segments = _segments(path, wavs)
    _check_audio(path, segments, texts)
    rows = []
    for utterance, (recording, start, end) in segments.items():
        speaker = speakers.get(utterance, utterance)
        rows.append(
            RawUtterance(
                id=utterance,
                audio=_audio(path, recording, wavs, roots),
                text=texts.get(utterance, ""),
                speaker=speaker,
                gender=genders.get(speaker, "").lower() or None,
                age=_number(path / "spk2age", ages[speaker]) if speaker in ages else None,
                speaker_meta=dict(speaker_meta or {}),
                start=start,
                end=end,
            )
        )
    return rows


def audio_of(wav_scp: Path) -> dict[str, tuple[str, float | None, float | None]]:
    """Return file, start and end (s) of each utterance; None: the beginning or end of the file.

    `segments` beside `wav.scp` counts.

    Raises:
        DataError: as of `read_kaldi_dir`.
    """
    folder, wavs = wav_scp.parent, read_table(wav_scp, required=True)
    roots = [folder, folder.parent]
    return {
        utterance: (_audio(folder, recording, wavs, roots), start, end)
        for utterance, (recording, start, end) in _segments(folder, wavs).items()
    }


def read_table(path: Path, required: bool = False) -> dict[str, str]:
    """Read a table of lines `key rest of line`.

    Raises:
        DataError: a required file is missing, a file is not UTF-8, or a key occurs twice.
    """
    if not path.exists():
        if required:
            raise DataError(f"{path}: missing", "add it: a Kaldi data directory needs this table")
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8: {e.reason} at byte {e.start}", _FIX) from e
    table: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key in table:
            raise DataError(f"{path}: line {number}: key {key} occurs twice", _FIX)
        table[key] = rest.strip()
    return table


def _segments(
    path: Path, wavs: Mapping[str, str]
) -> dict[str, tuple[str, float | None, float | None]]:
    """Return recording, start and end (s) of every utterance; end -1 is the recording's end."""
    if not (path / "segments").exists():
        return {key: (key, None, None) for key in wavs}
    segments: dict[str, tuple[str, float | None, float | None]] = {}
    for utterance, rest in read_table(path / "segments").items():
        fields = rest.split()
        if len(fields) != 3:
            raise DataError(
                f"{path / 'segments'}: {utterance}: not a line `utterance recording start end`",
                _FIX,
            )
        start, end = (_number(path / "segments", field) for field in fields[1:])
        segments[utterance] = (fields[0], start, None if end < 0 else end)
    return segments


def _check_audio(path: Path, segments: Mapping[str, object], texts: Mapping[str, str]) -> None:
    """Refuse transcripts without audio, which a table that was cut short leaves."""
    lost = [printable(name) for name in sorted(texts.keys() - segments.keys())]
    if not lost:
        return
    table = "segments" if (path / "segments").exists() else "wav.scp"
    raise DataError(f"{path / table}: lacks utterances that text has: {first_few(lost)}", _FIX)


def _audio(path: Path, recording: str, wavs: Mapping[str, str], roots: list[Path]) -> str:
    if recording not in wavs:
        raise DataError(f"{path / 'segments'}: {recording} is not in wav.scp", _FIX)
    source = wavs[recording]
    if source.endswith("|"):
        raise DataError(
            f"{path / 'wav.scp'}: {recording} is a command, not a file",
            "write the commands' output into files (with Kaldi's wav-copy scp:wav.scp), list those",
        )
    places = [root / source for root in roots]
    return str(next((p for p in places if p.exists()), places[0]).absolute())


def _number(path: Path, text: str) -> float:
    try:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
    except ValueError:
        raise DataError(f"{path}: {text!r} is not a number", _FIX) from None
    return number
