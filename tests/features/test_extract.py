"""Shards: every cut once for each speed, with right times, whatever the number of shards."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut
from lhotse.qa import validate
from speech_fakes import make_cut, make_cuts

from asrlib.errors import DataError
from asrlib.features import FbankConfig
from asrlib.features.bench import measure_extraction
from asrlib.features.extract import (
    _SECONDS_AT_A_TIME,
    ShardTask,
    _groups,
    add_moments,
    change_speed,
    cut_line,
    extract_shard,
    load_cut_audio,
    merge_shards,
)

SPEEDS = (0.9, 1.0, 1.1)


def stage(folder, cuts, count=2, speeds=SPEEDS, key="k"):
    """Cuts with features, and the moments, after `count` shards."""
    manifest = folder / "cuts.jsonl.gz"
    cuts.to_file(manifest)
    tasks = [
        ShardTask(manifest, folder / "fbank", key, i, count, speeds, FbankConfig())
        for i in range(count)
    ]
    moments = add_moments(extract_shard(task) for task in tasks)
    merge_shards(tasks, folder / "cuts_fbank.jsonl.gz")
    return CutSet.from_file(folder / "cuts_fbank.jsonl.gz").to_eager(), moments


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    cuts = make_cuts(folder / "wav", 7)
    return folder, cuts, *stage(folder, cuts)


def test_every_cut_once_for_each_speed_in_order(corpus):
    _, cuts, stored, _ = corpus
    ids = [c.id for c in cuts]
    assert [c.id for c in stored] == sorted(
        [*ids, *(f"{i}_sp{s}" for i in ids for s in (0.9, 1.1))]
    )
    validate(stored, read_data=True)


def test_features_are_those_of_the_perturbed_audio(corpus):
    from asrlib.features.lhotse_fbank import KaldifeatFbank

    extractor = KaldifeatFbank()
    for cut in corpus[2]:
        expected_TF = extractor.extract(cut.load_audio(), 16000)
        np.testing.assert_allclose(cut.load_features(), expected_TF, atol=0.05)


def test_word_times_follow_the_speed(corpus):
    _, cuts, stored, _ = corpus
    stored = {cut.id: cut for cut in stored}
    for cut in cuts:
        words = cut.supervisions[0].alignment["word"]
        for speed in (0.9, 1.1):
            changed = stored[f"{cut.id}_sp{speed}"]
            assert changed.duration == pytest.approx(cut.duration / speed, abs=1e-4)
            for old, new in zip(words, changed.supervisions[0].alignment["word"], strict=True):
                assert new.symbol == old.symbol
                assert new.end == pytest.approx(old.end / speed, abs=2e-4)


def test_number_of_shards_changes_nothing(corpus, tmp_path):
    folder, cuts, stored, moments = corpus
    again, other = stage(tmp_path, cuts, count=3)
    for a, b in zip(stored, again, strict=True):
        assert a.id == b.id
        assert np.array_equal(a.load_features(), b.load_features())
    moments.write_cmvn(folder / "cmvn.json")
    other.write_cmvn(tmp_path / "cmvn.json")
    assert (folder / "cmvn.json").read_text() == (tmp_path / "cmvn.json").read_text()


def test_cmvn_is_mean_and_deviation(corpus, tmp_path):
    _, _, stored, moments = corpus
    moments.write_cmvn(tmp_path / "cmvn.json")
    stats = json.loads((tmp_path / "cmvn.json").read_text())
    frames_TF = np.concatenate([cut.load_features() for cut in stored])
    assert stats["frames"] == len(frames_TF)
    np.testing.assert_allclose(stats["mean"], frames_TF.mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(stats["std"], frames_TF.std(axis=0), atol=2e-3)


def test_a_finished_shard_is_taken_up(tmp_path):
    cuts = make_cuts(tmp_path / "wav", 2)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    task = ShardTask(tmp_path / "cuts.jsonl.gz", tmp_path / "out", "k", 0, 1, (1.0,), FbankConfig())
    moments = extract_shard(task)
    written = task.archive.stat().st_mtime_ns
    assert extract_shard(task) == moments
    assert task.archive.stat().st_mtime_ns == written


def test_another_key_leaves_old_archives_until_merged(tmp_path):
    cuts = make_cuts(tmp_path / "wav", 2)
    old, _ = stage(tmp_path, cuts, key="old")
    before = [cut.load_features() for cut in old]
    task = ShardTask(
        tmp_path / "cuts.jsonl.gz", tmp_path / "fbank", "new", 0, 1, (1.0,), FbankConfig()
    )
    extract_shard(task)
    assert all(np.array_equal(a, cut.load_features()) for a, cut in zip(before, old, strict=True))
    merge_shards([task], tmp_path / "cuts_fbank.jsonl.gz")
    assert list((tmp_path / "fbank").iterdir()) == [task.archive]


def test_more_shards_than_cuts(tmp_path):
    stored, moments = stage(tmp_path, make_cuts(tmp_path / "wav", 2), count=4, speeds=(1.0,))
    assert len(stored) == 2
    assert moments.frames == sum(cut.num_frames for cut in stored)


def test_channels_are_averaged(tmp_path):
    cut = make_cut(tmp_path, "stereo", 0.5, channels=2)
    samples_1N = load_cut_audio(cut)
    assert samples_1N.shape == (1, 8000)
    import soundfile

    both_NC, _ = soundfile.read(tmp_path / "stereo.wav", dtype="float32")
    np.testing.assert_allclose(samples_1N[0], both_NC.mean(axis=1), atol=1e-6)


def test_other_rates_and_segments(tmp_path):
    cut = make_cut(tmp_path, "telephone", 2.0, rate=8000)
    segment = cut.truncate(offset=0.5, duration=1.0, preserve_id=True).resample(16000)
    stored, _ = stage(tmp_path, CutSet.from_cuts([segment]))
    assert [cut.num_frames for cut in stored] == [100, 111, 91]
    assert all(cut.load_features().shape == (cut.num_frames, 80) for cut in stored)


def test_speed_equals_lhotse(tmp_path):
    cut = make_cut(tmp_path, "fast", 1.0001)
    for speed in (0.9, 1.1, 1.37):
        changed, samples_1N = change_speed(cut, load_cut_audio(cut), speed)
        np.testing.assert_allclose(samples_1N, changed.load_audio(), atol=1e-6)


def test_cut_line_is_what_lhotse_reads(corpus):
    for cut in corpus[2]:
        assert MonoCut.from_dict(json.loads(cut_line(cut))) == MonoCut.from_dict(
            json.loads(json.dumps(cut.to_dict()))
        )


def test_a_vanished_file_is_named(tmp_path):
    cut = make_cut(tmp_path, "gone", 0.5)
    (tmp_path / "gone.wav").unlink()
    with pytest.raises(DataError, match=r"gone\.wav.*\n.*fix: .*stage 1"):
        load_cut_audio(cut)


def test_speed_is_measured(corpus):
    speed = measure_extraction(corpus[1], FbankConfig(), speeds=SPEEDS, repeats=1)
    assert speed.audio_seconds == pytest.approx(sum(cut.duration for cut in corpus[1]))
    assert min(speed.bare, speed.read, speed.stage) > 0
    assert speed.ratio == pytest.approx(speed.stage / speed.bare)


@given(seconds=st.lists(st.floats(0.1, 30.0), max_size=20))
def test_groups_are_read_ahead_in_order_and_in_bounds(seconds):
    cuts = [MonoCut(str(i), 0.0, length, 0) for i, length in enumerate(seconds)]
    groups = list(_groups(cuts))
    assert [cut.id for group in groups for cut in group] == [cut.id for cut in cuts]
    totals = [[cut.duration for cut in group] for group in groups]
    assert all(sum(total) >= _SECONDS_AT_A_TIME for total in totals[:-1])
    assert all(sum(total[:-1]) < _SECONDS_AT_A_TIME for total in totals)
