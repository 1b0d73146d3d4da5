"""The stages of the pipeline: their numbers, names and one line of help each.

`run.sh --help` shows the same lines from a copy, because run.sh must work before anything is
installed. A test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage of run.sh.

    Attributes:
        number: number of the stage for `--stage` and `--stop-stage`.
        name: name of the stage.
        help: what the stage does, as `run.sh --help` shows it.
        commands: the commands of `python -m asrlib` that do the stage's work.
    """

    number: int
    name: str
    help: str
    commands: tuple[str, ...] = ()


STAGES = (
    Stage(0, "corpus", "check the installation; generate, find or download the corpus"),
    Stage(
        1,
        "manifests",
        "decode every file once, quarantine the bad, write cuts and the speaker table",
        ("manifests",),
    ),
    Stage(2, "fbank", "kaldifeat features; global mean and variance", ("fbank",)),
    Stage(3, "tokens", "the sentencepiece model", ("tokens",)),
    Stage(4, "train", "every model of --models, for every seed of --seeds", ("train",)),
    Stage(
        5,
        "decode",
        "streaming decoding of every test set, with every search of --searches",
        ("decode",),
    ),
    Stage(6, "score", "WER with intervals, alignments, latency, cost", ("score",)),
    Stage(
        7,
        "talkers",
        "mixtures of two talkers; train, decode, score the models of --talker-models; runs only "
        "when asked for, by --stage 7 or --talker-models",
        ("mixtures", "score-meetings"),
    ),
    Stage(
        8,
        "speakers",
        "train the speaker models of --speaker-models; embed dev, test and the sets of stage 9; "
        "verification errors by group",
        ("embed", "score-verification"),
    ),
    Stage(
        9,
        "cohorts",
        "decode discovery and confirmation; find cohorts on the first, judge them on the second",
        ("cohorts",),
    ),
    Stage(
        10,
        "mitigate",
        "the rows of --mitigations, from one trained model for the same updates; decode them",
        ("plan",),
    ),
    Stage(
        11,
        "fairness",
        "error rates, delays and verification by cohort; mitigations before and after",
        ("judge-mitigations",),
    ),
    Stage(13, "report", "RESULTS.md and one self-contained page, exp/report.html", ("results",)),
)


def stage_of(command: str) -> Stage | None:
    """Return the stage that a command of `python -m asrlib` belongs to; None if there is none."""
    return next((stage for stage in STAGES if command in stage.commands), None)
