"""A killed run, resumed, leaves what an uninterrupted one leaves; see tests/faults.sh."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import fault_checks
import pytest
from fault_stages import STAGES
from faults import Pipeline, tree

BY_NAME = {stage.name: stage for stage in STAGES}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Pipeline:
    """A small mini, complete up to the scores."""
    pipeline = Pipeline(tmp_path_factory.mktemp("faults"))
    pipeline.complete(fault_checks.LAST)
    return pipeline


@pytest.mark.parametrize("name", ["manifests", "fbank", "tokens", "decode", "score"])
def test_killed_and_run_again_leaves_the_same_files(pipeline, name):
    found = pipeline.strike(BY_NAME[name], 3, random.Random(name))
    assert (found.kills, found.failures, found.differences) == (3, [], [])
    assert found.runs > 0


def test_what_a_kill_leaves_is_seen(pipeline):
    """The comparison can fail: a byte, a file less, a file more."""
    stage = BY_NAME["score"]
    pipeline.restore(stage)
    pipeline.finish(stage)
    assert not pipeline.differences(stage)
    path = pipeline.recipe / "exp" / "lstm" / "decode_test_greedy" / "hyp.jsonl"
    path.write_bytes(path.read_bytes() + b" ")
    (pipeline.recipe / "data" / "speakers.tsv").unlink()
    (pipeline.recipe / "data" / "half").touch()
    (pipeline.recipe / "data" / ".half.x").touch()
    different = ["data/half", "data/speakers.tsv", "exp/lstm/decode_test_greedy/hyp.jsonl"]
    assert pipeline.differences(stage) == different
    assert "data/.half.x" not in tree(pipeline.recipe)


def test_other_faults_lose_nothing_and_are_told(pipeline):
    found = list(fault_checks.checks(pipeline))
    assert len(found) >= 7
    for check in found:
        assert check.holds, f"{check.name}: {check.told}"
        assert check.told or "at once" in check.name or "dated" in check.name


@pytest.mark.parametrize("script", ["faults.sh", "damage.sh"])
def test_help(repo, script):
    done = subprocess.run(
        [repo / "tests" / script, "--help"], capture_output=True, text=True, check=True
    )
    header = (repo / "tests" / script).read_text()
    assert "--publish" in re.findall(r"--[a-z]+", done.stdout)
    names = re.findall(r"[a-z]+", done.stdout.partition("stages to kill:")[2].partition("(")[0])
    assert names == ([stage.name for stage in STAGES] if "--stages" in header else [])
    assert Path(repo / "tests" / script.replace(".sh", "_command.py")).exists()
