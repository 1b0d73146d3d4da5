"""Mixture sets on disk."""

from dataclasses import replace

import meeteval
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from lhotse import CutSet
from mixture_fakes import talkers_cuts

from asrlib.__main__ import cli
from asrlib.data.cuts import read_cuts
from asrlib.data.manifests import write_cuts
from asrlib.data.mixture_sets import plan_sets
from asrlib.data.mixtures import MixtureConfig, MixturePlanner
from asrlib.errors import ConfigError, DataError
from asrlib.text.turns import read_turns

SMALL = MixtureConfig(per_condition=2, sets=("test",), rooms=0, noise_snr=())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("egs") / "talk"
    cuts = talkers_cuts(folder / "corpus", talkers=4, each=4)
    write_cuts(folder / "data" / "test" / "cuts.jsonl.gz", cuts.values())
    return folder


def run(recipe, *options):
    sizes = ["mixtures.per_condition=2", "mixtures.sets=[test]"]
    args = ["mixtures", "--recipe-dir", str(recipe), *options]
    for value in sizes:
        args += ["--set", value]
    return CliRunner().invoke(cli, args, catch_exceptions=False)


@pytest.fixture(scope="module")
def made(recipe):
    assert run(recipe).exit_code == 0
    return recipe / "data" / "mix_test"


def test_conditions_are_as_their_names_say(recipe):
    cuts = read_cuts(recipe / "data" / "test" / "cuts.jsonl.gz", "")
    plans = plan_sets(MixturePlanner(cuts, replace(SMALL, per_condition=5)), "test")
    assert len(plans) == len({p.id for p in plans}) == 30
    for plan in plans:
        gaps = [b.start - a.end for a, b in zip(plan.turns, plan.turns[1:], strict=False)]
        assert gaps
        if plan.condition.startswith("OV"):
            assert plan.overlap_ratio() == pytest.approx(int(plan.condition[2:]) / 100, abs=0.025)
        else:
            low, high = {"0S": (0.1, 0.5), "0L": (2.9, 3.0)}[plan.condition]
            assert all(low - 2e-3 <= gap <= high + 2e-3 for gap in gaps)
            assert plan.overlap_ratio() == 0


def test_a_set_holds_audio_and_truth(made):
    cuts = read_cuts(made / "cuts.jsonl.gz", "")
    assert [c.custom["condition"] for c in cuts] == sorted(
        SMALL.conditions * 2, key=SMALL.conditions.index
    )
    assert all(15 <= c.custom["noise_snr"] <= 30 for c in cuts)
    turns = read_turns(made / "truth.seglst.json", "")
    assert len(turns) == sum(len(c.supervisions) for c in cuts)
    assert {t.channel for t in turns} == {0, 1}
    for cut in cuts:
        samples_N, rate = soundfile.read(cut.recording.sources[0].source)
        assert len(samples_N) == cut.num_samples
        assert rate == cut.sampling_rate
        assert np.abs(samples_N).max() > 0.01
        assert cut.load_audio().shape == (1, len(samples_N))


def test_meeteval_reads_all_three_truths_alike(made):
    seglst, stm = (meeteval.io.load(made / f) for f in ("truth.seglst.json", "truth.stm"))
    ours = sorted((s["session_id"], float(s["start_time"]), s["words"]) for s in seglst.to_seglst())
    theirs = [(s["session_id"], float(s["start_time"]), s["words"]) for s in stm.to_seglst()]
    assert ours == sorted(theirs)
    rttm = meeteval.io.load(made / "truth.rttm").to_seglst()
    assert sorted((s["session_id"], float(s["start_time"])) for s in rttm) == [t[:2] for t in ours]


def test_same_seed_same_manifest_and_audio(made, recipe):
    plan = (made / "plan.jsonl").read_bytes()
    audio = {p.name: p.read_bytes() for p in (made / "flac").iterdir()}
    assert run(recipe, "--force").exit_code == 0
    assert (made / "plan.jsonl").read_bytes() == plan
    assert {p.name: p.read_bytes() for p in (made / "flac").iterdir()} == audio


def test_a_current_set_is_left_alone_and_a_new_seed_makes_another(made, recipe, caplog):
    before = (made / "plan.jsonl").stat().st_mtime_ns
    assert run(recipe).exit_code == 0
    assert (made / "plan.jsonl").stat().st_mtime_ns == before
    plan = (made / "plan.jsonl").read_text()
    assert run(recipe, "--set", "mixtures.seed=2").exit_code == 0
    assert (made / "plan.jsonl").read_text() != plan


def test_recordings_of_another_kind_are_not_replaced(made, recipe, tmp_path):
    """LibriCSS's own groups lie in data/mix_test too, without a plan."""
    away = tmp_path / "plan.jsonl"
    (made / "plan.jsonl").rename(away)
    try:
        with pytest.raises(
            DataError, match=r"mix_test: holds recordings that this command did not mix"
        ):
            run(recipe, "--force")
    finally:
        away.rename(made / "plan.jsonl")


def test_bad_conditions(recipe):
    cuts = CutSet.from_file(recipe / "data" / "test" / "cuts.jsonl.gz")
    for condition in ("OV0", "OV99", "loud"):
        config = replace(SMALL, conditions=(condition,))
        with pytest.raises(ConfigError, match=f"no {condition}"):
            plan_sets(MixturePlanner(cuts, config), "test")
    with pytest.raises(ConfigError, match="needs two"):
        plan_sets(MixturePlanner(cuts, replace(SMALL, turns=(1, 1))), "test")
    config = replace(SMALL, conditions=("0L",), max_duration=4.5)
    with pytest.raises(DataError, match="condition 0L"):
        plan_sets(MixturePlanner(cuts, config), "test")


def test_no_manifest(tmp_path):
    result = CliRunner().invoke(cli, ["mixtures", "--recipe-dir", str(tmp_path)])
    assert isinstance(result.exception, DataError)
    assert "run stage 1 first" in result.exception.fix
