"""steps/compare_models.sh and steps/sweep_compute.sh, whole, on models of two updates."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from command_fakes import invoke, row, write_recipe

# Some thirty processes each, which take their time on a machine that does something else too.
pytestmark = pytest.mark.timeout(900)

SMALL = {
    "amortized": {
        "encoder": {"layers": 2, "dim": 16, "heads": 2, "feedforward_dim": 16, "output_dim": 16}
        | {"arbitrator": {"dim": 8, "keep": 0.5}},
        "predictor": {"output_dim": 16},
        "joiner_dim": 16,
    }
}


@pytest.fixture(scope="module")
def house(repo, tmp_path_factory) -> Path:
    """The repository with a recipe of its own, `small`, ready for training."""
    folder = tmp_path_factory.mktemp("house")
    for entry in repo.iterdir():
        if entry.name not in ("egs", ".git"):
            (folder / entry.name).symlink_to(entry)
    recipe = folder / "egs" / "small"
    (recipe / "local").mkdir(parents=True)
    write_recipe(recipe)
    for name, values in SMALL.items():
        (recipe / f"conf/model/{name}.yaml").write_text(yaml.safe_dump(values))
    tiny = (recipe / "conf/model/tiny.yaml").read_text()
    (recipe / "conf/model/twin.yaml").write_text(tiny)
    for stage in (["manifests"], ["fbank", "--nj", "1"], ["tokens"]):
        assert invoke(*stage, "--recipe-dir", recipe).exit_code == 0
    return folder


def run(house: Path, script: str, *options: str) -> str:
    """The results that it leaves."""
    command = [house / "steps" / script, "--recipe", "small", "--nj", "2", *options]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return (house / "egs/small/RESULTS.md").read_text()


def test_models_are_compared(house):
    chosen = ("--models", "tiny twin", "--ablations", "", "--rates", "0.001 0.002")
    page = run(house, "compare_models.sh", *chosen, "--seeds", "2 1", "--tuning-epochs", "1")
    exp = house / "egs/small/exp"
    rates = json.loads((exp / "compare/rates.json").read_text())
    assert rates["budget"]["warmup_steps"] == 100
    for model in ("tiny", "twin"):
        rate = rates["models"][model]["chosen"]
        for seed in (1, 2):
            config = yaml.safe_load((exp / f"{model}_cmp_seed{seed}/config.yaml").read_text())
            assert (config["train"]["peak_lr"], config["train"]["seed"]) == (rate, seed)
        cells = row(page[page.index("## Encoders compared on test") :], model)
        assert cells[3] == "2"
        assert all(re.fullmatch(r"\d+\.\d+", cell) for cell in cells[10:13])  # work and its time
    assert "Learning rates, chosen on dev" in page
    assert '\nsteps/compare_models.sh --recipe small --nj 2 --models "tiny twin"' in page
    assert "_cmp --" not in page  # a family of trainings is no model of run.sh


def test_amortized_models_take_the_rate_of_the_full_one(house):
    command = ["steps/compare_models.sh", "--recipe", "small", "--dry-run", "--rates", "0.002"]
    command += ["--tuning-steps", "30"]
    models = ["--models", "lstm amortized amortized/dual_ff_key", "--ablations", "amortized/random"]
    done = subprocess.run([*command, *models], cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = ["lstm", "amortized_full", "amortized_random"]
    assert re.findall(r"--name (\S+)_lr0\.002", done.stdout) == names
    assert done.stdout.count("--set train.max_steps=30") == len(names)


def test_error_is_set_against_compute(house):
    options = ("--weights", "0.2", "--baselines", "amortized/full amortized/random")
    page = run(house, "sweep_compute.sh", *options)
    exp = house / "egs/small/exp"
    config = yaml.safe_load((exp / "amortized_sweep-w0.2_seed1/config.yaml").read_text())
    schedule = config["model"]["encoder"]["schedule"]
    assert (schedule["weight"], schedule["final_weight"]) == (0.04, 0.2)
    table = page[page.index("## Compute against error on test") :]
    for family in ("amortized_full_sweep", "amortized_random_sweep", "amortized_sweep-w0.2"):
        work, _, _, cpu, saved_cpu = (float(cell) for cell in row(table, family)[8:])
        assert (work, saved_cpu) == (100, 0) if "full" in family else 0 < work < 100
        assert cpu > 0
        assert list((exp / f"{family}_seed1").glob("toggles_*.svg"))
    assert "\nsteps/sweep_compute.sh --recipe small --nj 2 --weights 0.2" in page
    assert "Error against compute" in (exp / "report.html").read_text()
