"""Plans of mixtures, and the audio of a plan."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import Recording, RecordingSet
from lhotse.augmentation.utils import FastRandomRIRGenerator
from lhotse.utils import fastcopy
from mixture_fakes import talkers_cuts

from asrlib.data.mixing import Mixer
from asrlib.data.mixtures import (
    MixtureConfig,
    MixturePlanner,
    assign_channels,
    digest,
    overlap_ratio,
)
from asrlib.errors import ConfigError, DataError

CONFIG = MixtureConfig(rooms=0, noise_snr=())
DRY = replace(CONFIG, reverb_probability=0.0, edge=0.0)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    return talkers_cuts(tmp_path_factory.mktemp("talkers"))


@pytest.mark.parametrize(
    ("spans", "paper", "first_free"),
    [
        ([], [], []),
        ([(0, 3)], [0], [0]),
        ([(0, 2), (3, 4)], [0, 0], [0, 0]),
        ([(0, 2), (2, 4)], [0, 0], [0, 0]),  # they touch
        ([(0, 2), (1.99995, 4)], [0, 0], [0, 0]),  # by rounding
        ([(0, 2), (1, 4), (3, 5)], [0, 1, 0], [0, 1, 0]),
        # B overlaps A, C nobody: the paper stays where B was, lhotse goes to the first channel.
        ([(0, 2), (1, 4), (5, 6)], [0, 1, 1], [0, 1, 0]),
        # C is inside the long A, after B: it does not overlap the turn before.
        ([(0, 9), (1, 3), (4, 6)], [0, 1, 1], [0, 1, 1]),
        ([(0, 9), (1, 3), (4, 12), (11, 13)], [0, 1, 1, 0], [0, 1, 1, 0]),
    ],
)
def test_assignment(spans, paper, first_free):
    assert assign_channels(spans, "paper") == paper
    assert assign_channels(spans, "first_free") == first_free


@pytest.mark.parametrize("rule", ["paper", "first_free"])
def test_three_at_once_are_an_error(rule):
    with pytest.raises(DataError, match=r"m7: three talkers at once at 2\.00 s"):
        assign_channels([(0, 5), (1, 6), (2, 3)], rule, "m7")


@pytest.mark.parametrize("rule", ["paper", "first_free"])
@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 5)), max_size=8))
def test_a_channel_never_holds_two_at_once(rule, drawn):
    spans = sorted((start, start + length) for start, length in drawn)
    if any(sum(a <= s < b for a, b in spans) > 2 for s, _ in spans):
        return  # the case above
    channels = assign_channels(spans, rule)
    for i, (start, _) in enumerate(spans):
        same = [end for (_, end), c in zip(spans[:i], channels, strict=False) if c == channels[i]]
        assert all(end <= start + 1e-4 for end in same)


def test_overlap_ratio():
    assert overlap_ratio([]) == overlap_ratio([(0, 2), (2, 3)]) == 0
    assert overlap_ratio([(0, 2), (1, 4)]) == pytest.approx(1 / 4)


@pytest.mark.parametrize("rule", ["paper", "first_free"])
def test_every_plan_keeps_the_rules(cuts, rule):
    config = replace(CONFIG, assignment=rule, max_duration=9.0)
    planner = MixturePlanner(cuts.values(), config)
    plans = [planner.random(f"m{i}", 3, i) for i in range(300)]
    assert {len(p.turns) for p in plans} == {1, 2, 3, 4, 5}
    assert any(p.overlap_ratio() for p in plans)
    assert any(len(p.turns) > 1 and not p.overlap_ratio() for p in plans)
    for plan in plans:
        assert plan.duration <= 9.0
        spans = [(t.start, t.end) for t in plan.turns]
        assert spans == sorted(spans)
        assert all(t.offset >= 0 for t in plan.turns)
        assert all(abs(t.level_db) <= 5.0 for t in plan.turns)
        assert plan.turns[0].level_db == 0.0
        for a, b in zip(plan.turns, plan.turns[1:], strict=False):
            assert a.speaker != b.speaker
            assert b.start - a.start >= 0.5 - 1e-3
        for i, turn in enumerate(plan.turns):
            talking = [t for t in plan.turns[:i] if t.end > turn.start + 1e-3]
            assert len(talking) <= 1
            assert all(t.speaker != turn.speaker for t in talking)


def test_same_seed_same_manifest(cuts):
    planner, again = (MixturePlanner(c, CONFIG) for c in (cuts.values(), [*cuts.values()][::-1]))
    one = [planner.random(f"m{i}", 1, i) for i in range(20)]
    assert digest(one) == digest(again.random(f"m{i}", 1, i) for i in range(20))
    assert digest(one) != digest(planner.random(f"m{i}", 2, i) for i in range(20))


_OTHER_PROCESS = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
sys.path.insert(0, sys.argv[3])
import asrlib
from lhotse import CutSet
from asrlib.data.mixtures import MixtureConfig, MixturePlanner, digest
from asrlib.data.mixing import Mixer
cuts = {c.id: c for c in CutSet.from_file(sys.argv[1])}
config = MixtureConfig(reverb_probability=1.0, rooms=0, noise_snr=())
plan = MixturePlanner(cuts.values(), config).random("m", 1, 5)
audio = Mixer(cuts.values(), config).render(plan)[1]
print(digest([plan]), hashlib.sha256(audio.tobytes()).hexdigest())
"""


