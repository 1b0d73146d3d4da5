"""The command line of run.sh and steps/: what it refuses, and what it would run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from recipe_steps import copied

from asrlib.cohorts.config import METHODS
from asrlib.experiments.plan_file import load_plan
from asrlib.installation import HERE
from asrlib.recipe import Recipe


def call(repo: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(args, cwd=repo, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--stage", "12"], "no stage '12'"),
        (["--stage", "two"], "no stage 'two'"),
        (["--stage", "0 1"], "no stage '0 1'"),
        (["--nj", "many"], "--nj 'many' is not a number of jobs"),
        (["--engine", "cloud"], "--engine 'cloud': there is no such engine"),
        (["--retries", "often"], "--retries 'often' is not a number"),
        (["--stage", "6", "--stop-stage", "2"], "--stage 6 comes after --stop-stage 2"),
        (["--recipe", "nowhere"], "no recipe 'nowhere'"),
        (["--models", "lstm transformr"], "no model 'transformr'"),
        (["--searches", "beam"], "no search 'beam'"),
        (["--stage", "7", "--searches", "greedy fast_beam"], "does not support the turns"),
        (["--cohort-methods", "tree treee"], "no cohort method 'treee'"),
        (["--mitigate-for", "scann"], "no cohort method 'scann'"),
        (["--mitigations", "ewc foo"], "no row of mitigations 'foo'"),
        (["--skip-stages", "3 33"], "no stage '33'"),
        (["--recipe", "voxceleb", "--stage", "3", "--stop-stage", "6"], "stages 3 to 6: all are"),
        (["--tag", "a b"], "--tag 'a b' cannot be part of a directory name"),
        (["--stge", "1"], "unknown option --stge"),
        (["--stage"], "--stage: no value"),
        (["mini"], "unexpected argument 'mini'"),
    ],
)
def test_wrong_arguments_name_the_fault_and_the_mend(repo: Path, args: list[str], named: str):
    done = call(repo, "./run.sh", *args)
    assert done.returncode == 2
    assert named in done.stderr
    assert "fix: " in done.stderr


@pytest.mark.parametrize("script", ["compare_models", "sweep_compute", "sweep_eot"])
@pytest.mark.parametrize(
    ("args", "named"),
    [(["--rates", "0.1"], "unknown option --rates"), (["--recipe", "none"], "no recipe 'none'")],
)
def test_experiments_refuse_before_they_train(repo: Path, script: str, args: list[str], named: str):
    done = call(repo, f"steps/{script}.sh", "--dry-run", *args)
    assert done.returncode == 2
    assert named in done.stderr
    assert "fix: " in done.stderr
    assert "conf/plans/" in call(repo, f"steps/{script}.sh", "--help").stdout


@pytest.mark.parametrize("kind", ["run", "queue", "jobs"])
def test_what_runs_is_stopped_with_the_script(repo: Path, tmp_path: Path, kind: str):
    script = tmp_path / "long.sh"
    sleeper = (
        f"bash -c 'echo $$ >{tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid; exec sleep 300'"
    )
    lines = {
        "run": f"run {sleeper}",
        "queue": f"queue a {sleeper}\ndrain 4 train",
        "jobs": f"queue a {sleeper}\nqueue b true\ndrain 4 train",
    }
    script.write_text(
        f"#!/usr/bin/env bash\nset -euo pipefail\ncd {repo}\n. ./path.sh\n"
        f". steps/parse_options.sh\nnj=2 recipe_dir={tmp_path}\n. steps/queue.sh\n{lines[kind]}\n"
    )
    process = subprocess.Popen(["bash", script], stdout=subprocess.PIPE)
    while not (tmp_path / "pid").exists():
        time.sleep(0.1)
    process.terminate()
    assert process.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("engine=slurm", "--engine slurm --engine-option a=1 --engine-option b=2"),
        ("engine=slurm retries=3", "--engine-option b=2 --engine-option retries=3"),
        ("retries=3", "--engine local --engine-option retries=3"),
        (":", "--nj 1 --engine local"),
    ],
)
def test_a_stage_has_its_own_resources_beside_those_of_all(repo: Path, given: str, expected: str):
    script = (
        f"set -euo pipefail; . steps/parse_options.sh; {given}; . steps/engine.sh\n"
        "slurm_options=([all]=a=1 [4]=b=2 [5]=b=3)\n"
        'job_options 4; echo "${job_options[@]}"'
    )
    assert call(repo, "bash", "-c", script).stdout.endswith(f"{expected}\n")


def announced(output: str) -> list[str]:
    return [line.split()[2].rstrip(":") for line in output.splitlines() if "==" in line]


def test_two_talkers_are_trained_only_when_asked_for(repo: Path):
    assert "7" not in announced(call(repo, "./run.sh", "--dry-run").stdout)
    args = ["--dry-run", "--stage", "7", "--stop-stage", "7", "--seeds", "1 2"]
    done = call(repo, "./run.sh", *args, "--talker-models", "mt_rnnt sts/plain")
    lines = [line for line in done.stdout.splitlines() if line.startswith("steps/")]
    trained = [line for line in lines if line.startswith("steps/train.sh")]
    assert "--model sts/single --name sts_single_seed1" in trained[0]
    assert len(trained) == 1 + 2 * 2
    assert all("--init sts_single_seed1" in line for line in trained[1:])
    scored = [line for line in lines if line.startswith("steps/score_meetings.sh")]
    assert len(scored) == 1 + 2 * 2
    assert "--name sts_single_seed1 --test-set mix_test" in scored[0]
    assert "--model sts " in call(repo, "./run.sh", *args).stdout
    sets = call(repo, "./run.sh", *args, "--test-sets", "mix_dev test mix_test").stdout
    scored = [line for line in sets.splitlines() if line.startswith("steps/score_meetings.sh")]
    assert len(scored) == 2 * 3
    assert sum("--test-set mix_dev" in line for line in scored) == 3
    assert "steps/report.sh" in sets


def lines_of(done: subprocess.CompletedProcess[str], script: str) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith(f"steps/{script}.sh")]


def test_mini_finds_cohorts_by_default_and_other_recipes_on_request(repo: Path):
    done = call(repo, "./run.sh", "--dry-run", "--seeds", "1 2")
    assert announced(done.stdout)[-4:] == ["9", "10", "11", "13"]
    (found,) = lines_of(done, "find_cohorts")
    assert "--name lstm_seed1 --set-name discovery --confirm confirmation" in found
    (mitigated,) = lines_of(done, "mitigate")
    (judged,) = lines_of(done, "judge_mitigations")
    asked = mitigated.partition("--name")[2].partition(" --nj")[0]
    assert asked == judged.partition("--name")[2].partition(" --recipe-dir")[0]
    assert "membership" in mitigated
    assert "--seeds 1\\ 2" in mitigated
    assert "11" not in announced(call(repo, "./run.sh", "--dry-run", "--recipe", "an4").stdout)


def test_test_speakers_are_divided_where_there_are_no_sets_for_it(repo: Path):
    args = ["--dry-run", "--recipe", "kaldi_dir", "--stage", "9", "--test-sets", "test"]
    done = call(repo, "./run.sh", *args, "--cohort-methods", "scan tree")
    assert announced(done.stdout) == ["9", "11", "13"]
    assert len(lines_of(done, "decode")) == 2  # two models, one set
    (found,) = lines_of(done, "find_cohorts")
    assert "--set-name test --confirm test" in found
    assert "--methods scan\\ tree" in found
    assert not lines_of(done, "mitigate")
    args[4] = "10"
    done = call(repo, "./run.sh", *args, "--mitigate-for", "scan")
    assert announced(done.stdout) == ["10", "11", "13"]
    assert "--cohorts scan --rows all" in lines_of(done, "mitigate")[0]
    assert "--found-on test --test-set test" in lines_of(done, "mitigate")[0]


def test_voices_are_scored_by_list_of_trials_where_there_is_one(repo: Path):
    args = ["--dry-run", "--recipe", "voxceleb", "--stage", "8", "--stop-stage", "8"]
    args += ["--test-sets", "test test_rest", "--speaker-models", "speaker/ecapa"]
    by_set = lines_of(call(repo, "./run.sh", *args), "score_verification")
    assert [line.split()[4] for line in by_set] == ["test", "test_rest"]
    by_list = lines_of(call(repo, "./run.sh", *args, "--trials", "O E"), "score_verification")
    assert len(by_list) == 2
    assert "--test-set test\\ test_rest --trials egs/voxceleb/data/trials/E.txt" in by_list[1]


def test_voxceleb_recognises_nothing_unless_asked(repo: Path):
    done = call(repo, "egs/voxceleb/run.sh", "--dry-run")
    begun = [line for line in done.stdout.splitlines() if line.startswith("== stage")]
    assert announced("\n".join(begun)) == ["0", "1", "2", "8", "13"]
    assert "-- stage 4: train is skipped" in done.stdout
    args = ["--dry-run", "--recipe", "voxceleb", "--stop-stage", "5", "--skip-stages"]
    assert announced(call(repo, "./run.sh", *args, "none").stdout) == list("012345")
    assert "steps/train.sh" not in call(repo, "./run.sh", *args, "1 4").stdout


def test_run_sh_knows_the_methods_and_the_rows_that_there_are(repo: Path):
    fix = call(repo, "./run.sh", "--cohort-methods", "none").stderr
    assert f"choose among {', '.join(METHODS)}\n" in fix
    rows = [
        row.name for row in load_plan(Recipe(repo / "egs/mini"), "mitigation").config.all_rows()
    ]
    fix = call(repo, "./run.sh", "--mitigations", "none").stderr
    assert f"choose among {', '.join(rows)}\n" in fix


def test_a_recipe_has_rows_of_its_own(repo: Path, tmp_path: Path):
    house = copied(repo, tmp_path / "house")
    plans = house / "egs/an4/conf/plans"
    (plans / "mitigation.yaml").write_text("set: {}\n")
    args = ["./run.sh", "--recipe", "an4", "--dry-run", "--stage", "10", "--mitigations"]
    assert call(house, *args, "ewc").returncode == 0
    (plans / "mitigation.yaml").write_text("variants:\n  - &one\n    name: own\n  - name: two\n")
    assert call(house, *args, "own two").returncode == 0
    assert "choose among own, two\n" in call(house, *args, "ewc").stderr
    given = ["--set", "plans.variants=[{name: other, model: lstm}]"]
    assert call(house, *args, "other", *given).returncode == 0


def test_what_has_no_cohorts_is_left_out_with_a_sentence(repo: Path, tmp_path: Path):
    for script in ("mitigate", "judge_mitigations", "score_cohorts"):
        done = call(repo, f"steps/{script}.sh", "--recipe-dir", str(tmp_path), "--name", "m")
        assert (done.returncode, done.stderr) == (0, "")
        assert ": nothing to " in done.stdout


def test_dry_run_names_models_seeds_searches_and_overrides(repo: Path):
    args = ["--dry-run", "--stage", "4", "--stop-stage", "5", "--models", "lstm"]
    args += ["--seeds", "1 2", "--searches", "greedy fast_beam", "--test-sets", "test"]
    done = call(repo, "./run.sh", *args, "--set", "train.epochs=2", "--force")
    lines = [line for line in done.stdout.splitlines() if line.startswith("steps/")]
    assert len(lines) == 2 + 2 * 2
    assert all("--set train.epochs=2" in line and "--force" in line for line in lines)
    assert "--name lstm_seed2" in lines[1]
    variant = ["--models", "amortized/full", "--tag", "lr0.1", "--seeds", "3"]
    tagged = call(repo, "./run.sh", "--dry-run", "--stage", "4", "--stop-stage", "4", *variant)
    assert "--model amortized/full --name amortized_full_lr0.1_seed3" in tagged.stdout
    assert "--set train.seed=2" in lines[1]


def test_every_training_is_told_its_number_of_processes(repo: Path):
    args = ["--dry-run", "--ranks", "2", "--stage", "4", "--stop-stage", "8"]
    lines = call(repo, "./run.sh", *args, "--talker-models", "sts").stdout.splitlines()
    trainings = [line for line in lines if line.startswith("steps/train.sh")]
    assert len(trainings) == 2 + 2 + 2
    assert all("--ranks 2" in line for line in trainings)
    assert not any("--ranks" in line for line in lines if not line.startswith("steps/train.sh"))
    assert "--ranks" not in call(repo, "./run.sh", "--dry-run").stdout
    refused = call(repo, "./run.sh", "--dry-run", "--ranks", "0")
    assert refused.returncode != 0
    assert "--ranks '0'" in refused.stderr


def test_models_side_by_side_say_who_they_are_and_fail_together(repo: Path, tmp_path: Path):
    models = ["--models", "lstm conv_rnnt", "--nj", "2", "--recipe", "kaldi_dir"]
    args = ["--stage", "4", "--stop-stage", "4", *models, "--seeds", "5"]
    house = copied(repo, tmp_path / "house")
    (house / HERE.name).symlink_to(repo / HERE.name)
    done = call(house, "./run.sh", *args)
    assert done.returncode != 0
    for name in ("lstm_seed5", "conv_rnnt_seed5"):
        assert f"{name}: error: " in done.stdout


@pytest.mark.parametrize("status", [1, 143])
def test_a_row_that_fails_ends_the_run_after_its_report(repo: Path, tmp_path: Path, status: int):
    house = copied(repo, tmp_path / "house")
    (house / HERE.name).symlink_to(repo / HERE.name)
    told = house / "egs/mini/exp/plans/lstm-scan"
    told.mkdir(parents=True)
    (told / "failed.txt").write_text("lstm-scan-old-seed1: error: of an earlier run\n")
    for script in ("mitigate", "score_cohorts", "verify_cohorts", "judge_mitigations", "report"):
        code = status if script == "mitigate" else 0
        text = f"#!/bin/sh\necho did {script}\n"
        if script == "mitigate":
            text += f"echo lstm-scan-ewc-seed1: error: no space >{told}/failed.txt\n"
        (house / f"steps/{script}.sh").write_text(f"{text}exit {code}\n")
    done = call(house, "./run.sh", "--stage", "10", "--nj", "1")
    assert done.returncode == status
    assert ("did report" in done.stdout) == ("lstm-scan-ewc-seed1: error" in done.stderr)
    assert ("did report" in done.stdout) == (status == 1)
    assert "earlier run" not in done.stderr


def test_a_misspelt_key_is_told_before_stage_0(repo: Path, tmp_path: Path):
    house = copied(repo, tmp_path / "house")
    (house / HERE.name).symlink_to(repo / HERE.name)
    done = call(house, "./run.sh", "--set", "verification.trails=x")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "--set verification.trails=x: unknown key trails\n  fix: did you mean trials?"
        in done.stderr
    )


def tree(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Kind and permissions, size and time of change of all that lies in a directory."""
    found = {path: path.lstat() for path in [folder, *folder.rglob("*")]}
    return {path: (s.st_mode, s.st_size, s.st_mtime_ns) for path, s in found.items()}


