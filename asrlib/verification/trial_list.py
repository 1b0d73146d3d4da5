"""Trial lists in VoxCeleb's format, `1 id/a.wav id/b.wav` with 0 for an impostor, or Kaldi's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError, first_few
from asrlib.verification.trials import Trials

log = logging.getLogger(__name__)

_AUDIO = (".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".sph")


def read_trials(path: Path, table: EmbeddingTable) -> Trials:
    """Read a list of trials: lines of `1 UTTERANCE UTTERANCE` or `UTTERANCE UTTERANCE target`.

    The label is 1 or 0 in front (VoxCeleb), or `target` or `nontarget` at the end (Kaldi).
    An utterance may be named by its id, by its id with the extension of an audio file, or by a
    path whose parts the id joins with `-`, as lhotse's recipe for VoxCeleb does. These trials are
    left out, with a warning: those of utterances that the table lacks, those whose label
    contradicts the speakers of the table, those of an utterance with itself, and those that an
    earlier line holds in the same order of the two sides.

    Raises:
        DataError: the list is missing, a line has another form, or no trial is left.
    """
    rows = {id_: row for row, id_ in enumerate(table.ids)}
    found: dict[tuple[int, int], bool] = {}
    left_out = _LeftOut()
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        target, names = _trial(words, f"{path}:{number}")
        enrol, test = (_row(name, rows) for name in names)
        if enrol is None or test is None:
            left_out.unknown.append(number)
            missing = [w for w, r in zip(names, (enrol, test), strict=True) if r is None]
            left_out.names.update(dict.fromkeys(missing))
        elif enrol == test:
            left_out.itself.append(number)
        elif target != (table.speakers[enrol] == table.speakers[test]):
            left_out.contradictory.append(number)
        elif (enrol, test) in found:
            left_out.repeated.append(number)
        else:
            found[enrol, test] = target
    left_out.warn(path)
    if not found:
        raise DataError(
            f"{path}: no trial is left; warnings say why lines were left out",
            "embed the utterances of the list, under the ids that the list uses",
        )
    enrol_T, test_T = np.array(list(found), dtype=np.int32).T
    target_T = np.array(list(found.values()), dtype=bool)
    return Trials(enrol_T, test_T, target_T, symmetric=False)


def _trial(words: list[str], where: str) -> tuple[bool, list[str]]:
    """Return whether a line is a target trial, and the names of its utterances."""
    if len(words) == 3 and words[0] in ("0", "1"):
        return words[0] == "1", words[1:]
    if len(words) == 3 and words[2] in ("target", "nontarget"):
        return words[2] == "target", words[:2]
    raise DataError(
        f"{where}: is no trial",
        "write `1 UTTERANCE UTTERANCE` with 0 for impostors, or `UTTERANCE UTTERANCE target` with "
        "nontarget for impostors",
    )


@dataclass
class _LeftOut:
    """Numbers of the lines whose trials are left out, by the reason.

    Attributes:
        names: the utterances that the table lacks, as keys.
    """

    unknown: list[int] = field(default_factory=list)
    itself: list[int] = field(default_factory=list)
    contradictory: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)

    def warn(self, path: Path) -> None:
        """Say how many trials are left out, why, and which line is the first."""
        reasons = (
            (self.unknown, f"no usable embedding of {first_few(list(self.names))}"),
            (self.itself, "they pair an utterance with itself, whose score says nothing"),
            (self.contradictory, "their labels contradict the speakers of the embeddings"),
            (self.repeated, "an earlier line holds the same trial"),
        )
        for lines, reason in reasons:
            if lines:
                log.warning(
                    "%s:%d: %d trials are left out, this line first: %s",
                    *(path, lines[0], len(lines), reason),
                )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: is not readable: {e}", "name a list of trials") from e


def _row(name: str, rows: Mapping[str, int]) -> int | None:
    path = PurePosixPath(name)
    bare = str(path.with_suffix("")) if path.suffix in _AUDIO else name
    return next((rows[n] for n in (name, bare, bare.replace("/", "-")) if n in rows), None)
