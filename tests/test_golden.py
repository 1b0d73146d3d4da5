"""A stage whose output changed has another version than before: stamps hold that version."""

from __future__ import annotations

import json
from dataclasses import replace

import golden_outputs
import pytest
from golden_outputs import COMMAND, VERSIONS, Golden, fault, made_outputs, read_golden

from asrlib.stages import STAGES


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Golden]:
    return made_outputs(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("stage", VERSIONS)
def test_an_output_changes_with_its_version_only(made, stage):
    problem = fault(stage, read_golden().get(stage), made[stage])
    assert problem is None, problem


def test_every_stage_with_a_stamp_is_watched():
    """But what has no stamp, and what depends on the processor.

    `plan` has no output of its own: it runs the commands of other stages. `judge-mitigations` and
    `results` read the outputs of others each time, so that nothing of theirs can be out of date.
    The weights of a training do, and so do embeddings, which are the output of a trained model:
    tests/speakers watches that they are those of the model's own forward pass.
    """
    commands = {command for stage in STAGES for command in stage.commands}
    without_stamp = {"plan", "judge-mitigations", "results"}
    assert set(VERSIONS) == commands - without_stamp - {"train", "embed"}
    assert set(read_golden()) == set(VERSIONS)


KNOWN = Golden(version=3, sha256="a", numbers=(0.5, 100.0))


def test_rounding_is_no_change():
    assert fault("score", KNOWN, replace(KNOWN, numbers=(0.50001, 100.01))) is None


@pytest.mark.parametrize(
    "change", [{"sha256": "b"}, {"numbers": (0.51, 100.0)}, {"numbers": (0.5, 100.0, 1.0)}]
)
def test_a_change_is_told_with_what_to_do(change):
    told = fault("score", KNOWN, replace(KNOWN, **change))
    assert told == (
        "the output of stage score changed: raise SCORE_VERSION in asrlib/scoring/score.py "
        f"and run {COMMAND}"
    )


@pytest.mark.parametrize("known", [None, KNOWN])
def test_a_new_version_asks_for_the_golden_file(known):
    told = fault("score", known, replace(KNOWN, version=4, sha256="b"))
    assert told.endswith(f"run {COMMAND}")
    assert "no version 4 of stage score" in told


def test_what_is_hashed_and_what_is_compared():
    output = {"words": 3, "rate": 0.1, "rows": [["A", 1.5]], "machine": "x", "cpu_seconds": 1.0}
    golden = Golden.of("score", output)
    assert golden.numbers == (0.1, 1.5)
    same = {**output, "rate": 0.1 + 1e-9, "machine": "y", "cpu_seconds": 9.0}
    assert golden.same_output(Golden.of("score", same))
    for other in ({"words": 4}, {"rate": 0.11}, {"rows": [["B", 1.5]]}, {"rate": None}):
        assert not golden.same_output(Golden.of("score", {**output, **other}))


def test_the_file_is_not_renewed_where_a_version_was_forgotten(tmp_path, monkeypatch):
    file = tmp_path / "outputs.json"
    monkeypatch.setattr(golden_outputs, "FILE", file)
    one = replace(KNOWN, version=golden_outputs.version_of("score"))
    monkeypatch.setattr(golden_outputs, "made_outputs", lambda _: {"score": one})
    golden_outputs.main()
    assert read_golden() == {"score": one}
    other = replace(one, sha256="b")
    monkeypatch.setattr(golden_outputs, "made_outputs", lambda _: {"score": other})
    with pytest.raises(SystemExit, match="raise SCORE_VERSION"):
        golden_outputs.main()
    assert read_golden() == {"score": one}
    newer = replace(other, version=one.version + 1)
    monkeypatch.setattr(golden_outputs, "made_outputs", lambda _: {"score": newer})
    golden_outputs.main()
    assert json.loads(file.read_text())["score"]["version"] == one.version + 1
