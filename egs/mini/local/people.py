"""The speakers of egs/mini: voices, rooms, homes, and the planted groups.

No speaker is a real person. A speaker is a set of parameters of the synthesiser and of the
acoustics, drawn from the ranges in conf/corpus.yaml, and a zip code.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import zipcodes
from pydantic import Field

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.seeds import named_generator

REGIONS = {  # census divisions
    "New England": "CT MA ME NH RI VT",
    "Middle Atlantic": "NJ NY PA",
    "East North Central": "IL IN MI OH WI",
    "West North Central": "IA KS MN MO ND NE SD",
    "South Atlantic": "DC DE FL GA MD NC SC VA WV",
    "East South Central": "AL KY MS TN",
    "West South Central": "AR LA OK TX",
    "Mountain": "AZ CO ID MT NM NV UT WY",
    "Pacific": "AK CA HI OR WA",
}
REGION_OF = {state: name for name, states in REGIONS.items() for state in states.split()}


Noise = Literal["white", "pink", "hum", "babble"]


@configclass
class SetConfig:
    """Size of a set, and which of its possible speakers it has.

    Attributes:
        speakers: number of speakers.
        seconds_per_speaker: audio, with the silence before and after speech.
        seed: 0 for the set's own speakers; each other number draws others, with other ids.
    """

    speakers: int
    seconds_per_speaker: float
    seed: int = Field(default=0, ge=0)


@configclass
class Population:
    """Ranges and choices from which a speaker is drawn; conf/corpus.yaml states the units."""

    accents: dict[str, float]
    rate_wpm: tuple[float, float]
    pitch_semitones: tuple[float, float]
    intonation: tuple[float, float]
    vtl_ratio: tuple[float, float]
    room_rt60: tuple[float, float]
    room_drr_db: tuple[float, float]
    level_dbfs: tuple[float, float]
    snr_db: tuple[float, float]
    noises: tuple[Noise, ...]
    states: tuple[str, ...]
    zip_prefixes: tuple[str, ...]


@configclass
class Group:
    """A planted group: numbers of speakers by set, and its differences from the population."""

    speakers: dict[str, int]
    accents: dict[str, float] | None = None
    rate_wpm: tuple[float, float] | None = None
    pitch_semitones: tuple[float, float] | None = None
    intonation: tuple[float, float] | None = None
    vtl_ratio: tuple[float, float] | None = None
    room_rt60: tuple[float, float] | None = None
    room_drr_db: tuple[float, float] | None = None
    level_dbfs: tuple[float, float] | None = None
    snr_db: tuple[float, float] | None = None
    noises: tuple[Noise, ...] | None = None
    states: tuple[str, ...] | None = None
    zip_prefixes: tuple[str, ...] | None = None

    def applied_to(self, population: Population) -> Population:
        """Return the population, changed as for this group."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(Population)}
        return dataclasses.replace(population, **{k: v for k, v in own.items() if v is not None})


@configclass
class CorpusConfig:
    """Settings of the corpus; conf/corpus.yaml explains each key."""

    seed: int
    scale: float
    reserved_sentences: float
    sets: dict[str, SetConfig]
    voices: dict[str, tuple[str, ...]]
    population: Population
    groups: dict[str, Group]


@dataclass(frozen=True)
class Speaker:
    """One synthetic speaker: all parameters of the audio, and the location of the home.

    Attributes:
        id: speaker id.
        set: name of the set.
        group: name of the planted group, `none` for other speakers.
        gender: `f` or `m`, the gender of the variant.
        accent, variant: language and variant of the synthesiser's voice.
        rate_wpm: words per minute in the audio (after the change of vocal-tract length).
        pitch_semitones: pitch in the audio, in semitones relative to the variant's own.
        intonation: pitch range of the synthesiser, 0 to 100.
        vtl_ratio: vocal-tract length relative to the variant's own.
        room_rt60: reverberation time, seconds.
        room_drr_db: direct-to-reverberant ratio, dB.
        noise: kind of noise.
        snr_db: signal-to-noise ratio, dB.
        level_dbfs: level of the speech, dB re full scale.
        zip, latitude, longitude, city, state, region: the home; region is a census division.
    """

    id: str
    set: str
    group: str
    gender: str
    accent: str
    variant: str
    rate_wpm: float
    pitch_semitones: float
    intonation: float
    vtl_ratio: float
    room_rt60: float
    room_drr_db: float
    noise: str
    snr_db: float
    level_dbfs: float
    zip: str
    latitude: float
    longitude: float
    city: str
    state: str
    region: str

    def meta(self) -> dict[str, str | float]:
        """Return the columns of the speaker table other than id, set and gender."""
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k not in ("id", "set", "gender")}


