"""Trial lists in VoxCeleb's format: lines of `1 id/a.wav id/b.wav`, with 0 for an impostor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.verification.trials import Trials

log = logging.getLogger(__name__)

_SHOWN = 5
_AUDIO = (".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".sph")


def read_trials(path: Path, table: EmbeddingTable) -> Trials:
    """Read a list of trials.

    An utterance may be named by its id, by its id with the extension of an audio file, or by a
    path whose parts the id joins with `-`, as lhotse's recipe for VoxCeleb does. Trials of
    utterances that the table lacks are left out, with a warning; so are trials whose label
    contradicts the speakers of the table.

    Raises:
        DataError: the list is missing, a line has another form, or no trial is left.
    """
    rows = {id_: row for row, id_ in enumerate(table.ids)}
    found: list[tuple[int, int, bool]] = []
    unknown: dict[str, None] = {}
    lost = contradictions = 0
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or words[0] not in ("0", "1"):
            raise DataError(
                f"{path}:{number}: is no trial", "write `1 UTTERANCE UTTERANCE`, 0 for impostors"
            )
        sides = _row(words[1], rows), _row(words[2], rows)
        target = words[0] == "1"
        if sides[0] is None or sides[1] is None:
            lost += 1
            missing = [w for w, r in zip(words[1:], sides, strict=True) if r is None]
            unknown.update(dict.fromkeys(missing))
        elif target != (table.speakers[sides[0]] == table.speakers[sides[1]]):
            contradictions += 1
        else:
            found.append((sides[0], sides[1], target))
    if unknown:
        names = ", ".join(list(unknown)[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        log.warning(
            "%s: %d trials are left out: no usable embedding of %s%s", path, lost, names, more
        )
    if contradictions:
        log.warning(
            "%s: %d trials are left out: their labels contradict the speakers of the embeddings",
            *(path, contradictions),
        )
    if not found:
        raise DataError(
            f"{path}: no trial names two utterances of the embeddings",
            "embed the utterances of the list, under the ids that the list uses",
        )
    enrol, test, target_ = zip(*found, strict=True)
    return Trials(
        np.array(enrol, dtype=np.int32),
        np.array(test, dtype=np.int32),
        np.array(target_, dtype=bool),
        symmetric=False,
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
