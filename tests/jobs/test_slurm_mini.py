"""Stages 0 to 13 of a small mini on Slurm and on this machine: the same numbers."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_run_sh import copied
from test_slurm import slurm_conf as slurm_conf

OPTIONS = ["--nj", "2", "--models", "lstm", "--speaker-models", "speaker/ecapa", "--retries", "1"]
OPTIONS += [
    "--cohort-methods",
    "metadata",
    "--mitigate-for",
    "metadata",
    "--mitigations",
    "general",
]
SETTINGS = {
    "corpus.scale": 0.02,
    "corpus.sets.dev.speakers": 150,  # three after scaling: verification needs impostors
    "corpus.sets.test.speakers": 200,
    **{
        f"corpus.sets.{name}.seconds_per_speaker": 6
        for name in ("train", "dev", "test", "discovery", "confirmation")
    },
    "train.max_steps": 12,
    "train.valid_interval": 6,
    "train.num_workers": 0,
    "cohorts.min_speakers": 2,
    "cohorts.automatic.clusters": [3],
    "cohorts.automatic.components": 4,
    "cohorts.automatic.bottom_share": 0.4,
    "cohorts.automatic.top_share": 0.4,
    "cohorts.permutations": 9,
    "score.permutations": 100,
    "score.replicates": 100,
    "verification.replicates": 100,
    "verification.permutations": 100,
}
SMALL = {
    "lstm": {
        "encoder": {"input_dim": 32, "lstm": {"layers": 1, "hidden_dim": 32}, "output_dim": 32},
        "predictor": {"output_dim": 32},
        "joiner_dim": 32,
    },
    "speaker/ecapa": {"extractor": {"channels": 16, "aggregate_dim": 16, "embedding_dim": 16}},
}


def house(repo: Path, folder: Path) -> Path:
    """A copy of the repository in which mini is small."""
    copied(repo, folder)
    (folder / ".venv").symlink_to(repo / ".venv")
    conf = folder / "egs" / "mini" / "conf"
    shutil.rmtree(folder / "egs" / "mini" / "results")
    for model, settings in SMALL.items():
        (conf / "model" / f"{model}.yaml").write_text(yaml.safe_dump(settings))
    for name in sorted({key.partition(".")[0] for key in SETTINGS}):
        path = conf / f"{name}.yaml"
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        for key, value in SETTINGS.items():
            section, *inner, last = key.split(".")
            if section == name:
                place = content
                for part in inner:
                    place = place.setdefault(part, {})
                place[last] = value
        path.write_text(yaml.safe_dump(content))
    speaker = {"speakers": 3, "train": {"max_steps": 4, "valid_interval": 2}}
    (conf / "speaker.yaml").write_text(yaml.safe_dump(speaker))
    adapted = {"adaptation": {"train": {"max_steps": 4, "warmup_steps": 1, "valid_interval": 2}}}
    (conf / "mitigation.yaml").write_text(yaml.safe_dump(adapted))
    return folder


def run(folder: Path, engine: str, *options: str) -> str:
    """Run all stages; their output."""
    command = [folder / "run.sh", "--engine", engine, *OPTIONS, *options]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


SCORES = ("scores.json", "verification.json", "confirmation.json", "mitigations.json")
# What depends on the machine's load, on time or on the place of the files.
VARYING = ("seconds", "real_time", "rtf", "memory", "machine", "created", "time", "commit", "run")


def numbers(content: Any) -> Any:
    """The content without what varies from run to run."""
    if isinstance(content, dict):
        return {
            key: numbers(value)
            for key, value in content.items()
            if not any(word in key for word in VARYING)
        }
    if isinstance(content, list):
        return [numbers(value) for value in content]
    return content


def results(folder: Path) -> dict[str, Any]:
    """Scores, counts of utterances, and manifests, by path."""
    recipe, found = folder / "egs" / "mini", {}
    for path in sorted(recipe.glob("exp/**/*.json*")):
        if path.suffix == ".jsonl":
            found[str(path.relative_to(recipe))] = path.read_text()
        elif path.name in SCORES:
            found[str(path.relative_to(recipe))] = numbers(json.loads(path.read_text()))
    for path in sorted(recipe.glob("data/*/cuts.jsonl.gz")):
        text = gzip.decompress(path.read_bytes()).decode()
        found[str(path.relative_to(recipe))] = text.replace(str(folder), "")
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slurm_leaves_the_numbers_that_this_machine_leaves(slurm_conf, repo, tmp_path, monkeypatch):
    found = {}
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for engine in ("local", "slurm"):
        if engine == "slurm":
            monkeypatch.setenv("SLURM_CONF", str(slurm_conf))
        told = run(house(repo, tmp_path / engine), engine)
        assert "== stage 13" in told
        found[engine] = results(tmp_path / engine)
    counts = [name for name in found["local"] if name.endswith("utt_counts.jsonl")]
    assert len(counts) >= 4
    assert found["slurm"] == found["local"]
    log = tmp_path / "slurm/egs/mini/exp/log/train/lstm.log"
    assert "$ steps/train.sh --model lstm" in log.read_text()
