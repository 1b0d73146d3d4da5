"""Group DRO of a recogniser from the configuration: conf/group_dro.yaml and the speaker table."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from lhotse import CutSet
from small_transducer import write_recipe

from asrlib.checkpoint_file import load
from asrlib.cli.train import command
from asrlib.errors import CheckpointError, ConfigError
from asrlib.recipe import Recipe
from asrlib.scoring.records import read_speakers
from asrlib.training.build import load_configs
from asrlib.training.checkpoint import CheckpointStore

ON = ("--set", "group_dro.groups=gender", "--set", "group_dro.step_size=0.5")


@pytest.fixture
def recipe(tmp_path) -> Path:
    """The speakers of the utterances, of whom u11 is not in the table."""
    directory = write_recipe(tmp_path / "egs")
    path = directory / "data" / "train" / "cuts_fbank.jsonl.gz"
    cuts = list(CutSet.from_file(path))
    for number, cut in enumerate(cuts):
        cut.supervisions[0].speaker = f"u{number}"
    CutSet.from_cuts(cuts).to_file(path)
    rows = [f"u{i}\ttrain\t{'f' if i % 4 else 'm'}" for i in range(len(cuts) - 1)]
    table = "\n".join(["speaker\tset\tgender", *rows])
    (directory / "data" / "speakers.tsv").write_text(table + "\n")
    return directory


def run(recipe: Path, *options: str) -> None:
    arguments = ["--recipe-dir", str(recipe), "--model", "tiny", *options]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception


def test_weights_come_from_the_speaker_table(recipe):
    run(recipe, *ON, "--set", "train.log_interval=1")
    log = (recipe / "exp" / "tiny" / "log" / "train.log").read_text()
    assert "group DRO on gender: f, m, unknown" in log
    assert "weight_f " in log
    assert "weight_unknown " in log
    store = CheckpointStore(recipe / "exp" / "tiny" / "checkpoints", "transducer")
    path = max(store.dir.glob("step-*.pt"))
    state = load(path, store.step_kind)["task"]["weights"]
    seconds = dict.fromkeys(("f", "m", "unknown"), 0.0)
    genders = read_speakers(recipe / "data" / "speakers.tsv", "train")
    for cut in CutSet.from_file(recipe / "data" / "train" / "cuts_fbank.jsonl.gz"):
        gender = genders.get(cut.supervisions[0].speaker, {}).get("gender") or "unknown"
        seconds[gender] += cut.duration
    expected = [one / sum(seconds.values()) for one in seconds.values()]
    assert state["shares"].tolist() == pytest.approx(expected)
    assert state["log_q"].exp().sum() == pytest.approx(1.0)
    assert state["log_q"].std() > 0


def test_off_by_default_and_then_no_part_of_the_identity(recipe):
    run(recipe)
    assert load_configs(Recipe(recipe), "tiny").group_dro is None
    facts = load(recipe / "exp" / "tiny" / "final.pt", "transducer")["facts"]
    assert "group_dro" not in facts["identity"]
    assert not any("speakers.tsv" in name for name in facts["identity"]["input"])
    with pytest.raises(CheckpointError, match=r"group_dro"):
        run(recipe, *ON)
    run(recipe, *ON, "--name", "dro")
    one, other = (
        load(recipe / "exp" / name / "final.pt", "transducer")["model"] for name in ("tiny", "dro")
    )
    assert any(not one[name].equal(other[name]) for name in one)


def test_a_column_that_does_not_exist_is_named(recipe):
    with pytest.raises(ConfigError, match=r"speakers\.tsv has no column accent") as error:
        run(recipe, "--set", "group_dro.groups=accent")
    assert "gender" in error.value.fix
    (recipe / "data" / "speakers.tsv").unlink()
    with pytest.raises(ConfigError, match="no column gender"):
        run(recipe, *ON)


def test_models_of_several_talkers_are_refused(recipe):
    with pytest.raises(ConfigError, match="a mixture has several talkers"):
        load_configs(Recipe(recipe, ("group_dro.groups=gender",)), "sts")
    load_configs(Recipe(recipe, ("group_dro.groups=none",)), "sts")
