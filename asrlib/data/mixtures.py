"""Mixtures of talkers, planned by a seed.

A plan (`Mixture`) says which utterance starts when, how loud, and on which output channel; it is
small and reads no audio. `asrlib.data.mixing.Mixer` makes the lhotse cut and the audio of a plan.
Everything about a mixture follows from its seed, its configuration and the utterances, in any
process.

Rules of arXiv 2205.05199, section 3: 1-5 utterances, level difference U[-5, 5] dB, room impulse
responses, the next start after U(0.5 s, length of the previous), at most 30 s. Ours: pauses, the
number of people, levels against the first turn, a noise under all of it, never more than two at
once (two channels hold no more), and that a turn lasts from its first word to its last where word
times are known.
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
# Turns that touch do not overlap, whatever the rounding of their times (s).
_TOUCH = 1e-4
_LOUDEST = 60  # dB that a turn may be above another


@configclass
class MixtureConfig:
    """conf/mixtures.yaml, where each key is explained.

    Attributes:
        turns, talkers: fewest and most in a mixture.
        level_db: dB; levels against the first turn are U[-level_db, level_db].
        min_gap, max_pause, edge, max_duration, max_t60: seconds.
        pause_probability, reverb_probability: 0 to 1.
        rooms: random rooms that training draws from; 0 for a new one in every mixture. The sets on
            disk have new ones.
        impulse_responses: lhotse's recording manifest of a given set, in place of random rooms.
        noise_snr: dB, range of speech over the noise that lies under a whole mixture; () for none:
            then the noise of every recording begins and ends with it, and so tells of turns.
        max_frames, max_tokens: bounds on a training batch, as those of `DataConfig`: a mixture is
            as long as several utterances, and a batch of few rows is slow.
        per_epoch: training mixtures in an epoch; 0 for as many as use every utterance once.
        masks: whether training has SpecAugment's, as conf/augment.yaml says.
        train: keys of conf/train.yaml with the values that they have in training on mixtures.
        sets, conditions, per_condition, seed: of the sets on disk.
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
                    f"mixtures.{key}: {low} to {high}", "write [fewest, most], from 1"
                )
        if self.turns[1] > 1 and self.talkers[1] < 2:
            raise ConfigError(
                f"mixtures.talkers: at most {self.talkers[1]}, but turns are taken by several",
                "write [2, 4], or mixtures.turns as [1, 1]",
            )
        for key in ("pause_probability", "reverb_probability"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"mixtures.{key}: is not within [0, 1]", "fix the value")
        for key in ("level_db", "min_gap", "max_pause", "edge", "rooms", "per_epoch", "seed"):
            if getattr(self, key) < 0:
                raise ConfigError(f"mixtures.{key}: is negative", "write 0 for none")
        if len(self.noise_snr) not in (0, 2) or list(self.noise_snr) != sorted(self.noise_snr):
            raise ConfigError(
                f"mixtures.noise_snr: {list(self.noise_snr)}", "write [lowest, highest], or []"
            )
        if not self.conditions:
            raise ConfigError("mixtures.conditions: none", "name some, for example 0L and OV20")
        if self.level_db > _LOUDEST:
            raise ConfigError(f"mixtures.level_db: is above {_LOUDEST} dB", "fix the value")
        if self.max_t60 <= 0.1:
            raise ConfigError("mixtures.max_t60: must be above 0.1 s", "fix the value")
        for key in ("max_duration", "per_condition", "max_frames", "max_tokens"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"mixtures.{key}: must be positive", "fix the value")

    def of_sets(self) -> dict[str, Any]:
        """Plain values, without what only training needs."""
        training = ("rooms", "masks", "train")
        return {key: value for key, value in to_dict(self).items() if key not in training}