def test_another_process_makes_the_same_manifest_and_samples(cuts, tmp_path, repo):
    from lhotse import CutSet

    CutSet.from_cuts(cuts.values()).to_file(tmp_path / "cuts.jsonl.gz")
    config = replace(CONFIG, reverb_probability=1.0)
    plan = MixturePlanner(cuts.values(), config).random("m", 1, 5)
    assert plan.room_seed is not None
    samples_N = Mixer(cuts.values(), config).render(plan)[1]
    command = [sys.executable, "-c", _OTHER_PROCESS, tmp_path / "cuts.jsonl.gz", repo, repo]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split() == [digest([plan]), hashlib.sha256(samples_N.tobytes()).hexdigest()]


def test_samples_are_the_sum_of_the_turns(cuts):
    planner = MixturePlanner(cuts.values(), replace(DRY, turns=(3, 3)))
    plan = planner.random("m", 4)
    _, mixed_N = Mixer(cuts.values(), DRY).render(plan)
    total_N = np.zeros(len(mixed_N))
    energies = []
    for turn in plan.turns:
        turn_N, rate = soundfile.read(cuts[turn.cut].recording.sources[0].source)
        first = round(turn.offset * rate)
        gain = 10 ** (turn.level_db / 20)
        if energies:  # the level is against the first turn
            gain *= np.sqrt(energies[0] / np.mean(turn_N**2))
        energies.append(np.mean(turn_N**2))
        total_N[first : first + len(turn_N)] += gain * turn_N
    np.testing.assert_allclose(mixed_N, total_N, atol=1e-5)


def test_turns_and_words_stand_where_they_are_heard(cuts):
    planner = MixturePlanner(cuts.values(), DRY)
    for seed in range(20):
        plan = planner.random("m", seed)
        cut = Mixer(cuts.values(), DRY).cut(plan)
        assert cut.duration == pytest.approx(plan.duration, abs=1e-3)
        supervisions = sorted(cut.supervisions, key=lambda s: s.start)
        assert [s.custom["talker_channel"] for s in supervisions] == [t.channel for t in plan.turns]
        for supervision, turn in zip(supervisions, plan.turns, strict=True):
            assert supervision.start == pytest.approx(turn.start, abs=1e-3)
            assert supervision.end == pytest.approx(turn.end, abs=1e-3)
            assert supervision.text == cuts[turn.cut].supervisions[0].text
            words = (supervision.alignment or {}).get("word")
            if words:
                assert words[0].start == pytest.approx(turn.start, abs=2e-3)
                assert words[-1].end == pytest.approx(turn.end, abs=2e-3)


