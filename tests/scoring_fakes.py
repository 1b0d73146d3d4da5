"""A recipe that was decoded by systems whose error rates are known because we plant them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import yaml

from asrlib.experiments.run_record import GitState, RunRecord
from asrlib.scoring.records import Machine
from asrlib.scoring.score import ScoreConfig, score_decode

QUICK = ScoreConfig(replicates=200, groups=("accent",), bands={}, pairs=())
WORDS = ["ALARM", "SEVEN", "PLAY", "MUSIC", "KITCHEN", "LIGHTS", "OFF", "WHAT", "WEATHER"]


def entry(id: str, speaker: str, ref: str, hyp: str, **extra) -> dict:
    """A line of hyp.jsonl without times."""
    return {"id": id, "speaker": speaker, "ref": ref, "hyp": hyp, "duration": 2.0, **extra}


def timed(words: str, start: float = 0.0, step: float = 0.5, lag: float = 0.0) -> list[list]:
    """Words one after the other, `step` seconds each, all late by `lag`."""
    return [
        [w, start + i * step, start + (i + 1) * step + lag] for i, w in enumerate(words.split())
    ]


def write_decode(directory: Path, entries: list[dict], **meta) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(e) for e in entries]
    (directory / "hyp.jsonl").write_text("".join(f"{x}\n" for x in lines))
    name, _, search = directory.name.removeprefix("decode_").rpartition("_")
    content = {
        "model": directory.parent.name,
        "set": name,
        "search": search,
        "audio_seconds": 2.0 * len(entries),
        "real_time_factor": 0.05,
        "peak_memory_mb": 410.0,
        "parameters": {"encoder": 3_000_000, "joiner": 200_000},
        "machine": {"cpu": "a processor", "cores": 4},
        "threads": 1,
        "streams": 1,
        **meta,
    }
    (directory / "meta.json").write_text(json.dumps(content))
    return directory


def planted_entries(rates: dict[str, float], seed: int, utterances: int = 12) -> list[dict]:
    """Utterances of each speaker in which a word is wrong with the speaker's own rate."""
    entries = []
    texts, faults = random.Random(7), random.Random(seed)
    for speaker, rate in rates.items():
        for n in range(utterances):
            ref = [texts.choice(WORDS) for _ in range(6)]
            hyp = []
            for word in ref:
                fault = faults.random() < rate
                kind = faults.choice("SID") if fault else ""
                hyp += {"S": ["BZZT"], "I": [word, "BZZT"], "D": []}.get(kind, [word])
            ref_text, hyp_text = " ".join(ref), " ".join(hyp)
            times = {
                "ref_words": timed(ref_text),
                "hyp_words": timed(hyp_text, lag=0.1 + 0.2 * faults.random()),
                "final_time": 0.5 * len(ref) + 0.6 + 0.1 * faults.random(),
            }
            entries.append(entry(f"{speaker}-{n:02d}", speaker, ref_text, hyp_text, **times))
    return entries


def planted_speakers(count: int = 20) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Rates and metadata: every fourth speaker has accent `rare` and errs six times as often."""
    rates, rows = {}, []
    for i in range(count):
        rare = i % 4 == 0
        rates[f"s{i:02d}"] = 0.3 if rare else 0.05
        gender = "f" if i % 2 else "m"
        age = "" if i == 1 else str(8 + 2 * i)
        accent = "rare" if rare else "common"
        rows.append(
            {"speaker": f"s{i:02d}", "set": "test", "gender": gender, "age": age, "accent": accent}
        )
    return rates, rows


def write_speakers(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0])] + ["\t".join(r.values()) for r in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def planted_recipe(recipe: Path) -> Path:
    """A recipe with two systems, one of them in two seeds, decoded but not scored."""
    rates, rows = planted_speakers()
    write_speakers(recipe / "data" / "speakers.tsv", rows)
    better = {s: r / 2 for s, r in rates.items()}
    for name, used, seed in (
        ("lstm", rates, 1),
        ("conv_rnnt_seed1", better, 2),
        ("conv_rnnt_seed2", better, 3),
    ):
        directory = recipe / "exp" / name
        write_decode(directory / "decode_test_greedy", planted_entries(used, seed))
        model, _, number = name.partition("_seed")
        record = run_record(name, model, int(number or 1), model__encoder={"name": model})
        record.to_file(directory / "run.json")
    return recipe


def training_config(**changed: object) -> dict[str, dict]:
    """Settings of a training: `train__epochs=2` changes train.epochs."""
    config = {
        "model": {"encoder": {"name": "lstm"}, "loss": {"ctc_scale": 0.3}},
        "train": {"seed": 1, "peak_lr": 0.004, "epochs": 4, "device": "cpu", "num_threads": 1},
        "data": {"max_frames": 4000},
        "augment": {"speeds": [0.9, 1.0, 1.1]},
        "features": {"num_bins": 80},
    }
    for key, value in changed.items():
        section, *inner, name = key.split("__")
        known = config[section]
        for part in inner:
            known = known[part]
        known[name] = value
    return config


def run_record(
    name: str = "lstm",
    model: str = "lstm",
    seed: int = 1,
    plan: str | None = None,
    factors: dict | None = None,
    data: str = "a",
    **changed: object,
) -> RunRecord:
    """What a training leaves: `train__epochs=2` changes train.epochs."""
    return RunRecord(
        name=name,
        model=model,
        plan=plan,
        factors=factors or {},
        argv=("python", "-m", "asrlib", "train", "--recipe-dir", "egs/demo", "--model", model),
        git=GitState("0123456789abcdef", False),
        config=training_config(**{"train__seed": seed, **changed}),
        data={"train": data, "dev": "b"},
        start=None,
        processor=Machine("a processor", 4, "AVX2"),
        device="cpu",
        versions={"torch": "1.13.1", "asrlib": "0.1.0"},
        started="2026-01-01T00:00:00+00:00",
    )


def plant_run(recipe: Path, record: RunRecord, worse: float = 1.0, seed: int = 1, **meta) -> Path:
    """A run that was trained, decoded and scored; its speakers err `worse` times as planted.

    Args:
        seed: of the errors.

    Returns:
        Its directory under exp/.
    """
    rates, rows = planted_speakers(8)
    write_speakers(recipe / "data" / "speakers.tsv", rows)
    directory = recipe / "exp" / record.name
    entries = planted_entries({s: worse * r for s, r in rates.items()}, seed, utterances=5)
    out = write_decode(directory / "decode_test_greedy", entries, run=record.identity, **meta)
    record.to_file(directory / "run.json")
    (directory / "config.yaml").write_text(yaml.safe_dump(record.config))
    score_decode(out, recipe / "data" / "speakers.tsv", QUICK)
    return directory