@dataclass(frozen=True)
class PlannedTurn:
    """One turn of a plan.

    Attributes:
        cut: id of the utterance's cut.
        speaker: who talks.
        start, end: s, where speech starts and ends in the mixture.
        offset: s, where the utterance's cut starts in the mixture: earlier than its speech.
        level_db: against the first turn.
        channel: output channel.
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
    """A plan.

    Attributes:
        turns: in order of start.
        duration: s.
        room_seed: of the random room, or None for none.
        noise_snr: dB, speech over the noise that lies under all of it, or None for none.
        condition: the name of a test condition, or empty.
    """

    id: str
    turns: tuple[PlannedTurn, ...]
    duration: float
    room_seed: int | None = None
    noise_snr: float | None = None
    condition: str = ""

    def overlap_ratio(self) -> float:
        """Time with two talkers over time with any."""
        return overlap_ratio([(t.start, t.end) for t in self.turns])


def digest(mixtures: Iterable[Mixture]) -> str:
    """SHA-256 of plans: the same seed, utterances and configuration give the same."""
    lines = "".join(json.dumps(asdict(m), sort_keys=True) + "\n" for m in mixtures)
    return hashlib.sha256(lines.encode()).hexdigest()


def overlap_ratio(spans: Sequence[tuple[float, float]]) -> float:
    """Time in which two of the spans hold, over time in which any does; 0 of none."""
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
    """The output channel of each turn.

    `paper` (arXiv 2205.05199): in order of start, stay in the channel, and switch when the turn
    overlaps the one before. `first_free`: the first channel whose last turn has ended (lhotse's
    SURT dataset). Turns that touch do not overlap. With never more than two talkers at once both
    keep overlapping turns apart.

    Args:
        spans: (start, end) of the turns, s, in order of start.
        name: the mixture, for the error.

    Raises:
        DataError: more than two talk at once, which two channels cannot hold.
    """
    channels: list[int] = []
    busy_until = [-np.inf] * NUM_CHANNELS
    previous_end, channel = -np.inf, 0
    for start, end in spans:
        free = [c for c in range(NUM_CHANNELS) if busy_until[c] <= start + _TOUCH]
        if not free:
            raise DataError(
                f"{name}: three talkers at once at {start:.2f} s, for two output channels",
                "leave this mixture out, or cut it where fewer talk",
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
    """An utterance as a plan sees it: speech from `lead` to `lead + length` of `duration` s."""

    cut: str
    speaker: str
    lead: float
    length: float
    duration: float


class MixturePlanner:
    """Plans mixtures of a set's utterances.

    Args:
        cuts: one supervision each, as stage 1 leaves them; they are taken in order of id.
        name: the set, for errors.

    Raises:
        DataError: an utterance without a supervision, text or speaker; fewer than two speakers
            where a mixture needs two; no utterance that fits into `max_duration`.
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
                f"{name}: one speaker only ({self._speakers[0]}), a mixture needs two",
                "choose a set with more, or write mixtures.turns: [1, 1]",
            )

    def random(self, id: str, *seed: int) -> Mixture:
        """A training mixture: 1-5 turns that overlap or not, by the paper's rule or a pause."""
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
        """Utterances for a mixture, none twice if it can be helped, no speaker twice in a row."""
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
        # No third talker, so all but one must have ended; and nobody talks over himself.
        own = [s + v.length for v, s in chosen if v.speaker == voice.speaker]
        return max([start + gap, *ends[-2:-1], *own])

    def finish(
        self,
        id: str,
        rng: np.random.Generator,
        chosen: Sequence[tuple[Voice, float]],
        condition: str = "",
    ) -> Mixture:
        """Levels, room, silence at the edges and channels of voices at their starts (s)."""
        config = self.config
        # Times to the millisecond: what stands in RTTM and SegLST is what is heard.
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
            f"cut {cut.id}: has no transcript or no speaker", "leave it out of the mixtures' set"
        )
    words = (supervision.alignment or {}).get("word")
    start, end = (words[0].start, words[-1].end) if words else (0.0, cut.duration)
    start, end = round(max(0.0, start), 3), round(min(end, cut.duration), 3)
    return Voice(cut.id, supervision.speaker, start, round(end - start, 3), cut.duration)
