"""Turns of decoded mixtures named by voice: cpWER, and what is published of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from scoring_fakes import run_record

from asrlib.data.manifests import write_cuts
from asrlib.data.reference_turns import reference_turns_of, write_reference_turns
from asrlib.errors import DataError
from asrlib.experiments.publish import collect_run
from asrlib.experiments.store import read_plan, write_run
from asrlib.experiments.turn_voices import name_decoded_turns
from asrlib.recipe import Recipe
from asrlib.report.document import Document, to_markdown
from asrlib.report.plan_page import plan_sections
from asrlib.speakers.turn_names import Voices
from asrlib.text.turns import read_turns, write_turns

RATE = 8000
# Both talkers are on the same channel, one after the other, so that a channel says nothing.
SPOKEN = [(0.0, 1.0, "ONE TWO", "ann"), (1.5, 2.5, "RED SKY", "bob"), (3.0, 3.9, "SIX", "ann")]
LEVELS = {"ann": 0.25, "bob": 0.5}


@dataclass(frozen=True)
class Levels:
    """An embedder of speakers who differ in the value of their samples."""

    def samples(self, samples_N: np.ndarray, rate: int) -> np.ndarray:
        if len(samples_N) < rate // 2:
            raise DataError("too short", "give more speech")
        return np.array([float(np.mean(np.isclose(samples_N, v))) for v in LEVELS.values()])


def mixture(folder: Path, name: str) -> MonoCut:
    samples_N = np.zeros(4 * RATE, dtype=np.float32)
    supervisions = []
    for i, (start, end, text, speaker) in enumerate(SPOKEN):
        samples_N[round(start * RATE) : round(end * RATE)] = LEVELS[speaker]
        custom = {"talker_channel": 0}
        supervisions.append(
            SupervisionSegment(
                f"{name}-{i}", name, start, end - start, text=text, speaker=speaker, custom=custom
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.wav", samples_N, RATE, subtype="FLOAT")
    recording = Recording.from_file(folder / f"{name}.wav", recording_id=name)
    return MonoCut(name, 0.0, 4.0, 0, supervisions, recording=recording)


@pytest.fixture
def recipe(tmp_path, cli) -> Path:
    recipe = tmp_path / "egs" / "talk"
    cuts = [mixture(recipe / "wav", name) for name in "ab"]
    data = recipe / "data" / "mix_test"
    write_cuts(data / "cuts.jsonl.gz", cuts)
    write_reference_turns(data, cuts)
    record = run_record("sts")
    record.to_file(recipe / "exp" / "sts" / "run.json")
    decode = recipe / "exp" / "sts" / "decode_mix_test_greedy"
    spoken = reference_turns_of(CutSet.from_cuts(cuts))
    write_turns(decode / "turns.seglst.json", [replace(turn, speaker=None) for turn in spoken])
    meta = {"model": "sts", "set": "mix_test", "search": "greedy", "run": record.identity}
    (decode / "meta.json").write_text(json.dumps(meta))
    done = cli(
        *("score-meetings", "--recipe-dir", recipe, "--name", "sts"),
        *("--set", "score.replicates=200", "--set", "score.timelines=1"),
    )
    assert done.exit_code == 0, done.output
    return recipe


def name(recipe: Path, threshold: float = 0.9):
    decode = recipe / "exp" / "sts" / "decode_mix_test_greedy"
    data = recipe / "data" / "mix_test"
    cuts = CutSet.from_file(data / "cuts.jsonl.gz")
    voices = Voices(Levels(), threshold)  # type: ignore[arg-type]
    return name_decoded_turns(decode, data, cuts, voices, recipe / "exp" / "speaker_ecapa")


def test_voices_tell_talkers_of_one_channel_apart(recipe):
    found = name(recipe)
    assert found.cpwer.a.errors > 0  # all turns have one name
    assert found.cpwer.b.errors == 0
    assert (found.turns, found.unnamed, found.speaker_model) == (6, 0, "speaker_ecapa")
    decode = recipe / "exp" / "sts" / "decode_mix_test_greedy"
    named = read_turns(decode / "turns_by_voice.seglst.json", "write it again")
    own = [turn.speaker for turn in sorted(named, key=lambda t: (t.session, t.start))]
    assert own == ["speaker1", "speaker2", "speaker1"] * 2


def test_one_name_for_all_is_no_better_than_the_channel(recipe):
    """The lowest threshold gives all turns, which never overlap, one speaker."""
    found = name(recipe, threshold=-1.0)
    assert found.cpwer.b == found.cpwer.a


def test_what_it_changed_is_published_with_the_scores(recipe):
    found = name(recipe)
    run, skipped = collect_run(Recipe(recipe), "sts")
    assert not skipped
    assert run.mixtures[0].by_voice == found
    write_run(recipe, run)
    text = to_markdown(Document("x", tuple(plan_sections(read_plan(recipe, "main"))), "y"))
    assert "| speaker_ecapa |" in text
    assert f"{100 * found.cpwer.a.rate:.2f} | 0.00 |" in text


def test_voices_of_another_decode_are_not_published(recipe):
    name(recipe)
    path = recipe / "exp" / "sts" / "decode_mix_test_greedy" / "voices.json"
    values = json.loads(path.read_text())
    values["cpwer"]["a"]["insertions"] += 1
    path.write_text(json.dumps(values))
    run, skipped = collect_run(Recipe(recipe), "sts")
    assert not run.mixtures
    assert "another decode" in skipped[0].reason
