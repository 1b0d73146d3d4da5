"""Mixture sets on disk, in conditions like LibriCSS's, with reference turns in common formats.

`data/mix_<set>/` holds `cuts.jsonl.gz` (one cut per mixture, with its condition in `custom`), the
audio in `flac/`, the plans in `plan.jsonl`, and the reference turns in `truth.rttm`, `truth.stm`
and `truth.seglst.json`.

Conditions (LibriCSS, arXiv 2001.11482): 0S and 0L have no overlap, and pauses of 0.1-0.5 s and
2.9-3 s. In OVnn, two people talk during nn % of the time in which anybody talks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from lhotse.utils import fastcopy
from tqdm import tqdm

from asrlib.data.manifests import write_cuts
from asrlib.data.mixing import Mixer
from asrlib.data.mixtures import (
    Mixture,
    MixturePlanner,
    Voice,
    overlap_ratio,
)
from asrlib.data.reference_turns import write_reference_turns
from asrlib.errors import ConfigError, DataError
from asrlib.files import atomic_dir

MIXTURES_VERSION = 1  # raised when the output of `mixtures` changes; see asrlib/stamps.py
PAUSES = {"0S": (0.1, 0.5), "0L": (2.9, 3.0)}
_TRIES = 200
_TOLERANCE = 0.02  # largest error of the overlap ratio; LibriCSS's own sessions stay within it
PLAN_FILE = "plan.jsonl"
FILES = ("cuts.jsonl.gz", PLAN_FILE)


def plan_sets(planner: MixturePlanner, name: str) -> list[Mixture]:
    """Plan a set: `per_condition` mixtures of each condition, with at least two turns each.

    Raises:
        ConfigError: a condition is unknown, or mixtures may not have two turns.
        DataError: no layout of the utterances meets a condition; the message names it.
    """
    config = planner.config
    if config.turns[1] < 2:
        raise ConfigError(
            "mixtures.turns: a test mixture needs two turns", "raise the maximum, e.g. write [1, 5]"
        )
    plans = []
    for number, condition in enumerate(config.conditions):
        layout = _parse(condition)
        for index in range(config.per_condition):
            seed = (config.seed, number, index)
            plans.append(_plan(planner, f"{name}-{condition}-{index:04d}", condition, layout, seed))
    return plans


def _parse(condition: str) -> tuple[float, float] | float:
    """Return the range of pauses (s) or the overlap ratio of a condition."""
    if condition in PAUSES:
        return PAUSES[condition]
    match = re.fullmatch(r"OV(\d+)", condition)
    if match and 0 < int(match[1]) <= 60:
        return int(match[1]) / 100
    raise ConfigError(
        f"mixtures.conditions: there is no {condition}",
        "choose among 0S, 0L, OV1 to OV60 (overlap in %)",
    )


def _plan(
    planner: MixturePlanner,
    id: str,
    condition: str,
    layout: tuple[float, float] | float,
    seed: tuple[int, ...],
) -> Mixture:
    config = planner.config
    rng = np.random.default_rng(seed)
    for _ in range(_TRIES):
        turns = int(rng.integers(max(2, config.turns[0]), max(2, config.turns[1]) + 1))
        voices = planner.draw(rng, turns)
        lengths = np.array([v.length for v in voices])
        if isinstance(layout, tuple):
            starts = np.cumsum([0.0, *(lengths[:-1] + rng.uniform(*layout, turns - 1))])
        else:
            starts = _overlapping(rng, lengths, layout)
        ends = starts + lengths
        if ends.max() > config.max_duration - 2 * config.edge:
            continue
        if isinstance(layout, float):
            spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
            legal = _legal(voices, spans)
            if not legal or abs(overlap_ratio(spans) - layout) > _TOLERANCE:
                continue
        chosen = list(zip(voices, starts.tolist(), strict=True))
        return planner.finish(id, rng, chosen, condition)
    raise DataError(
        f"{planner.name}: no mixture of condition {condition} found in {_TRIES} tries",
        "raise mixtures.max_duration, or leave the condition out of mixtures.conditions",
    )


def _overlapping(rng: np.random.Generator, lengths_T: np.ndarray, ratio: float) -> np.ndarray:
    """Draw starts of turns that each overlap the next, with an overlap ratio of `ratio` in all."""
    shorter = np.minimum(lengths_T[:-1], lengths_T[1:])
    weights = shorter * rng.uniform(0.5, 1.5, len(shorter))
    # overlap / (speech - overlap) = ratio
    overlap = ratio / (1 + ratio) * lengths_T.sum()
    overlaps = np.minimum(weights / weights.sum() * overlap, 0.95 * shorter)
    return np.cumsum([0.0, *(lengths_T[:-1] - overlaps)])


def _legal(voices: Sequence[Voice], spans: Sequence[tuple[float, float]]) -> bool:
    """Check that at most two people talk at once, and that nobody overlaps their own turn."""
    for start, _ in spans:
        talking = [v.speaker for v, (a, b) in zip(voices, spans, strict=True) if a <= start < b]
        if len(talking) > 2 or len(set(talking)) < len(talking):
            return False
    return True


def write_set(directory: Path, plans: Sequence[Mixture], mixer: Mixer) -> None:
    """Mix and write a set; the complete set replaces an older one.

    Args:
        directory: directory of the set.
        plans: mixtures of the set.
        mixer: mixer of the set's utterances.

    Raises:
        DataError: an utterance cannot be read.
    """
    with atomic_dir(directory) as temp:
        (temp / "flac").mkdir()
        stored = []
        for plan in tqdm(plans, desc=f"mix {directory.name}", unit="mixture", disable=None):
            cut, samples_N = mixer.render(plan)
            soundfile.write(temp / "flac" / f"{plan.id}.flac", samples_N, cut.sampling_rate)
            path = directory.resolve() / "flac" / f"{plan.id}.flac"
            stored.append(_stored(cut, path, len(samples_N), plan))
        with open(temp / "plan.jsonl", "w", encoding="utf-8") as f:
            f.writelines(json.dumps(asdict(plan), sort_keys=True) + "\n" for plan in plans)
        write_cuts(temp / "cuts.jsonl.gz", stored)
        write_reference_turns(temp, stored)


def write_cut_set(directory: Path, cuts: Sequence[MonoCut]) -> None:
    """Write a set whose audio exists already, such as recordings with real overlap."""
    with atomic_dir(directory) as temp:
        write_cuts(temp / "cuts.jsonl.gz", cuts)
        write_reference_turns(temp, cuts)


def _stored(cut: Cut, path: Path, num_samples: int, plan: Mixture) -> MonoCut:
    rate = cut.sampling_rate
    source = AudioSource(type="file", channels=[0], source=str(path))
    recording = Recording(plan.id, [source], rate, num_samples, num_samples / rate)
    supervisions = [
        fastcopy(s, recording_id=plan.id, channel=0, custom=dict(s.custom or {}))
        for s in sorted(cut.supervisions, key=lambda s: s.start)
    ]
    overlap = round(overlap_ratio([(s.start, s.end) for s in supervisions]), 4)
    # The noise level is in the manifest, so that sets with other noise are decoded again.
    noise = {} if plan.noise_snr is None else {"noise_snr": plan.noise_snr}
    return MonoCut(
        id=plan.id,
        start=0.0,
        duration=recording.duration,
        channel=0,
        supervisions=supervisions,
        recording=recording,
        custom={"condition": plan.condition, "overlap_ratio": overlap, **noise},
    )