def test_a_room_changes_the_samples_not_the_turns(cuts):
    plan = replace(MixturePlanner(cuts.values(), DRY).random("m", 4), room_seed=None)
    dry_cut, dry_N = Mixer(cuts.values(), DRY).render(plan)
    wet_cut, wet_N = Mixer(cuts.values(), DRY).render(replace(plan, room_seed=7))
    assert dry_N.shape == wet_N.shape
    assert not np.allclose(dry_N, wet_N, atol=1e-3)
    assert [s.start for s in dry_cut.supervisions] == [s.start for s in wet_cut.supervisions]


@pytest.mark.parametrize("snr", [5.0, 20.0])
def test_noise_lies_under_the_whole_mixture(cuts, snr):
    config = replace(DRY, pause_probability=1.0, noise_snr=(snr, snr))
    planner = MixturePlanner(cuts.values(), config)
    plan = next(p for p in (planner.random("m", i) for i in range(99)) if len(p.turns) == 3)
    mixer = Mixer(cuts.values(), config)
    noisy_N = mixer.render(plan)[1]
    quiet_N = mixer.render(replace(plan, noise_snr=None))[1]
    noise_N = noisy_N - quiet_N
    talking_N = np.zeros(len(quiet_N), dtype=bool)
    for turn in plan.turns:
        talking_N[round(turn.start * 16000) : round(turn.end * 16000)] = True
    assert not talking_N.all()
    ratio = np.mean(quiet_N[talking_N] ** 2) / np.mean(noise_N**2)
    assert 10 * np.log10(ratio) == pytest.approx(snr, abs=0.5)
    # It neither begins nor ends with a turn: as loud in every tenth of a second.
    levels = [np.mean(x**2) for x in np.array_split(noise_N, len(noise_N) // 1600)]
    assert 10 * np.log10(max(levels) / min(levels)) < 6
    assert not np.array_equal(noisy_N, mixer.render(replace(plan, id="other"))[1])


def test_a_loud_sum_does_not_clip(tmp_path):
    cuts = talkers_cuts(tmp_path / "loud", talkers=2, each=1)
    for cut in cuts.values():
        path = cut.recording.sources[0].source
        samples_N, rate = soundfile.read(path)
        soundfile.write(path, np.sign(samples_N) * 0.9, rate)
    config = replace(DRY, turns=(2, 2), pause_probability=0.0, level_db=0.0)
    plan = MixturePlanner(cuts.values(), config).random("m", 0)
    assert plan.overlap_ratio() > 0
    assert 0.9 < np.abs(Mixer(cuts.values(), config).render(plan)[1]).max() <= 1.0


def test_one_speaker_only(cuts):
    alone = [c for c in cuts.values() if c.supervisions[0].speaker == "t0"]
    with pytest.raises(DataError, match=r"data/x: one speaker only \(t0\)"):
        MixturePlanner(alone, CONFIG, "data/x")
    single = MixturePlanner(alone, replace(CONFIG, turns=(1, 1)))
    assert {len(single.random("m", i).turns) for i in range(5)} == {1}


def test_bad_utterances_are_named(cuts):
    cut = cuts["u00"]
    for change in ({"speaker": None}, {"text": " "}):
        bad = fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], **change)])
        with pytest.raises(DataError, match="cut u00: has no transcript or no speaker"):
            MixturePlanner([bad, cuts["u01"]], CONFIG)
    with pytest.raises(DataError, match="no utterance fits into"):
        MixturePlanner(cuts.values(), replace(CONFIG, max_duration=1.0))
    plan = MixturePlanner(cuts.values(), CONFIG).random("m9", 1)
    with pytest.raises(DataError, match="mixture m9: no cut"):
        Mixer([], CONFIG).render(plan)


def test_a_lost_file_is_named(tmp_path):
    cuts = talkers_cuts(tmp_path / "lost", talkers=2, each=1)
    plan = MixturePlanner(cuts.values(), DRY).random("m3", 1)
    for path in (tmp_path / "lost").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="mixture m3: cannot be read"):
        Mixer(cuts.values(), DRY).render(plan)