def cast(config: CorpusConfig) -> list[Speaker]:
    """Draw all speakers, with sets in the order of the configuration.

    Raises:
        ConfigError: a group names an unknown set, groups have more speakers than their set, or no
            zip code meets a group's conditions.
    """
    homes = homes_of_people()
    speakers: list[Speaker] = []
    for name, size in config.sets.items():
        # All random streams of a speaker are named by the id, so another id is another speaker.
        prefix = f"{name}-{size.seed}-" if size.seed else name
        groups = _assign_groups(config, name, prefix, _scaled(size.speakers, config))
        for i, group in enumerate(groups):
            gender = "fm"[i % 2]  # alternating after the groups are shuffled, so balanced
            speakers.append(_draw(config, homes, f"{prefix}{i:03d}", name, group, gender))
    return speakers


def _scaled(count: int, config: CorpusConfig) -> int:
    return max(1, round(count * config.scale))


def _assign_groups(config: CorpusConfig, set_name: str, prefix: str, count: int) -> list[str]:
    """Return the group of each speaker of the set, in a random order that `prefix` names."""
    planted: list[str] = []
    for name, group in config.groups.items():
        unknown = set(group.speakers) - set(config.sets)
        if unknown:
            raise ConfigError(
                f"corpus.groups.{name}.speakers: there is no set {', '.join(sorted(unknown))}",
                f"choose among {', '.join(config.sets)}",
            )
        share = group.speakers.get(set_name, 0)
        planted += [name] * round(share * config.scale)
    if len(planted) > count:
        raise ConfigError(
            f"corpus.groups: {len(planted)} planted speakers in {set_name}, which has only {count}",
            "plant fewer or enlarge the set",
        )
    groups = planted + ["none"] * (count - len(planted))
    order = named_generator(config.seed, prefix, "groups").permutation(count)
    return [groups[i] for i in order]


def _draw(
    config: CorpusConfig,
    homes: Sequence[Mapping[str, str]],
    speaker: str,
    set_name: str,
    group: str,
    gender: str,
) -> Speaker:
    rng = named_generator(config.seed, speaker, "person")
    population = config.population
    if group in config.groups:
        population = config.groups[group].applied_to(population)
    variants = config.voices["female" if gender == "f" else "male"]
    accents, weights = zip(*population.accents.items(), strict=True)

    def uniform(limits: tuple[float, float]) -> float:
        return round(float(rng.uniform(*limits)), 3)

    home = _choose_home(rng, homes, population, group)
    return Speaker(
        id=speaker,
        set=set_name,
        group=group,
        gender=gender,
        accent=str(rng.choice(accents, p=np.array(weights) / sum(weights))),
        variant=str(rng.choice(variants)),
        rate_wpm=uniform(population.rate_wpm),
        pitch_semitones=uniform(population.pitch_semitones),
        intonation=uniform(population.intonation),
        vtl_ratio=uniform(population.vtl_ratio),
        room_rt60=uniform(population.room_rt60),
        room_drr_db=uniform(population.room_drr_db),
        noise=str(rng.choice(population.noises)),
        snr_db=uniform(population.snr_db),
        level_dbfs=uniform(population.level_dbfs),
        zip=home["zip_code"],
        latitude=float(home["lat"]),
        longitude=float(home["long"]),
        city=home["city"],
        state=home["state"],
        region=REGION_OF[home["state"]],
    )


@functools.cache
def homes_of_people() -> tuple[Mapping[str, str], ...]:
    """Return zip codes where people live: standard ones, located in the 50 states and D.C."""
    return tuple(
        z
        for z in zipcodes.list_all()
        if z["zip_code_type"] == "STANDARD"
        and z["active"]
        and z["state"] in REGION_OF
        and float(z["lat"] or 0) != 0
    )


def _choose_home(
    rng: np.random.Generator, homes: Sequence[Mapping[str, str]], p: Population, group: str
) -> Mapping[str, str]:
    if p.states:
        homes = [h for h in homes if h["state"] in p.states]
    if p.zip_prefixes:
        homes = [h for h in homes if h["zip_code"].startswith(p.zip_prefixes)]
    if not homes:
        raise ConfigError(
            f"corpus.groups.{group}: no zip code has these states and prefixes",
            "widen states or zip_prefixes",
        )
    return homes[int(rng.integers(len(homes)))]
