"""A job of a plan: commands of the stages, one after the other, in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from asrlib.config import as_override
from asrlib.experiments.tune_decode import Decoding
from asrlib.jobs import python_command, run_commands
from asrlib.scoring.records import Told


@dataclass(frozen=True)
class Job:
    """Commands of `python -m asrlib`, one after the other."""

    name: str
    commands: tuple[tuple[str, ...], ...]


def decoding(
    name: str,
    sets: Sequence[str],
    searches: Sequence[str],
    common: Sequence[str],
    score: str = "score",
    cohorts: tuple[Told, str] | None = None,
) -> list[tuple[str, ...]]:
    """Return the commands that decode and score a model of exp/.

    Args:
        name: the model's directory.
        common: options of every command.
        score: the command that scores.
        cohorts: what the model is told of cohorts, and their directory; None: it is told nothing.
    """
    told = () if cohorts is None else ("--membership", cohorts[0])
    known = () if cohorts is None else ("--cohorts", cohorts[1])
    commands = []
    for test_set in sets:
        for search in searches:
            where = ("--name", name, "--test-set", test_set, "--search", search, *told)
            commands += [("decode", *where, *known, *common), (score, *where, *common)]
    return commands


def verifying(
    name: str, sets: Sequence[str], common: Sequence[str], reweighted: bool
) -> list[tuple[str, ...]]:
    """Commands that embed dev and the test sets with a speaker model, and score verification.

    Args:
        name: the directory of the model under exp/.
        sets: the test sets.
        common: options of every command.
        reweighted: whether its training has weights, which are shown by group.
    """
    named = ("--name", name)
    commands: list[tuple[str, ...]] = []
    for one in ("dev", *sets):
        commands.append(("embed", *named, "--set-name", one, *common))
    for one in sets:
        commands.append(("score-verification", *named, "--test-set", one, *common))
    if reweighted:
        commands.append(("raised", *named, *common))
    return commands


def tuned_decoding(
    name: str, sets: Sequence[str], tuned: Decoding, common: Sequence[str]
) -> list[tuple[str, ...]]:
    """Commands that choose settings of decoding on dev, then decode and score each test set once.

    Args:
        name: the directory of the model under exp/.
        sets: the test sets.
        tuned: what is tuned, and on which set.
        common: options of every command.
    """
    what = ("--name", name, "--search", tuned.search, "--tag", tuned.tag)
    tried = [
        word
        for key, values in tuned.tune.items()
        for word in ("--try", as_override(key, list(values)))
    ]
    commands: list[tuple[str, ...]] = []
    if tried:
        commands.append(("tune-decode", *what, "--on", tuned.on, *tried, *common))
    used = ("--tuned",) if tried else ()
    for one in sets:
        where = (*what, "--test-set", one)
        commands += [("decode", *where, *used, *common), ("score", *where, *common)]
    return commands


def run_job(job: Job) -> None:
    """Run a job's commands; of a job with several tasks, all train and the first does the rest.

    Raises:
        UserError: a command failed or was stopped.
    """
    first = os.environ.get("SLURM_PROCID", "0") == "0"
    run_commands([python_command(*words) for words in job.commands if first or words[0] == "train"])
