"""Features on the fly are the stored ones, bit for bit."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from lhotse import CutSet
from lhotse.qa import validate
from speech_fakes import make_cut, make_cuts

import asrlib.cli.fbank as module
from asrlib.__main__ import cli
from asrlib.features import FbankConfig
from asrlib.features.extract import ShardTask, add_moments, extract_shard, merge_shards

SPEEDS = (0.9, 1.0, 1.1)


def stage(folder, name, count=2, speeds=SPEEDS, **how):
    """Cuts with features of cuts.jsonl.gz, and the moments."""
    cuts, out = folder / "cuts.jsonl.gz", folder / f"{name}.jsonl.gz"
    tasks = [
        ShardTask(cuts, folder / name, "k", i, count, speeds, FbankConfig(num_bins=40), **how)
        for i in range(count)
    ]
    moments = add_moments(extract_shard(task) for task in tasks)
    merge_shards(tasks, out)
    return CutSet.from_file(out).to_eager(), moments


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Whole files, a segment, and another sample rate, with their features in three ways."""
    folder = tmp_path_factory.mktemp("corpus")
    telephone = make_cut(folder, "telephone", 2.0, rate=8000)
    segment = make_cut(folder, "whole", 1.5).truncate(offset=0.4, duration=0.7001, preserve_id=True)
    other = telephone.truncate(offset=0.5, duration=1.0, preserve_id=True).resample(16000)
    made = make_cuts(folder / "wav", 5)
    CutSet.from_cuts([*made, segment, other]).to_file(folder / "cuts.jsonl.gz")
    return (
        stage(folder, "stored"),
        stage(folder, "summed", stored=False),
        stage(folder, "counted", count=3, stored=False, summed=False),
    )


@pytest.mark.parametrize("which", [1, 2])
def test_features_are_the_stored_ones(corpus, which):
    for stored, fly in zip(corpus[0][0], corpus[which][0], strict=True):
        assert (stored.id, stored.num_frames) == (fly.id, fly.num_frames)
        assert stored.features.num_frames == fly.features.num_frames
        assert np.array_equal(stored.load_features(), fly.load_features())
        a, b = (c.truncate(offset=0.2, duration=0.3).load_features() for c in (stored, fly))
        assert np.array_equal(a, b)
    validate(corpus[which][0], read_data=True)


def test_the_sums_are_the_same_where_they_are_needed(corpus):
    assert corpus[0][1] == corpus[1][1]
    assert corpus[2][1].frames == corpus[0][1].frames
    assert not any(corpus[2][1].sum_F)


def test_nothing_but_the_features_differs(corpus):
    for stored, fly in zip(corpus[0][0], corpus[1][0], strict=True):
        fly.features = stored.features
        assert stored == fly


def test_a_vanished_file_is_named(tmp_path):
    CutSet.from_cuts([make_cut(tmp_path, "gone", 0.5)]).to_file(tmp_path / "cuts.jsonl.gz")
    cuts, _ = stage(tmp_path, "fly", count=1, speeds=(1.0,), stored=False)
    (tmp_path / "gone.wav").unlink()
    with pytest.raises(OSError, match=r"gone\.wav: cut gone cannot be read"):
        cuts[0].load_features()


def test_the_command_stores_nothing_and_tells_so(tmp_path, monkeypatch):
    for name, number in (("train", 3), ("dev", 2)):
        folder = tmp_path / "data" / name
        make_cuts(folder / "wav", number).to_file(folder / "cuts.jsonl.gz")
    monkeypatch.setattr(
        module, "run_array", lambda function, shards, **_: [function(shard) for shard in shards]
    )

    def run(*options):
        command = ["fbank", "--recipe-dir", str(tmp_path), *options]
        assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
        cuts = CutSet.from_file(tmp_path / "data" / "train" / "cuts_fbank.jsonl.gz").to_eager()
        return cuts, json.loads((tmp_path / "data" / "fbank" / "cmvn.json").read_text())

    stored, statistics = run()
    features = [cut.load_features() for cut in stored]
    fly, same = run("--set", "data.features=on_the_fly")
    assert same == statistics
    assert not list(tmp_path.rglob("*.f16"))
    assert "the features are not stored" in (tmp_path / "data" / "log" / "fbank.log").read_text()
    for expected_TF, cut in zip(features, fly, strict=True):
        assert np.array_equal(cut.load_features(), expected_TF)
    again, _ = run()
    assert again == stored
