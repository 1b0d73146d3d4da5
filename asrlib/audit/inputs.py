"""Read what an audit is given: transcripts in Kaldi's format, and a table of speakers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrlib.audit.normalisation import NORMALISATIONS
from asrlib.cohorts.table import SpeakerTable, read_table
from asrlib.data import kaldi
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError, first_few
from asrlib.scoring.records import Utterance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What is audited.

    Attributes:
        utterances: in order of id, normalised; each has a reference and a hypothesis.
        table: a row for each of their speakers; "" where nothing is known.
        notes: sentences about what was missing or did not fit.
        changed_refs, changed_hyps: numbers of transcripts that normalisation changed.
    """

    utterances: tuple[Utterance, ...]
    table: SpeakerTable
    notes: tuple[str, ...]
    changed_refs: int
    changed_hyps: int

    @property
    def by_clip(self) -> bool:
        """Whether every utterance is a speaker of its own."""
        return len(self.table) == len(self.utterances) > 1


def read_inputs(
    ref: Path,
    hyp: Path,
    utt2spk: Path | None,
    speakers: Path | None,
    normalisation: str,
    set_name: str | None = None,
    count_missing: bool = False,
) -> Inputs:
    """Read transcripts and speakers, and say what does not fit.

    Args:
        ref, hyp, utt2spk: tables of lines `utterance words` or `utterance speaker`. Without
            utt2spk, and for an utterance that it lacks, the utterance is its own speaker.
        speakers: a table with tabs, a header and a column `speaker`.
        normalisation: a key of `NORMALISATIONS`, for both sides.
        set_name: read only rows of the speaker table with this value in the column `set`.
        count_missing: whether an utterance without a line in `hyp` counts as one of which nothing
            was recognised; else it is left out.

    Raises:
        DataError: a table is broken, no utterance has a reference and a hypothesis, or none of
            these is in utt2spk.
    """
    refs, hyps = kaldi.read_table(ref, required=True), kaldi.read_table(hyp, required=True)
    if not refs.keys() & hyps.keys():
        raise DataError(
            f"{hyp}: none of its {len(hyps)} utterances is in {ref}"
            + (f"; it has {first_few(sorted(hyps), 2)}" if hyps else ""),
            "begin each line with the utterance's id as the references have it, such as "
            + (first_few(sorted(refs), 2) or "utt1"),
        )
    missing, extra = sorted(refs.keys() - hyps.keys()), sorted(hyps.keys() - refs.keys())
    kept = sorted(refs if count_missing else refs.keys() & hyps.keys())
    lost = "they count as wholly deleted" if count_missing else "they are left out"
    notes = [
        *_note(missing, "utterances of the references have no hypothesis", lost),
        *_note(extra, "hypotheses have no reference", "they are left out"),
    ]
    owners: dict[str, str] = {}
    if utt2spk is not None:
        owners, alone = _owners(utt2spk, kept)
        told = "each counts as a speaker of its own"
        notes += _note(alone, "utterances have no speaker in utt2spk", told)
    empty = [u for u in kept if not hyps.get(u, "").split() and u not in missing]
    notes += _note(empty, "hypotheses are empty", "all their words count as deleted")
    apply = NORMALISATIONS[normalisation].apply
    rows = [(u, refs[u], hyps.get(u, "")) for u in kept]
    utterances = tuple(
        Utterance(u, _speaker(owners, u), tuple(apply(r).split()), tuple(apply(h).split()))
        for u, r, h in rows
    )
    if not any(u.ref for u in utterances):
        raise DataError(
            f"{ref}: no reference has a word after normalisation '{normalisation}'",
            "check the file, or choose another --normalise",
        )
    table, more = _table(speakers, sorted({u.speaker for u in utterances}), set_name)
    return Inputs(
        utterances,
        table,
        (*notes, *more),
        sum(" ".join(u.ref) != r for u, (_, r, _) in zip(utterances, rows, strict=True)),
        sum(" ".join(u.hyp) != h for u, (_, _, h) in zip(utterances, rows, strict=True)),
    )


def _owners(utt2spk: Path, kept: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Read the speakers of utterances; also return the utterances that have none, and warn."""
    owners = kaldi.read_table(utt2spk, required=True)
    alone = [u for u in kept if not owners.get(u)]
    if len(alone) == len(kept):
        raise DataError(
            f"{utt2spk}: none of its {len(owners)} utterances is audited"
            + (f"; it has {first_few(sorted(owners), 2)}" if owners else ""),
            "write lines `utterance speaker` with the ids of the hypotheses, such as "
            + first_few(kept, 2),
        )
    if alone:
        log.warning(
            "%s: no speaker for %d of %d utterances, the first is %s",
            *(utt2spk, len(alone), len(kept), alone[0]),
        )
    return owners, alone


def _speaker(owners: dict[str, str], utterance: str) -> str:
    return owners.get(utterance) or utterance


def _table(
    path: Path | None, speakers: Sequence[str], set_name: str | None
) -> tuple[SpeakerTable, list[str]]:
    """Bring the speaker table into the order of `speakers`."""
    if path is None:
        return SpeakerTable(tuple(speakers), {}), ["There is no table of speakers."]
    read = read_table(path, (set_name,) if set_name else ())
    row = {speaker: i for i, speaker in enumerate(read.speakers)}
    if not row.keys() & set(speakers):
        raise DataError(
            f"{path}: none of its {len(row)} speakers has an utterance"
            + (f"; they are {first_few(sorted(row), 2)}" if row else ""),
            f"write the ids as utt2spk has them, such as {first_few(speakers, 2)}",
        )
    absent = [s for s in speakers if s not in row]
    told = "their groups are unknown"
    notes = _note(absent, "speakers are not in the table of speakers", told)
    columns = {
        name: tuple(values[row[s]] if s in row else "" for s in speakers)
        for name, values in read.columns.items()
    }
    return SpeakerTable(tuple(speakers), columns), notes


def with_embeddings(inputs: Inputs, table: EmbeddingTable) -> tuple[SpeakerTable, list[str]]:
    """Add embeddings; speakers are those of the audit, whatever the file calls them.

    Raises:
        DataError: no utterance of the audit has an embedding.
    """
    owner = {u.id: u.speaker for u in inputs.utterances}
    keep = [i for i, id in enumerate(table.ids) if id in owner]
    if not keep:
        raise DataError(
            f"the embeddings are of other utterances: {first_few(table.ids, 2)}",
            f"give embeddings of the audited ones, such as {first_few(sorted(owner), 2)}",
        )
    ids = tuple(table.ids[i] for i in keep)
    vectors_ND = table.vectors_ND[np.array(keep)]
    own = EmbeddingTable(ids, tuple(owner[id] for id in ids), vectors_ND)
    broken = [id for id, bad in zip(ids, ~np.isfinite(vectors_ND).all(axis=1), strict=True) if bad]
    notes = _note(broken, "embeddings are not finite", "they are left out")
    full = inputs.table.with_embeddings([own])
    assert full.vectors_SD is not None
    bare = ~np.isfinite(full.vectors_SD).all(axis=1)
    without = [s for s, no in zip(full.speakers, bare, strict=True) if no]
    notes += _note(without, "speakers have no embedding", "automatic cohorts leave them out")
    return full, notes


def _note(ids: Sequence[str], what: str, told: str) -> list[str]:
    """A sentence that counts; ids are not quoted, because pages may be public."""
    return [f"{len(ids)} {what}: {told}."] if ids else []