@pytest.mark.parametrize(
    ("script", "options", "printed"),
    [
        ("run.sh", ["--talker-models", "sts", "--seeds", "1 2"], "steps/report.sh"),
    ],
)
def test_dry_run_runs_nothing(
    repo: Path, tmp_path: Path, script: str, options: list[str], printed: str
):
    """It changes no file, and gets along without Python and all programs that write."""
    house, programs = copied(repo, tmp_path / "house"), tmp_path / "bin"
    for place in ("data/test", "data/mix_test", "exp/lstm"):  # what --force would make again
        (house / "egs/mini" / place).mkdir(parents=True)
        (house / "egs/mini" / place / "a").write_text("kept")
    programs.mkdir()
    for name in ("awk", "bash", "dirname", "nproc", "wc"):
        (programs / name).symlink_to(shutil.which(name))
    before = tree(house)
    done = subprocess.run(
        [house / script, "--dry-run", "--force", *options],
        cwd=house,
        env={"PATH": str(programs), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\n{printed} " in done.stdout
    assert tree(house) == before


def test_every_script_has_help(repo: Path):
    found = [
        path
        for glob in ("steps/*.sh", "egs/*/run.sh", "egs/*/local/*.sh")
        for path in repo.glob(glob)
    ]
    scripts = [path for path in found if os.access(path, os.X_OK)]  # others are sourced
    assert len(scripts) > 10
    for script in scripts:
        done = call(repo, str(script), "--help")
        assert (done.returncode, done.stderr) == (0, ""), script
        about, _, options = done.stdout.partition("\nOptions:\n")
        assert len(about) > 20, script
        for option in ("--recipe", "--set", "--force", "--help"):
            assert len(re.findall(rf"^  {option}\b", options, re.MULTILINE)) >= 1, (script, option)


@pytest.mark.parametrize("script", ["steps/make_fbank.sh", "egs/an4/local/corpus.sh"])
def test_help_tells_the_default_and_explains_nothing_twice(repo: Path, script: str):
    options = re.findall(r"^  (--[\w-]+)(.*)", call(repo, script, "--help").stdout, re.MULTILINE)
    names = [name for name, _ in options]
    assert len(names) == len(set(names))
    assert dict(options)["--nj"].endswith("(default: 2)")


def test_help_names_only_options_that_a_script_takes(repo: Path):
    text = call(repo, "steps/score.sh", "--help").stdout
    assert "--nj" not in text
    assert "--corpus-dir" not in text
    done = call(repo, "steps/score.sh", "--nj", "2")
    assert "unknown option --nj" in done.stderr


def test_an_option_that_a_script_explains_itself_is_not_explained_again(repo: Path):
    text = call(repo, "egs/mini/local/corpus.sh", "--help").stdout
    assert text.count("--corpus-dir") == text.count("--nj") == 1
    assert "directory for the corpus" in text


def test_a_step_without_a_recipe_says_so(repo: Path):
    done = call(repo, "steps/train.sh", "--model", "lstm")
    assert done.returncode == 2
    assert "--recipe-dir is missing" in done.stderr
