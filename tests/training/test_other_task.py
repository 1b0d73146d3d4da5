"""A model that is no transducer trains by the same command, with all that training offers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from points_task import ENTRY, KIND, PointsConfigs, PointsTask, write_recipe

from asrlib.__main__ import cli
from asrlib.checkpoint_file import load
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.recipe import Recipe
from asrlib.training.build import TASKS, load_configs


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(TASKS, "points", ENTRY)
    return write_recipe(tmp_path / "egs")


def run(recipe: Path, *options: str, model: str = "tiny_points", command: str = "train") -> int:
    """Exit code of `python -m asrlib`; errors for the user are raised as they are."""
    arguments = [command, "--recipe-dir", str(recipe), *options]
    arguments += ["--model", model] if command == "train" else []
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if isinstance(result.exception, SystemExit):
        return result.exception.code
    if result.exception:
        raise result.exception
    return 0


def struck(name: str, step: int, recipe: Path, *options: str) -> int:
    """Exit code of a child that trains until a signal strikes it in the midst of a step."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            PointsTask.struck = (name, step)
            code = run(recipe, *options)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path, KIND)["model"]


def log(recipe: Path) -> str:
    return (recipe / "exp" / "tiny_points" / "log" / "train.log").read_text()


def test_leaves_what_every_training_leaves(recipe):
    assert run(recipe) == 0
    out = recipe / "exp" / "tiny_points"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert set(config) == {"model", "train", "scatter"}
    assert config["model"] == {"task": "points", "hidden_dim": 8, "dropout": 0.3}
    final = load(out / "final.pt", KIND)
    assert final["payload"]["config"] == config["model"]
    assert final["model"]["0.weight"].shape == (8, 5)
    history = dict(final["facts"]["history"])
    assert list(history) == [5, 10, 15, 20, 25, 30, 32]  # four epochs of eight batches
    best = sorted(sorted(history, key=lambda step: history[step])[:3])
    assert [p.name for p in sorted(out.glob("checkpoints/best-*"))] == [
        f"best-{step:08d}.pt" for step in best
    ]
    means = [weights(out / "checkpoints" / f"best-{step:08d}.pt")["4.bias"] for step in best]
    torch.testing.assert_close(final["model"]["4.bias"], torch.stack(means).mean(dim=0))


def test_complete_is_skipped_until_an_input_or_a_section_changes(recipe):
    run(recipe)
    final = recipe / "exp" / "tiny_points" / "final.pt"
    before = final.stat().st_mtime_ns
    run(recipe)
    assert final.stat().st_mtime_ns == before
    assert "final.pt: up to date" in log(recipe)
    with pytest.raises(CheckpointError, match=r"scatter\.scale: 2\.0, now 3\.0"):
        run(recipe, "--set", "scatter.scale=3.0")
    (recipe / "data" / "points.json").write_text('{"shift": 0.25}')
    with pytest.raises(CheckpointError, match=r"input\.data/points\.json"):
        run(recipe)
    content = final.read_bytes()
    assert run(recipe, "--force") == 0
    assert final.read_bytes() != content


@pytest.mark.parametrize(("name", "code"), [("KILL", -signal.SIGKILL), ("TERM", 143)])
def test_struck_and_continued_equals_uninterrupted(recipe, name, code):
    run(recipe, "--name", "whole")
    whole, pieces = (recipe / "exp" / d for d in ("whole", "pieces"))
    for step in (3, 13, 14, 30):
        assert struck(name, step, recipe, "--name", "pieces") == code
        assert not (pieces / "final.pt").exists()
    assert run(recipe, "--name", "pieces") == 0
    files = [Path("final.pt"), *(p.relative_to(whole) for p in whole.glob("checkpoints/*.pt"))]
    assert len(files) > 4
    for file in files:
        assert (whole / file).read_bytes() == (pieces / file).read_bytes(), file


def test_seed_decides_the_first_weights_and_a_start_takes_their_place(recipe):
    configs = load_configs(Recipe(recipe), "tiny_points")
    assert isinstance(configs, PointsConfigs)
    short = ("--set", "train.max_steps=1", "--set", "train.peak_lr=1e-9")
    for seed in (1, 2):
        run(recipe, *short, "--set", f"train.seed={seed}", "--name", f"seed{seed}")
    start = recipe / "exp" / "seed1"
    run(recipe, *short, "--set", "train.seed=2", "--name", "started", "--init", str(start))
    one, two, started = (
        weights(recipe / "exp" / n / "final.pt")["0.weight"] for n in ("seed1", "seed2", "started")
    )
    torch.testing.assert_close(started, one)
    assert not torch.allclose(started, two)
    with pytest.raises(CheckpointError, match=r"input\.init: [0-9a-f]+, now None"):
        run(recipe, *short, "--set", "train.seed=2", "--name", "started")


def test_its_configuration_is_checked_as_any(recipe):
    with pytest.raises(ConfigError, match=r"unknown key hiden_dim\n.*hidden_dim"):
        run(recipe, "--set", "model.hiden_dim=3")
    with pytest.raises(ConfigError, match="unknown key encoder"):
        run(recipe, "--set", "model.encoder.name=lstm")
    assert load_configs(Recipe(recipe), "tiny_points/wide").model.hidden_dim == 12
    (recipe / "data" / "points.json").unlink()
    with pytest.raises(DataError, match=r"points\.json: missing"):
        run(recipe)


def test_a_task_that_nobody_knows_names_the_file_and_the_nearest(recipe, monkeypatch):
    path = recipe / "conf" / "model" / "tiny_points.yaml"
    path.write_text("task: point")
    with pytest.raises(ConfigError) as e:
        run(recipe)
    assert e.value.what == f"{path}: key task: unknown value point"
    assert e.value.fix == "did you mean points?"
    with pytest.raises(ConfigError, match=r"--set model\.task=3: key task: unknown value 3") as e:
        run(recipe, "--set", "model.task=3")
    assert e.value.fix == "choose one of points, speaker, transducer"


def test_commands_for_transducers_refuse_it(recipe):
    bench = ["bench", "encoder", "--recipe-dir", str(recipe), "--model", "tiny_points"]
    result = CliRunner().invoke(cli, bench, standalone_mode=False)
    assert "key task: unknown value points" in str(result.exception)
    assert "choose one of transducer" in str(result.exception)
    run(recipe)
    audio = recipe / "data" / "points.json"
    model = str(recipe / "exp" / "tiny_points")
    result = CliRunner().invoke(cli, ["transcribe", "--model", model, str(audio)])
    assert "holds points, not a recogniser" in str(result.exception)


def test_training_loads_no_other_model(recipe, repo):
    """The trainer and the command know of no model but the one that the task builds."""
    code = (
        "import sys\n"
        "from asrlib.__main__ import cli\n"
        "from asrlib.training.build import TASKS\n"
        f"TASKS['points'] = {ENTRY!r}\n"
        f"cli(['train', '--recipe-dir', {str(recipe)!r}, '--model', 'tiny_points',"
        " '--set', 'train.max_steps=1'], standalone_mode=False)\n"
        "rooms = ('asrlib.transducer', 'asrlib.encoders', 'asrlib.streaming')\n"
        "sys.exit(' '.join(m for m in sys.modules if m.startswith(rooms)) or 0)\n"
    )
    path = os.pathsep.join([str(repo), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (recipe / "exp" / "tiny_points" / "final.pt").exists()