@pytest.mark.parametrize(
    "values",
    [
        {"turns": (0, 3)},
        {"talkers": (3, 2)},
        {"talkers": (1, 1)},
        {"pause_probability": 1.5},
        {"level_db": -1.0},
        {"max_t60": 0.0},
        {"rooms": -1},
        {"noise_snr": (10.0,)},
        {"noise_snr": (20.0, 10.0)},
        {"conditions": ()},
        {"level_db": 1e9},
        {"max_duration": 0.0},
    ],
)
def test_bad_values_are_named(values):
    with pytest.raises(ConfigError, match="mixtures"):
        MixtureConfig(**values)


def test_a_given_set_of_rooms(cuts, tmp_path):
    impulse_N = np.zeros(1600)
    impulse_N[[0, 800]] = 0.8, 0.4  # the sound, and one echo after 50 ms
    soundfile.write(tmp_path / "echo.wav", impulse_N, 16000, subtype="FLOAT")
    manifest = tmp_path / "rooms.jsonl.gz"
    RecordingSet.from_recordings([Recording.from_file(tmp_path / "echo.wav")]).to_file(manifest)
    config = replace(DRY, turns=(1, 1), reverb_probability=1.0, impulse_responses=str(manifest))
    plan = MixturePlanner(cuts.values(), config).random("m", 1)
    wet_N = Mixer(cuts.values(), config).render(plan)[1]
    dry_N = Mixer(cuts.values(), config).render(replace(plan, room_seed=None))[1]
    echo_N = dry_N.copy()
    echo_N[800:] += 0.5 * dry_N[:-800]
    echo_N *= np.sqrt(np.sum(wet_N**2) / np.sum(echo_N**2))
    used = slice(800, len(dry_N) - 800)
    np.testing.assert_allclose(wet_N[used], echo_N[used], atol=1e-3)


def test_a_pool_of_rooms_is_made_once_and_the_same_everywhere(cuts):
    config = replace(CONFIG, reverb_probability=1.0)
    planner = MixturePlanner(cuts.values(), config)
    plans = [planner.random(f"m{i}", 2, i) for i in range(4)]
    mixer, again = (Mixer(cuts.values(), config, rooms=2) for _ in range(2))
    with mock.patch.object(FastRandomRIRGenerator, "__call__", side_effect=AssertionError):
        rendered = [mixer.render(plan)[1] for plan in plans]
        for plan, samples_N in zip(plans[::-1], rendered[::-1], strict=True):
            np.testing.assert_array_equal(again.render(plan)[1], samples_N)
    anywhere = [replace(plans[0], room_seed=seed) for seed in (10, 12, 13)]
    one, same, other = (mixer.render(plan)[1] for plan in anywhere)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=1e-3)


def test_people_in_a_pooled_room_have_places_of_their_own(cuts):
    config = replace(CONFIG, reverb_probability=1.0)
    planner = MixturePlanner(cuts.values(), config)
    plan = next(p for p in map(partial(planner.random, "m"), range(99)) if len(p.turns) > 2)
    mixed = Mixer(cuts.values(), config, rooms=1).cut(plan)
    heard = {}
    for track in mixed.tracks:
        if getattr(track.cut, "recording", None) is not None:
            reverb = track.cut.recording.transforms[-1]
            speaker = track.cut.supervisions[0].speaker
            heard.setdefault(speaker, set()).add(reverb.rir_generator(nsource=1).tobytes())
    assert len(heard) > 1
    assert all(len(responses) == 1 for responses in heard.values())
    assert len(set.union(*heard.values())) == len(heard)


def test_bad_sets_of_rooms_are_named(cuts, tmp_path):
    config = replace(CONFIG, impulse_responses=str(tmp_path / "none.jsonl.gz"))
    with pytest.raises(DataError, match=r"none\.jsonl\.gz: not a manifest of impulse responses"):
        Mixer(cuts.values(), config)
    soundfile.write(tmp_path / "echo.wav", np.ones(80), 8000)
    manifest = tmp_path / "rooms.jsonl.gz"
    RecordingSet.from_recordings([Recording.from_file(tmp_path / "echo.wav")]).to_file(manifest)
    config = replace(CONFIG, impulse_responses=str(manifest))
    with pytest.raises(DataError, match=r"echo is not at \[16000\] Hz"):
        Mixer(cuts.values(), config)
