"""utt_counts.jsonl: what was counted in each utterance, without its words.

A row holds sums, so that those of any set of utterances are the counts of the set.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.latency import latency_of
from asrlib.scoring.wer import Aligned, ErrorRate

COUNTS_FILE = "utt_counts.jsonl"


@dataclass(frozen=True)
class UtteranceCounts(JsonRecord):
    """One line.

    Attributes:
        utterance: its id.
        substitutions, insertions, deletions: of words.
        words, characters: of the reference; characters include the spaces between words.
        character_errors: of all kinds.
        seconds: length of the audio.
        symbol_delay_ms_sum: over `symbol_delays` correct words whose times are known.
        finalisation_ms: None where it is not known.
        encoder_work: the encoder's, as a share of its full work; None where it always does all.
    """

    utterance: str
    speaker: str
    substitutions: int
    insertions: int
    deletions: int
    words: int
    characters: int
    character_errors: int
    seconds: float
    symbol_delay_ms_sum: float
    symbol_delays: int
    finalisation_ms: float | None
    encoder_work: float | None

    @property
    def errors(self) -> ErrorRate:
        return ErrorRate(self.insertions, self.deletions, self.substitutions, self.words)


def counts_of(a: Aligned) -> UtteranceCounts:
    """The counts of an aligned utterance."""
    latency = latency_of(a)
    return UtteranceCounts(
        utterance=a.utterance.id,
        speaker=a.utterance.speaker,
        substitutions=a.words.substitutions,
        insertions=a.words.insertions,
        deletions=a.words.deletions,
        words=a.words.words,
        characters=a.chars.words,
        character_errors=a.chars.errors,
        seconds=a.utterance.duration,
        symbol_delay_ms_sum=round(sum(latency.symbol_delays), 3),
        symbol_delays=len(latency.symbol_delays),
        finalisation_ms=round(latency.finalisations[0], 3) if latency.finalisations else None,
        encoder_work=a.utterance.encoder_work,
    )


def count_line(a: Aligned) -> str:
    """The line of an aligned utterance, with its line break."""
    return json.dumps(counts_of(a).to_json(), ensure_ascii=False) + "\n"


def read_counts(path: Path) -> list[UtteranceCounts]:
    """Read the file.

    Raises:
        DataError: it is missing, broken or empty.
    """
    again = "score again with --force"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [UtteranceCounts.from_json(json.loads(line)) for line in lines]
    except (OSError, ValueError) as e:
        raise DataError(f"{path}: missing or broken ({type(e).__name__})", again) from None
    if not rows:
        raise DataError(f"{path}: has no utterance", again)
    return rows


def sum_counts(rows: Sequence[UtteranceCounts]) -> dict[str, ErrorRate]:
    """Add up the word error counts of each speaker."""
    sums: dict[str, ErrorRate] = {}
    for row in rows:
        sums[row.speaker] = sums.get(row.speaker, ErrorRate()) + row.errors
    return sums
