"""Stages, searches and run names: what the shell and the texts say is what Python says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

import asrlib.__main__ as main_module
from asrlib.config import load_config
from asrlib.experiments.runs import run_name
from asrlib.searches import SEARCHES, TURN_SEARCHES
from asrlib.stages import STAGES, stage_of
from asrlib.streaming import DecodeConfig

NUMBERS = {stage.number for stage in STAGES}


def call(repo: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(args, cwd=repo, capture_output=True, text=True, timeout=60)


def test_run_sh_explains_the_stages(repo):
    text = call(repo, "./run.sh", "--help").stdout
    listed = text.partition("Stages:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^ +(?=\d)", listed, flags=re.MULTILINE)[1:]
    assert [" ".join(entry.split()) for entry in entries] == [
        f"{stage.number} {stage.name} {stage.help}" for stage in STAGES
    ]


def test_run_sh_runs_the_stages_in_their_order(repo):
    done = call(repo, "./run.sh", "--dry-run", "--talker-models", "sts")
    begun = re.findall(r"^== stage (\d+): (\w+)", done.stdout, re.MULTILINE)
    assert begun == [(str(stage.number), stage.name) for stage in STAGES]


def test_run_sh_refuses_other_stages(repo):
    fix = f"choose among {' '.join(str(stage.number) for stage in STAGES)};"
    assert fix in call(repo, "./run.sh", "--stage", "99").stderr
    assert (
        f"last stage to run (default: {STAGES[-1].number})"
        in call(repo, "./run.sh", "--help").stdout
    )


def test_texts_name_stages_that_exist(repo):
    """Where a message, a help text or a guide names stages by number, all of them exist."""
    paths = [
        *repo.glob("*.md"),
        *repo.glob("egs/*/*.md"),
        *repo.glob("steps/*.sh"),
        *repo.glob("asrlib/**/*.py"),
        *repo.glob("egs/*/local/*"),
    ]
    named = {
        (path, int(number))
        for path in paths
        if path.is_file()
        for numbers in re.findall(
            r"\bstages? ((?:\d+(?:, | and | to |-)?)+)", path.read_text(encoding="utf-8")
        )
        for number in re.findall(r"\d+", numbers)
    }
    assert len(named) > 20
    assert [(path, number) for path, number in named if number not in NUMBERS] == []


def test_a_step_says_of_which_stage_it_is(repo):
    """The header of a script of steps/ names the stage of the command that it runs."""
    checked = set()
    for path in repo.glob("steps/*.sh"):
        text = path.read_text(encoding="utf-8")
        if not text.startswith("#!"):
            continue  # it is part of other scripts
        command = re.search(r"^exec python -m asrlib ([a-z-]+) ", text, re.MULTILINE)
        if command and (stage := stage_of(command[1])) and "_options[@]" in text:
            assert text.splitlines()[1].startswith(f"# Stage {stage.number}"), path
            checked.add(stage.number)
    assert checked == NUMBERS - {0}


def takes_force(name: str, part: str = "") -> bool:
    command = main_module.LazyGroup().get_command(click.Context(click.Group()), name)
    if part:
        command = command.commands[part]
    return any("--force" in option.opts for option in command.params)


def test_force_is_an_option_of_commands_that_skip_what_is_complete(repo):
    kept = {name for name in main_module.COMMANDS if takes_force(name)}
    assert kept == {
        *("manifests", "fbank", "tokens", "train", "decode", "tune-decode", "score", "mixtures"),
        *("score-meetings", "score-verification", "embed", "plan"),
    }
    assert [p for p in ("find", "confirm", "explain") if takes_force("cohorts", p)] == ["find"]
    for path in repo.glob("asrlib/cli/*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name not in ("common.py", "plan.py"):  # a plan hands its recipe on
            assert ("stage_options" in text) == ("recipe.force" in text), path


def test_scripts_hand_force_to_commands_that_take_it(repo):
    checked = set()
    for path in (*repo.glob("steps/*.sh"), *repo.glob("egs/*/local/*.sh")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for found in re.finditer(r"asrlib ([a-z-]+)(?: (\w+))? .*\{(\w+)_options\[@\]\}", text):
            name, part, array = found.groups()
            if array in ("recipe", "stage"):
                forced = takes_force(name, part if name == "cohorts" else "")
                assert forced == (array == "stage"), (path, name)
                checked.add(name)
    assert {"results", "train-lm", "cohorts", "fbank", "score-verification"} <= checked
    parsed = 'recipe_dir=r; set -- --force --set a.b=1; . steps/parse_options.sh; echo "${%s[@]}"'
    for array, force in (("recipe_options", ""), ("stage_options", " --force")):
        line = f"--recipe-dir r --set a.b=1{force}\n"
        assert call(repo, "bash", "-c", parsed % array).stdout == line


@pytest.mark.parametrize("name", main_module.COMMANDS)
def test_the_list_of_commands_shows_the_first_sentence_of_a_command_s_help(name):
    command = main_module.LazyGroup().get_command(click.Context(click.Group()), name)
    shown, _, stage = main_module.summary(name).partition(" (stage ")
    assert " ".join(command.help.split()).startswith(f"{shown}.")
    expected = stage_of(name)
    assert stage == (f"{expected.number})" if expected else "")


def test_every_command_of_a_stage_exists():
    assert {name for stage in STAGES for name in stage.commands} <= set(main_module.COMMANDS)


@pytest.mark.parametrize(
    ("script", "options", "searches"),
    [
        ("./run.sh", [], SEARCHES),
        ("./run.sh", ["--stage", "7"], TURN_SEARCHES),
    ],
)
def test_scripts_take_the_searches_that_there_are(repo, script, options, searches):
    dry = ["--dry-run", *options]
    for search in SEARCHES:
        code = call(repo, script, *dry, "--searches", search).returncode
        assert (code == 0) == (search in searches)
    done = call(repo, script, *dry, "--searches", "wild")
    assert done.returncode == 2
    assert f"choose among {', '.join(SEARCHES)}" in done.stderr


@pytest.mark.parametrize(
    ("script", "searches"),
    [
        ("run.sh", SEARCHES),
        ("steps/decode.sh", SEARCHES),
        ("steps/score.sh", SEARCHES),
        ("steps/score_meetings.sh", TURN_SEARCHES),
    ],
)
def test_help_names_the_searches_that_there_are(repo, script, searches):
    text = (repo / script).read_text(encoding="utf-8")
    explained = re.search(r"^#   --search(?:es)? .*? {2,}(\w.*) \(default: (\w+)\)", text, re.M)
    assert tuple(re.split(r", | or ", explained[1])) == searches
    assert explained[2] == SEARCHES[0]


def test_decode_yaml_names_the_searches_that_there_are(repo):
    path = repo / "conf" / "decode.yaml"
    comment = re.search(r"^search: \w+ +# ([\w |]+)", path.read_text(encoding="utf-8"), re.M)[1]
    assert tuple(comment.strip().split(" | ")) == SEARCHES
    config = load_config(DecodeConfig, "decode", [path])
    assert all(hasattr(config, search) for search in SEARCHES)


@pytest.mark.parametrize("model", ["lstm", "sts/single", "amortized/dual_lstm_key"])
@pytest.mark.parametrize("tag", ["", "cmp", "sweep-w0.1"])
@pytest.mark.parametrize("seed", [None, 3])
def test_shell_and_python_give_a_run_the_same_name(repo, model, tag, seed):
    name = run_name(model, tag, seed)
    shell = '. steps/run_name.sh; run_name "$@"'
    done = call(repo, "bash", "-euc", shell, "-", model, tag, "" if seed is None else str(seed))
    assert done.stdout == f"{name}\n"


def test_only_run_name_makes_names_of_models(repo):
    """No other script replaces the slashes of a model's name, or adds a seed to it."""
    paths = [repo / "run.sh", *repo.glob("steps/*.sh"), *repo.glob("asrlib/**/*.py")]
    code = {p.name: re.sub(r"(?m)^ *#.*", "", p.read_text(encoding="utf-8")) for p in paths}
    made = re.compile(r"//\\//_|_seed\$|_seed\{|replace\([\"']/[\"'], [\"']_")
    assert {name for name, text in code.items() if made.search(text)} == {"run_name.sh", "runs.py"}
