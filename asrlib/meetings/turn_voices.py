"""Turns of decoded mixtures named by voice: the record of what it changed."""

from __future__ import annotations

from dataclasses import dataclass

from asrlib.json_record import JsonRecord
from asrlib.scoring.gaps import Comparison

NAMED_FILE, VOICES_FILE = "turns_by_voice.seglst.json", "voices.json"


@dataclass(frozen=True)
class TurnVoices(JsonRecord):
    """Content of voices.json.

    Attributes:
        model, speaker_model: names of the two directories under exp/.
        speaker_run: identity of the training of the speaker model.
        set, search: what was decoded, and how.
        threshold: least cosine between a turn and its speaker.
        cpwer: with voices as names (b) against channels as names (a), in percentage points;
            sessions are the units of the interval.
        turns, unnamed: numbers of turns, and of those that could not be embedded.
    """

    model: str
    speaker_model: str
    speaker_run: str | None
    set: str
    search: str
    threshold: float
    cpwer: Comparison
    turns: int
    unnamed: int
