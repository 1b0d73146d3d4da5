"""Batches of speakers: reproducible, of crops that the speakers did say."""

from __future__ import annotations

import logging
import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, NumpyFilesWriter
from speaker_fakes import FBANK, NUM_BINS, speaker_cut, speaker_cuts

from asrlib.config import from_dict
from asrlib.data.augment import AugmentConfig
from asrlib.data.speaker_dataset import (
    SpeakerCrops,
    SpeakerCuts,
    SpeakerDataConfig,
    plan_crops,
    speaker_batches,
)
from asrlib.data.thinning import Thinning, thinned
from asrlib.errors import ConfigError, DataError

DATA = SpeakerDataConfig(speakers=4, crop_seconds=0.4)
PLAIN = AugmentConfig(spec_probability=0.0)


@given(
    lengths=st.lists(st.integers(1, 80), min_size=1, max_size=8),
    crop=st.integers(1, 100),
    count=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_crops_lie_within_speech_and_share_none_while_others_are_left(lengths, crop, count, seed):
    plan = plan_crops(lengths, crop, count, random.Random(seed))
    assert len(plan) == count
    for chosen, start in plan:
        joined = sum(lengths[i] for i in chosen)
        assert 0 <= start <= joined - crop
        # no more utterances than are needed
        assert joined - lengths[chosen[-1]] < crop
    used = Counter(i for chosen, _ in plan for i in chosen)
    most, least = max(used.values()), min(used.get(i, 0) for i in range(len(lengths)))
    assert most - least <= 1


def test_long_utterance_is_cropped_anywhere():
    starts = {plan_crops([30], 20, 2, random.Random(seed))[0][1] for seed in range(300)}
    assert starts == set(range(11))


@pytest.fixture(scope="module")
def cuts(tmp_path_factory) -> CutSet:
    return speaker_cuts(tmp_path_factory.mktemp("features"), 6)


def crops(cuts, epoch=0, data=DATA, seed=1, **options) -> SpeakerCrops:
    source = SpeakerCuts.of(cuts, speed_speakers=True)
    return SpeakerCrops(source, data, FBANK.frame_shift, seed=seed, epoch=epoch, **options)


def batches(cuts, data=DATA, augment=PLAIN, epoch=0, **options):
    source = SpeakerCuts.of(cuts, speed_speakers=True)
    shift = FBANK.frame_shift
    return list(
        speaker_batches(source, data, augment, frame_shift=shift, seed=1, epoch=epoch, **options)
    )


def same(a, b) -> bool:
    return (
        a.ids == b.ids and torch.equal(a.x_SUTF, b.x_SUTF) and torch.equal(a.classes_S, b.classes_S)
    )


def test_a_batch_holds_different_speakers_and_pieces_of_what_they_said(cuts):
    batch = crops(cuts)[0]
    assert batch.x_SUTF.shape == (4, 2, 40, NUM_BINS)
    assert len(set(batch.ids)) == 4
    by_name = {c.id: torch.from_numpy(c.load_features()) for c in cuts}
    names = SpeakerCuts.of(cuts, True).names
    for name, number, x_UTF in zip(batch.ids, batch.classes_S.tolist(), batch.x_SUTF, strict=True):
        assert names[number] == name
        said = torch.cat([x for key, x in by_name.items() if key.startswith(f"{name}-")])
        for x_TF in x_UTF:
            for frame_F in x_TF:
                assert (said == frame_F).all(dim=1).any()
        assert not (x_UTF[0, :, None] == x_UTF[1, None]).all(dim=-1).any()  # no frame is in both


def test_batches_depend_on_seed_epoch_and_number_alone(cuts):
    augment = AugmentConfig(gain=3.0, equaliser=3.0, max_frame_width=5)
    first = batches(cuts, augment=augment)
    torch.manual_seed(99)
    random.seed(99)
    again = batches(cuts, augment=augment, num_workers=1)
    assert len(first) == len(again) > 2
    assert all(map(same, first, again))
    late = batches(cuts, augment=augment, start_batch=2)
    assert len(late) == len(first) - 2
    assert all(map(same, first[2:], late))
    other = batches(cuts, augment=augment, epoch=1)
    assert not any(map(same, first, other))
    assert not same(crops(cuts, seed=2)[0], crops(cuts)[0])


def test_every_speaker_occurs_equally_often_on_average(cuts):
    data = SpeakerDataConfig(speakers=4, crop_seconds=0.1, per_epoch=300)
    dataset = crops(cuts, data=data)
    assert len(dataset) == 300
    seen = Counter(name for number in range(300) for name in dataset[number].ids)
    assert set(seen) == {f"s{i}" for i in range(6)}
    assert all(160 < count < 240 for count in seen.values())  # 200 each, deviation 8


def test_an_epoch_holds_the_speech_once(cuts):
    # 6 speakers of 1.75 s, 4 x 2 crops of 0.4 s a batch
    assert len(crops(cuts)) == round(6 * 1.75 / 3.2)


def test_speakers_with_one_utterance_or_little_speech_give_two_crops(tmp_path):
    with NumpyFilesWriter(tmp_path) as writer:
        cuts = [speaker_cut(writer, "one", 0, 70), speaker_cut(writer, "short", 0, 3)]
        cuts += [speaker_cut(writer, "tiny", n, 1) for n in range(5)]
        data = SpeakerDataConfig(crop_seconds=0.4)
        (batch,) = batches(CutSet.from_cuts(cuts), data)
    assert sorted(batch.ids) == ["one", "short", "tiny"]
    assert batch.x_SUTF.shape == (3, 2, 40, NUM_BINS)
    short_UTF = batch.x_SUTF[batch.ids.index("short")]
    assert len(short_UTF.reshape(-1, NUM_BINS).unique(dim=0)) == 3
    one_UTF = batch.x_SUTF[batch.ids.index("one")]
    assert not torch.equal(one_UTF[0], one_UTF[1])


def test_speakers_with_one_utterance_are_counted_once_in_a_warning(tmp_path, caplog):
    with NumpyFilesWriter(tmp_path) as writer:
        cuts = [speaker_cut(writer, name, 0, 70) for name in ("c", "a", "b")]
        cuts.append(speaker_cut(writer, "a", 1, 70))
    with caplog.at_level(logging.WARNING):
        assert len(batches(CutSet.from_cuts(cuts), SpeakerDataConfig(crop_seconds=0.4))) > 0
        assert len(caplog.messages) == 1
    (told,) = caplog.messages
    assert "2 of 3 speakers have one utterance" in told
    assert told.endswith("first b")
    caplog.clear()
    SpeakerCuts.of(speaker_cuts(tmp_path / "more", 2), True)
    assert caplog.text == ""


def test_speeds_are_speakers_of_their_own_or_are_left_out(tmp_path):
    cuts = speaker_cuts(tmp_path, 2, speeds=(0.9, 1.0, 1.1))
    source = SpeakerCuts.of(cuts, speed_speakers=True)
    assert source.names == ("s0", "s0_sp0.9", "s0_sp1.1", "s1", "s1_sp0.9", "s1_sp1.1")
    assert [len(c) for c in source.cuts] == [3] * 6
    plain = SpeakerCuts.of(cuts, speed_speakers=False)
    assert plain.names == ("s0", "s1")
    assert not any("_sp" in cut.id for own in plain.cuts for cut in own)
    path = tmp_path / "cuts.jsonl.gz"
    cuts.to_file(path)
    assert SpeakerCuts.of(CutSet.from_file(path), True).names == source.names


def test_cut_without_speaker_is_named_and_left_out(tmp_path, caplog):
    cuts = list(speaker_cuts(tmp_path, 2))
    with NumpyFilesWriter(tmp_path) as writer:
        cuts.append(speaker_cut(writer, None, 7, 20))
    with caplog.at_level(logging.WARNING):
        source = SpeakerCuts.of(cuts, True)
    assert source.names == ("s0", "s1")
    assert "no speaker or no frames: None-7" in caplog.text


def test_one_speaker_is_refused(tmp_path):
    with pytest.raises(DataError, match="has 1 speakers"):
        SpeakerCuts.of(speaker_cuts(tmp_path, 1), True)


def test_masks_hide_part_of_a_crop_from_their_first_epoch_on(cuts):
    augment = AugmentConfig(
        spec_probability=1.0, spec_start_epoch=1, max_frame_width=5, max_feature_width=4
    )
    plain, early, late = (
        batches(cuts, augment=a, epoch=e)[0].x_SUTF
        for a, e in ((PLAIN, 0), (augment, 0), (augment, 1))
    )
    assert torch.equal(plain, early)
    same_share = float((late == batches(cuts, epoch=1)[0].x_SUTF).float().mean())
    assert 0.3 < same_share < 0.95


def test_noise_is_added_to_crops(tmp_path, cuts):
    noise = speaker_cuts(tmp_path, 1, lengths=(200,), prefix="noise")
    noise = CutSet.from_cuts(cut.drop_supervisions() for cut in noise)
    augment = AugmentConfig(spec_probability=0.0, noise_probability=1.0, noise_snr=(0.0, 1.0))
    plain, noisy = batches(cuts)[0], batches(cuts, augment=augment, noise=noise)[0]
    assert noisy.ids == plain.ids
    assert (noisy.x_SUTF != plain.x_SUTF).float().mean() > 0.9
    with pytest.raises(ConfigError, match="there is no noise"):
        batches(cuts, augment=augment)


@pytest.mark.parametrize(
    ("values", "named"),
    [({"speakers": 1}, "speakers"), ({"crops": 1}, "crops"), ({"crop_seconds": 0.0}, "crop_sec")],
)
def test_batches_without_pairs_are_refused(values, named):
    with pytest.raises(ConfigError, match=named):
        from_dict(SpeakerDataConfig, values)


FACTS = {
    **{f"child{i}": {"age": str(6 + i % 9), "gender": "f"} for i in range(20)},
    **{f"adult{i}": {"age": str(20 + i), "gender": "fm"[i % 2]} for i in range(10)},
    "unknown": {"age": "", "gender": ""},
}


def test_thinning_keeps_a_share_of_one_group_and_all_others():
    dropped = thinned([Thinning(column="age", high=16, share=0.1)], FACTS, 1)
    assert len(dropped) == 18
    assert all(name.startswith("child") for name in dropped)
    assert thinned([Thinning(column="age", high=16, share=0.1)], FACTS, 2) != dropped
    fixed = Thinning(column="age", high=16, share=0.1, seed=2)
    assert thinned([fixed], FACTS, 1) == thinned([fixed], FACTS, 3)
    assert len(thinned([Thinning(column="age", high=16, share=0.0)], FACTS, 1)) == 18
    assert not thinned([Thinning(column="age", high=16)], FACTS, 1)


def test_thinning_by_value_drops_that_group_only():
    dropped = thinned([Thinning(column="gender", value="m", share=0.4)], FACTS, 1)
    assert {FACTS[name]["gender"] for name in dropped} == {"m"}
    assert len(dropped) == 3


def test_thinning_of_nobody_is_an_error():
    with pytest.raises(DataError, match="no training speaker has accent irish"):
        thinned([Thinning(column="accent", value="irish", share=0.1)], FACTS, 1)
