"""Plans of mixtures of talkers, drawn from a seed.

A plan (`Mixture`) says when each utterance starts, how loud it is, and on which output channel it
is. It is small and needs no audio; `asrlib.data.mixing.Mixer` makes its lhotse cut and audio. A
mixture depends only on its seed, its configuration and the utterances, in any process.

Rules of arXiv 2205.05199, section 3: 1-5 utterances, level difference U[-5, 5] dB, room impulse
responses, the next start after U(0.5 s, length of the previous), at most 30 s. Our choices:
pauses, the number of people, levels relative to the first turn, noise under the whole mixture, at
most two people at once (two channels hold no more), and turns that last from the first to the last
word where word times are known.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from lhotse import MonoCut

from asrlib.config import configclass, to_dict
from asrlib.errors import ConfigError, DataError

NUM_CHANNELS = 2
Assignment = Literal["paper", "first_free"]
# Overlaps up to this (s) are rounding errors: turns that touch do not overlap.
_TOUCH = 1e-4
_LOUDEST = 60  # upper limit of level_db, dB


@configclass
class MixtureConfig:
    """Section `mixtures` of the configuration; conf/mixtures.yaml explains each key.

    Attributes:
        turns, talkers: smallest and largest number in a mixture.
        level_db: dB; levels relative to the first turn are U[-level_db, level_db].
        min_gap, max_pause, edge, max_duration, max_t60: seconds.
        pause_probability, reverb_probability: probabilities from 0 to 1.
        rooms: number of random rooms shared by the training mixtures; 0 gives each mixture a room
            of its own, as in the sets on disk.
        impulse_responses: lhotse recording manifest of impulse responses, used in place of random
            rooms; empty for random rooms.
        noise_snr: range of the speech level over the noise under a whole mixture, dB; () for no
            such noise. Without it, the noise of each recording starts and ends with its turn, so
            that it reveals the turns.
        assignment: rule that gives turns to output channels, see `assign_channels`.
        max_frames, max_tokens: bounds on a training batch like those of `DataConfig`. They have
            keys of their own: a mixture is as long as several utterances, and a batch with few
            rows is slow.
        per_epoch: number of training mixtures in an epoch; with 0, every utterance is used once
            on average.
        masks: whether training uses the SpecAugment masks of conf/augment.yaml.
        train: keys of conf/train.yaml with their values for training on mixtures.
        sets, conditions, per_condition, seed: settings of the sets on disk.
    """

    turns: tuple[int, int] = (1, 5)
    talkers: tuple[int, int] = (2, 4)
    level_db: float = 5.0
    min_gap: float = 0.5
    pause_probability: float = 0.3
    max_pause: float = 2.0
    edge: float = 0.5
    max_duration: float = 30.0
    reverb_probability: float = 0.5
    max_t60: float = 0.5
    rooms: int = 250
    impulse_responses: str = ""
    noise_snr: tuple[float, ...] = (15.0, 30.0)
    assignment: Assignment = "paper"
    max_frames: int = 8000
    max_tokens: int = 4000
    per_epoch: int = 0
    masks: bool = False
    train: dict[str, Any] = field(default_factory=dict)
    sets: tuple[str, ...] = ("dev", "test")
    conditions: tuple[str, ...] = ("0S", "0L", "OV10", "OV20", "OV30", "OV40")
    per_condition: int = 20
    seed: int = 1

    def __post_init__(self) -> None:
        for key in ("turns", "talkers"):
            low, high = getattr(self, key)
            if not 1 <= low <= high:
                raise ConfigError(
                    f"mixtures.{key}: {low} to {high} is not a range above 0",
                    "write [fewest, most], for example [1, 5]",
                )
        if self.turns[1] > 1 and self.talkers[1] < 2:
            raise ConfigError(
                f"mixtures.talkers: at most {self.talkers[1]}, but several turns need two people",
                "write [2, 4], or set mixtures.turns to [1, 1]",
            )
        for key in ("pause_probability", "reverb_probability"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(
                    f"mixtures.{key}: the value is not within [0, 1]", "give a value from 0 to 1"
                )
        for key in ("level_db", "min_gap", "max_pause", "edge", "rooms", "per_epoch", "seed"):
            if getattr(self, key) < 0:
                raise ConfigError(f"mixtures.{key}: the value is negative", "give 0 or more")
        if len(self.noise_snr) not in (0, 2) or list(self.noise_snr) != sorted(self.noise_snr):
            raise ConfigError(
                f"mixtures.noise_snr: {list(self.noise_snr)} is not a range",
                "write [lowest, highest] in dB, or [] for no noise",
            )
        if not self.conditions:
            raise ConfigError(
                "mixtures.conditions: the list is empty", "name conditions, for example 0L and OV20"
            )
        if self.level_db > _LOUDEST:
            raise ConfigError(f"mixtures.level_db: the value is above {_LOUDEST} dB", "lower it")
        if self.max_t60 <= 0.1:
            raise ConfigError("mixtures.max_t60: the value is not above 0.1 s", "raise it")
        for key in ("max_duration", "per_condition", "max_frames", "max_tokens"):
            if getattr(self, key) <= 0:
                raise ConfigError(
                    f"mixtures.{key}: the value is not positive", "give a positive number"
                )

    def of_sets(self) -> dict[str, Any]:
        """Return the settings as plain values, without `rooms`, `masks` and `train` of training."""
        training = ("rooms", "masks", "train")
        return {key: value for key, value in to_dict(self).items() if key not in training}


@dataclass(frozen=True)
class PlannedTurn:
    """One turn of a plan.

    Attributes:
        cut: id of the utterance's cut.
        speaker: speaker id.
        start, end: start and end of the speech in the mixture, seconds.
        offset: start of the utterance's cut in the mixture, seconds, at or before `start`.
        level_db: level relative to the first turn, dB.
        channel: output channel, from 0.
    """

    cut: str
    speaker: str
    start: float
    end: float
    offset: float
    level_db: float
    channel: int


@dataclass(frozen=True)
class Mixture:
    """The plan of a mixture.

    Attributes:
        id: id of the mixture.
        turns: turns in order of start.
        duration: length of the mixture, seconds.
        room_seed: seed of the random room, or None without reverberation.
        noise_snr: speech level over the noise under the whole mixture, dB, or None without noise.
        condition: name of the test condition, or the empty string.
    """

    id: str
    turns: tuple[PlannedTurn, ...]
    duration: float
    room_seed: int | None = None
    noise_snr: float | None = None
    condition: str = ""

    def overlap_ratio(self) -> float:
        """Return the time with two talkers, divided by the time with any talker."""
        return overlap_ratio([(t.start, t.end) for t in self.turns])


def digest(mixtures: Iterable[Mixture]) -> str:
    """Hash plans with SHA-256; equal seeds, utterances and configurations give equal hashes."""
    lines = "".join(json.dumps(asdict(m), sort_keys=True) + "\n" for m in mixtures)
    return hashlib.sha256(lines.encode()).hexdigest()


def overlap_ratio(spans: Sequence[tuple[float, float]]) -> float:
    """Return the time within two spans or more, divided by that within any; 0 without spans."""
    edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    count, last, one, two = 0, 0.0, 0.0, 0.0
    for time, change in edges:
        one += (time - last) * (count > 0)
        two += (time - last) * (count > 1)
        count, last = count + change, time
    return two / one if one else 0.0


def assign_channels(
    spans: Sequence[tuple[float, float]], rule: Assignment = "paper", name: str = "mixture"
) -> list[int]:
    """Assign an output channel to each turn.

    Rule `paper` (arXiv 2205.05199): a turn has the channel of the previous turn, in order of start,
    unless it overlaps that turn; then the channel changes. Rule `first_free` (lhotse's SURT
    dataset): a turn has the first channel whose last turn has ended. Turns that touch do not
    overlap. With at most two talkers at once, both rules keep overlapping turns apart.

    Args:
        spans: (start, end) of the turns, seconds, in order of start.
        rule: `paper` or `first_free`.
        name: name of the mixture in the error.

    Raises:
        DataError: more than two people talk at once, which two channels cannot hold.
    """
    channels: list[int] = []
    busy_until = [-np.inf] * NUM_CHANNELS
    previous_end, channel = -np.inf, 0
    for start, end in spans:
        free = [c for c in range(NUM_CHANNELS) if busy_until[c] <= start + _TOUCH]
        if not free:
            raise DataError(
                f"{name}: three talkers at once at {start:.2f} s, but only two output channels",
                "leave this mixture out, or cut it where fewer people talk",
            )
        if rule == "first_free":
            channel = free[0]
        elif start < previous_end - _TOUCH:
            channel = 1 - channel
        channels.append(channel)
        busy_until[channel], previous_end = max(busy_until[channel], end), end
    return channels


@dataclass(frozen=True)
class Voice:
    """An utterance for planning: speech from `lead` to `lead + length` in `duration` seconds."""

    cut: str
    speaker: str
    lead: float
    length: float
    duration: float


class MixturePlanner:
    """Plans mixtures of a set's utterances.

    Args:
        cuts: utterances with one supervision each, as stage 1 leaves them; they are sorted by id.
        config: settings of the mixtures.
        name: name of the set in errors.

    Raises:
        DataError: an utterance has no supervision, text or speaker; there is only one speaker, but
            a mixture needs two; or no utterance fits into `max_duration`.
    """

    def __init__(self, cuts: Iterable[MonoCut], config: MixtureConfig, name: str = "cuts") -> None:
        self.config = config
        self.name = name
        voices = [_voice(cut) for cut in sorted(cuts, key=lambda cut: cut.id)]
        fit = [v for v in voices if v.duration <= config.max_duration - 2 * config.edge]
        if len(fit) < len(voices):
            logging.info("%s: %d utterances too long for a mixture", name, len(voices) - len(fit))
        if not fit:
            raise DataError(
                f"{name}: no utterance fits into {config.max_duration:g} s",
                "raise mixtures.max_duration",
            )
        self._by_speaker: dict[str, list[Voice]] = {}
        for voice in fit:
            self._by_speaker.setdefault(voice.speaker, []).append(voice)
        self._speakers = sorted(self._by_speaker)
        self.num_utterances = len(fit)
        if len(self._speakers) < 2 and config.turns[1] > 1:
            raise DataError(
                f"{name}: one speaker only ({self._speakers[0]}), but a mixture needs two",
                "choose a set with more speakers, or write mixtures.turns: [1, 1]",
            )

    def random(self, id: str, *seed: int) -> Mixture:
        """Plan a training mixture; each turn starts by the paper's rule or after a pause."""
        rng = np.random.default_rng(seed)
        config = self.config
        chosen: list[tuple[Voice, float]] = []
        for voice in self.draw(rng, int(rng.integers(config.turns[0], config.turns[1] + 1))):
            start = self._next_start(rng, voice, chosen)
            if chosen and start + voice.length > config.max_duration - 2 * config.edge:
                break
            chosen.append((voice, start))
        return self.finish(id, rng, chosen)

    def draw(self, rng: np.random.Generator, turns: int) -> list[Voice]:
        """Draw utterances, no speaker twice in a row, and no utterance twice if avoidable."""
        low, high = (min(n, len(self._speakers)) for n in self.config.talkers)
        talkers = max(min(2, turns), min(turns, int(rng.integers(low, high + 1))))
        drawn = rng.choice(len(self._speakers), talkers, replace=False)
        people = [self._speakers[i] for i in drawn]
        voices: list[Voice] = []
        for _ in range(turns):
            others = [p for p in people if not voices or p != voices[-1].speaker]
            own = self._by_speaker[others[int(rng.integers(len(others)))]]
            fresh = [v for v in own if v not in voices] or own
            voices.append(fresh[int(rng.integers(len(fresh)))])
        return voices

    def _next_start(
        self, rng: np.random.Generator, voice: Voice, chosen: Sequence[tuple[Voice, float]]
    ) -> float:
        if not chosen:
            return 0.0
        previous, start = chosen[-1]
        ends = sorted(s + v.length for v, s in chosen)
        if rng.random() < self.config.pause_probability:
            return ends[-1] + rng.uniform(0, self.config.max_pause)
        gap = rng.uniform(min(self.config.min_gap, previous.length), previous.length)
        # All turns but one must have ended, so that no third person talks; and nobody overlaps
        # their own turn.
        own = [s + v.length for v, s in chosen if v.speaker == voice.speaker]
        return max([start + gap, *ends[-2:-1], *own])

    def finish(
        self,
        id: str,
        rng: np.random.Generator,
        chosen: Sequence[tuple[Voice, float]],
        condition: str = "",
    ) -> Mixture:
        """Complete a plan of voices and start times (s): levels, room, noise, edges, channels."""
        config = self.config
        # Times are rounded to 1 ms, so that RTTM and SegLST state the exact times.
        lead = max(v.lead - s for v, s in chosen) + rng.uniform(0, config.edge)
        starts = [round(s + max(lead, 0.0), 3) for _, s in chosen]
        spans = [(s, round(s + v.length, 3)) for s, (v, _) in zip(starts, chosen, strict=True)]
        channels = assign_channels(spans, config.assignment, id)
        turns: list[PlannedTurn] = []
        for (voice, _), (start, end), channel in zip(chosen, spans, channels, strict=True):
            level = float(rng.uniform(-config.level_db, config.level_db)) if turns else 0.0
            offset = round(start - voice.lead, 3)
            turns.append(PlannedTurn(voice.cut, voice.speaker, start, end, offset, level, channel))
        last = max(t.offset + v.duration for t, (v, _) in zip(turns, chosen, strict=True))
        last = math.ceil(1000 * last) / 1000
        room = int(rng.integers(2**31)) if rng.random() < config.reverb_probability else None
        duration = round(last + rng.uniform(0, config.edge), 3)
        snr: float | None = None
        if config.noise_snr:
            low, high = config.noise_snr
            snr = round(float(rng.uniform(low, high)), 2)
        return Mixture(id, tuple(turns), duration, room, snr, condition)


def _voice(cut: MonoCut) -> Voice:
    supervision = cut.supervisions[0] if cut.supervisions else None
    if supervision is None or not (supervision.text or "").strip() or not supervision.speaker:
        raise DataError(
            f"cut {cut.id}: has no transcript or no speaker",
            "leave it out of the set that is mixed",
        )
    words = (supervision.alignment or {}).get("word")
    start, end = (words[0].start, words[-1].end) if words else (0.0, cut.duration)
    start, end = round(max(0.0, start), 3), round(min(end, cut.duration), 3)
    return Voice(cut.id, supervision.speaker, start, round(end - start, 3), cut.duration)
