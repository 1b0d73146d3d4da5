"""Repetition of speech in an epoch: unique ids, and the amounts that were asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet
from lhotse.testing.dummies import dummy_cut, dummy_supervision
from mitigation_fakes import ids, speaking

from asrlib.data.sampler import DataConfig, Sizes, sample_batches
from asrlib.mitigation.build import epoch_mix
from asrlib.mitigation.cohort_speech import CohortSpeech
from asrlib.mitigation.config import AdaptationConfig, MitigationConfig, OversamplingConfig
from asrlib.mitigation.epoch_mix import Draw, EpochMix, repeated, seconds_of


def some(prefix: str, count: int) -> CutSet:
    """Cuts of one, two or three seconds."""
    return CutSet.from_cuts(
        dummy_cut(i, start=0.0, duration=1.0 + i % 3, supervisions=[dummy_supervision(i)]).with_id(
            f"{prefix}{i}"
        )
        for i in range(count)
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 5.0), st.integers(1, 40), st.integers(0, 3))
def test_ids_are_unique_and_the_audio_is_as_asked(times, count, epoch):
    cuts = some("a", count)
    copies = CutSet.from_cuts(repeated(cuts, times, 1, epoch))
    assert len(set(ids(copies))) == len(copies)
    assert 0 <= seconds_of(copies) - times * seconds_of(cuts) < 3.0 + 1e-6
    for cut in cuts:
        number = sum(copy.rsplit("_repeat", 1)[0] == cut.id for copy in ids(copies))
        assert number in (int(times), int(times) + 1)


def test_a_fraction_is_drawn_anew_in_each_epoch_and_the_same_again():
    mix = EpochMix(some("a", 10), (Draw(some("b", 50), 0.5),), seed=1)
    first, second = (ids(mix.of_epoch(epoch)) for epoch in (0, 1))
    assert first != second
    assert first == ids(mix.of_epoch(0))
    assert first[:10] == ids(mix.base)
    reordered = EpochMix(mix.base, (Draw(CutSet.from_cuts(list(some("b", 50))[::-1]), 0.5),), 1)
    assert ids(reordered.of_epoch(0)) == first
    drawn = {i for epoch in range(8) for i in ids(mix.of_epoch(epoch))[10:]}
    assert len(drawn) > 45  # every utterance has its turn


def config(speech: str = "oversampled", **oversampling) -> MitigationConfig:
    return MitigationConfig(
        oversampling=OversamplingConfig(**oversampling),
        adaptation=AdaptationConfig(method="finetune", speech=speech),
    )


@pytest.fixture
def general() -> CutSet:
    return speaking(some("t", 60), "t", 6)


def of(cuts: CutSet, *speakers: str) -> CutSet:
    return CutSet.from_cuts(c for c in cuts if c.supervisions[0].speaker in speakers)


@pytest.mark.parametrize("times", [1.0, 2.0, 2.5, 4.0])
def test_speech_of_the_training_set_is_there_as_often_as_asked(general, times):
    own = of(general, "t0", "t1")
    speech = CohortSpeech(own, of(general, "t2"), general, frozenset({"t0", "t1", "t2"}))
    cuts = epoch_mix(config(times=times), general, speech, 1).of_epoch(0)
    mine = [cut for cut in cuts if cut.supervisions[0].speaker in ("t0", "t1")]
    assert sum(c.duration for c in mine) == pytest.approx(times * seconds_of(own), abs=3.0)
    assert len(set(ids(cuts))) == len(cuts)
    assert len(cuts) - len(mine) == 40  # all others once
    if times == 1.0:
        assert ids(cuts) == ids(general)


@pytest.mark.parametrize("times", [1.0, 2.0, 2.5])
def test_speech_of_another_set_joins_and_the_control_has_as_much(general, times):
    found = speaking(some("d", 40), "d", 8)
    speech = CohortSpeech(of(found, "d0"), of(found, "d1"), found, frozenset({"d0", "d1"}))
    mixed = epoch_mix(config(times=times), general, speech, 1).of_epoch(0)
    control = epoch_mix(config(times=times, random=True), general, speech, 1).of_epoch(0)
    more = times * seconds_of(speech.train)
    for cuts in (mixed, control):
        assert seconds_of(cuts) == pytest.approx(seconds_of(general) + more, abs=3.0)
        assert set(ids(general)) < set(ids(cuts))
    assert {c.supervisions[0].speaker for c in mixed} - {f"t{i}" for i in range(6)} == {"d0"}
    assert len({c.supervisions[0].speaker for c in control}) > 8


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_replay_is_a_share_of_the_audio_of_other_speakers(general, share):
    own = of(general, "t0")
    speech = CohortSpeech(own, of(general, "t1"), general, frozenset({"t0", "t1"}))
    adaptation = AdaptationConfig(method="finetune", replay=share)
    mix = epoch_mix(MitigationConfig(adaptation=adaptation), general, speech, 1)
    cuts = mix.of_epoch(0)
    others = [c for c in cuts if c.supervisions[0].speaker != "t0"]
    assert "t1" not in {c.supervisions[0].speaker for c in others}
    audio = sum(c.duration for c in others)
    assert audio == pytest.approx(share * (audio + seconds_of(own)), abs=3.0)


def test_batches_hold_every_copy_once():
    cuts = EpochMix(some("a", 10), (Draw(some("b", 5), 2.0),), 1).of_epoch(0)
    sizes = Sizes.of((cut.num_frames, 3) for cut in cuts)
    batches = sample_batches(sizes, DataConfig(max_frames=600, num_buckets=2), 1)
    assert sorted(cuts[n].id for batch in batches for n in batch) == sorted(ids(cuts))
    assert len(set(ids(cuts))) == 20
