"""What an audit knows of voices: embeddings that are given, or statistics of the audio."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrlib.audit.inputs import Inputs, with_embeddings
from asrlib.cohorts.table import SpeakerTable
from asrlib.embedding_table import EmbeddingTable

MEASURES = ("snr_db", "rate_wpm", "level_dbfs")  # columns that automatic_measured appends


@dataclass(frozen=True)
class Voices:
    """The speakers with their embeddings.

    Attributes:
        measures: columns of the table that describe the audio.
        notes: sentences about what is missing.
    """

    table: SpeakerTable
    measures: tuple[str, ...]
    notes: tuple[str, ...]


def with_voices(inputs: Inputs, audio: Path | None, embeddings: Path | None) -> Voices:
    """Add embeddings from either source; with audio also its level and the rate of speech.

    Raises:
        DataError: the file is broken, or of other utterances; no audio can be read.
    """
    table, notes = inputs.table, []
    if embeddings is not None:
        table, notes = with_embeddings(inputs, EmbeddingTable.read(embeddings))
    elif audio is not None:
        from asrlib.audit.mfcc import measure_audio

        measured = measure_audio(audio, {u.id: u.speaker for u in inputs.utterances})
        table, notes = with_embeddings(inputs, measured.table)
        notes = [
            "Voices are the means and deviations of 20 MFCCs, which tell voice, microphone and "
            "room together.",
            *measured.notes,
            *notes,
        ]
        words = {u.id: float(len(u.ref)) for u in inputs.utterances if u.id in measured.seconds}
        minutes = {u: s / 60 for u, s in measured.seconds.items()}
        one = dict.fromkeys(measured.level_dbfs, 1.0)
        table = _add(inputs, table, "rate_wpm", words, minutes)
        table = _add(inputs, table, "level_dbfs", measured.level_dbfs, one)
    present = tuple(m for m in MEASURES if np.isfinite(table.numbers(m)).any())
    return Voices(table, present, tuple(notes))


def _add(
    inputs: Inputs,
    table: SpeakerTable,
    column: str,
    totals: Mapping[str, float],
    weights: Mapping[str, float],
) -> SpeakerTable:
    """Add a column, each speaker's total divided by weight; one that the table has stays."""
    if column in table.columns:
        return table
    sums: dict[str, list[float]] = {}
    for u in inputs.utterances:
        if u.id in totals:
            both = sums.setdefault(u.speaker, [0.0, 0.0])
            both[0] += totals[u.id]
            both[1] += weights[u.id]
    values = tuple(
        f"{sums[s][0] / sums[s][1]:.2f}" if s in sums and sums[s][1] else "" for s in table.speakers
    )
    return dataclasses.replace(table, columns={**table.columns, column: values})
