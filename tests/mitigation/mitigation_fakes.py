"""A small recipe with cohorts: a training set, a set to discover on, and a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from click.testing import CliRunner
from lhotse import CutSet
from lhotse.cut import Cut
from small_transducer import FBANK, tokenizer, transducer, write_recipe, write_set

from asrlib.checkpoint_file import save
from asrlib.cli.train import command
from asrlib.transducer.model import Transducer
from asrlib.transducer.model_io import KIND, load_transducer, transducer_payload

START = "exp/start/final.pt"
COHORTS = "mitigation.cohorts.directory=exp/cohorts/tree"
SETS = "mitigation.cohorts.sets=[discovery]"
SHORT = ("train.max_steps=4", "train.valid_interval=2", "train.warmup_steps=1")


def speaking(cuts: CutSet, prefix: str, count: int) -> CutSet:
    """The cuts, spoken in turn by `count` speakers PREFIX0, PREFIX1, ..."""
    cuts = list(cuts)
    for number, cut in enumerate(cuts):
        cut.supervisions[0].speaker = f"{prefix}{number % count}"
    return CutSet.from_cuts(cuts)


def write_cohort_recipe(directory: Path) -> Path:
    """Six training speakers, four on dev, and six of the set discovery; d0 to d3 are at the bottom.

    Of these, d3 is for confirmation.
    """
    recipe = write_recipe(directory)
    data, people = recipe / "data", {"train": 6, "dev": 4, "discovery": 6}
    write_set(data / "fbank" / "discovery", 12, 3)
    (data / "discovery").mkdir()
    rows = ["speaker\tset"]
    for name, count in people.items():
        path = data / name / "cuts_fbank.jsonl.gz"
        cuts = CutSet.from_file(path) if path.exists() else write_set(data / "fbank" / name, 12, 3)
        speaking(cuts, name[:1] if name != "dev" else "v", count).to_file(path)
        rows += [f"{name[:1] if name != 'dev' else 'v'}{i}\t{name}" for i in range(count)]
    (data / "speakers.tsv").write_text("\n".join(rows) + "\n")
    write_cohorts(recipe, {f"d{i}": "bottom" if i < 4 else "top" for i in range(6)}, {"d3"})
    save_model(transducer(seed=3), recipe / START)
    return recipe


def write_cohorts(recipe: Path, cohorts: dict[str, str], confirmation: set[str]) -> Path:
    path = recipe / "exp" / "cohorts" / "tree" / "cohorts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "speaker": speaker,
            "cohort": cohort,
            "method": "tree",
            "split": "confirmation" if speaker in confirmation else "discovery",
        }
        for speaker, cohort in cohorts.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def save_model(model: Transducer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = transducer_payload(model, tokenizer(), FBANK)
    save(path, KIND, {"model": model.state_dict(), "payload": payload, "facts": {}})


def adapt(recipe: Path, name: str, *overrides: str, init: str | None = START) -> Path:
    """Adapt the start, and return the file of the adapted model; errors are raised as they are."""
    words = ["--recipe-dir", str(recipe), "--model", "tiny", "--name", name]
    words += ["--init", str(recipe / init)] if init else []
    for override in (COHORTS, SETS, *SHORT, *overrides):
        words += ["--set", override]
    result = CliRunner().invoke(command, words, standalone_mode=False)
    if result.exception:
        raise result.exception
    return recipe / "exp" / name / "final.pt"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_transducer(path).model.state_dict()


def ids(cuts: CutSet | list[Cut]) -> list[str]:
    return [cut.id for cut in cuts]
