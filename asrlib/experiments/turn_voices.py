"""Name the turns of decoded mixtures by voice, and compare cpWER with channels as names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lhotse.cut import Cut

from asrlib.experiments.run_record import identity_in
from asrlib.meetings.metrics import Session, score_sessions
from asrlib.meetings.score import read_sessions
from asrlib.meetings.turn_voices import NAMED_FILE, VOICES_FILE, TurnVoices
from asrlib.scoring.gaps import compare_speakers
from asrlib.scoring.wer import ErrorRate
from asrlib.speakers.turn_names import Voices
from asrlib.text.turns import Turn, write_turns


def name_decoded_turns(
    decode_dir: Path, set_dir: Path, cuts: Iterable[Cut], voices: Voices, speaker_dir: Path
) -> TurnVoices:
    """Name the turns of a decode directory; write turns_by_voice.seglst.json and voices.json.

    Args:
        decode_dir: directory of turns.seglst.json, `exp/MODEL/decode_SET_SEARCH`.
        set_dir: directory of the set, with its reference turns.
        cuts: the mixtures.
        voices: the speaker model.
        speaker_dir: its directory under exp/.

    Raises:
        DataError: a file is missing or broken, or audio cannot be read.
    """
    by_id = {cut.id: cut for cut in cuts}
    conditions = {id: _condition(cut) for id, cut in by_id.items()}
    sessions = read_sessions(decode_dir, set_dir, conditions)
    named = [
        replace(s, recognised=tuple(_named(s.recognised, by_id[s.id], voices))) for s in sessions
    ]
    turns = [turn for session in named for turn in session.recognised]
    write_turns(decode_dir / NAMED_FILE, turns)
    found = TurnVoices(
        model=decode_dir.parent.name,
        speaker_model=speaker_dir.name,
        speaker_run=identity_in(speaker_dir),
        set=set_dir.name,
        search=decode_dir.name.removeprefix(f"decode_{set_dir.name}_"),
        threshold=voices.threshold,
        cpwer=compare_speakers(_cpwer(sessions), _cpwer(named)),
        turns=len(turns),
        unnamed=sum(turn.speaker is None for turn in turns),
    )
    found.to_file(decode_dir / VOICES_FILE)
    return found


def _condition(cut: Cut) -> str:
    return str((getattr(cut, "custom", None) or {}).get("condition", ""))


def _named(turns: Iterable[Turn], cut: Cut, voices: Voices) -> list[Turn]:
    samples_N = cut.load_audio().mean(axis=0)
    return voices.named_in(list(turns), samples_N, cut.sampling_rate)


def _cpwer(sessions: Iterable[Session]) -> Mapping[str, ErrorRate]:
    return {score.session.id: score.errors["cpwer"] for score in score_sessions(list(sessions))}
