"""How often the searches for places find and confirm a disparity of the size planted in egs/mini.

Each draw makes the speakers of two halves anew: homes at random zip codes, in the planted areas
for the planted groups, and errors from the speaker model of `asrlib.experiments.simulation`. Then
the code of stage 9 searches the first half, assigns the second, and judges it. Beside the searches
stands the oracle rule, which knows the planted areas: no search for places can do better.

Everything depends on the seed alone. Shapes: S speakers of a half, Z zip codes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.cohort_file import BOTTOM, TOP
from asrlib.experiments.simulation import Share, SpeakerErrorModel
from asrlib.json_record import JsonRecord
from asrlib.scoring.confirmation import confirm
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import SpeakerSums
from asrlib.scoring.wer import ErrorRate
from asrlib.seeds import named_generator

SEARCHES = ("scan", "tree")
RULES = (*SEARCHES, "oracle")
LEVEL = 0.05  # below which a p-value confirms
# Where no speaker of egs/mini lives: territories and addresses of the armed forces.
_TERRITORIES = ("AS", "FM", "GU", "MH", "MP", "PR", "PW", "VI", "AA", "AE", "AP")


@dataclass(frozen=True)
class Group(JsonRecord):
    """Speakers of one true rate.

    Attributes:
        speakers: their number in each half.
        rate: mean error rate, a fraction.
        states, zip_prefixes: where they live; both empty: anywhere.
    """

    name: str
    speakers: int
    rate: float
    states: tuple[str, ...] = ()
    zip_prefixes: tuple[str, ...] = ()

    @property
    def is_place(self) -> bool:
        return bool(self.states or self.zip_prefixes)


# Sizes and places are those of conf/corpus.yaml of egs/mini; rates and the speaker model those of
# its LSTM (14.9 % WER) on the 80 speakers of its test set.
MINI = (
    Group("none", 220, 0.061),
    Group("deep_south_accent", 45, 0.231, states=("AL", "MS", "LA", "GA")),
    Group("new_england_accent", 45, 0.200, states=("ME", "NH", "VT", "MA")),
    Group("noisy_home", 45, 0.376, zip_prefixes=("606", "770")),
    Group("fast_talker", 45, 0.202),
)
MODEL = SpeakerErrorModel(
    cv=0.46,
    words=(70, 90),
    fitted_to="the LSTM of egs/mini on its test set (80 speakers, 14.9 % WER)",
)


@dataclass(frozen=True, kw_only=True)
class RulePower(JsonRecord):
    """How one rule fares.

    Attributes:
        rule: `scan`, `tree`, or `oracle`, whose bottom is who lives in a planted area.
        found: it names a bottom cohort on discovery speakers.
        confirmed: the bottom is worse than the rest on confirmation speakers, p < .05.
        corrected: the same with p < .05 / 6, so that Holm's correction for the six methods of
            stage 9 confirms it whatever the others give.
        precision: of a confirmed bottom's confirmation speakers the share whose home lies in a
            planted area; the mean over draws, and its 5th percentile. None if none was confirmed.
        recall: of the confirmation speakers of planted places the share that lies in a confirmed
            bottom; the mean over draws.
    """

    rule: str
    found: Share
    confirmed: Share
    corrected: Share
    precision: float | None
    precision_5: float | None
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class DiscoveryPower(JsonRecord):
    """results/statistics/discovery.json.

    Attributes:
        command: what repeats it.
        draws: number of pairs of halves.
    """

    command: str
    seed: int
    draws: int
    model: SpeakerErrorModel
    groups: tuple[Group, ...]
    rules: tuple[RulePower, ...]


@dataclass(frozen=True)
class _Judged:
    """What one rule gave in one draw; precision and recall are NaN where nothing was found."""

    found: bool
    p_value: float
    precision: float
    recall: float


@dataclass(frozen=True)
class _Half:
    """Speakers with their errors and homes.

    Attributes:
        in_area_S: whether the home lies in a planted area, whoever lives there.
        is_placed_S: whether the speaker is of a planted group that has a place.
    """

    sums: SpeakerSums
    points_S2: np.ndarray
    in_area_S: np.ndarray
    is_placed_S: np.ndarray


@dataclass(frozen=True)
class _Homes:
    """Zip codes where people live.

    Attributes:
        points_Z2: latitude and longitude, degrees.
        of_group: for each group the indexes of the zip codes where its speakers may live.
        in_area_Z: whether a zip code lies in any group's place.
    """

    points_Z2: np.ndarray
    of_group: tuple[np.ndarray, ...]
    in_area_Z: np.ndarray


def simulate_discovery(
    draws: int,
    seed: int,
    command: str,
    groups: tuple[Group, ...] = MINI,
    model: SpeakerErrorModel = MODEL,
) -> DiscoveryPower:
    """Draw halves, search the first and judge on the second."""
    homes = _homes(groups)
    each = [_judge_draw(groups, model, homes, seed, draw) for draw in range(draws)]
    rules = tuple(
        _summary(rule, column) for rule, column in zip(RULES, zip(*each, strict=True), strict=True)
    )
    return DiscoveryPower(
        command=command, seed=seed, draws=draws, model=model, groups=groups, rules=rules
    )


@functools.cache
def _homes(groups: tuple[Group, ...]) -> _Homes:
    """Standard zip codes of the states and D.C., as speakers of egs/mini have them."""
    import zipcodes

    rows = [
        row
        for row in zipcodes.list_all()
        if row["zip_code_type"] == "STANDARD"
        and row["active"]
        and row["state"] not in _TERRITORIES
        and float(row["lat"] or 0) != 0
    ]
    states_Z = np.array([row["state"] for row in rows])
    inside_GZ = np.ones((len(groups), len(rows)), dtype=bool)
    for inside_Z, group in zip(inside_GZ, groups, strict=True):
        if group.states:
            inside_Z &= np.isin(states_Z, group.states)
        if group.zip_prefixes:
            inside_Z &= [row["zip_code"].startswith(group.zip_prefixes) for row in rows]
    places = [g for g, group in enumerate(groups) if group.is_place]
    points_Z2 = np.array([(float(row["lat"]), float(row["long"])) for row in rows])
    return _Homes(points_Z2, tuple(map(np.flatnonzero, inside_GZ)), inside_GZ[places].any(axis=0))


def _draw_half(
    rng: np.random.Generator,
    groups: Sequence[Group],
    model: SpeakerErrorModel,
    homes: _Homes,
    name: str,
) -> _Half:
    sums = [model.draw(rng, g.speakers, g.rate) for g in groups]
    at = [rng.choice(z, group.speakers) for z, group in zip(homes.of_group, groups, strict=True)]
    home_S = np.concatenate(at)
    placed_S = np.repeat([g.is_place for g in groups], [g.speakers for g in groups])
    ids = tuple(f"{name}{s:05d}" for s in range(len(home_S)))
    errors_S, words_S = (
        np.concatenate([getattr(s, key) for s in sums]) for key in ("errors_S", "words_S")
    )
    half = SpeakerSums(ids, errors_S, words_S)
    return _Half(half, homes.points_Z2[home_S], homes.in_area_Z[home_S], placed_S)


def _judge_draw(
    groups: Sequence[Group], model: SpeakerErrorModel, homes: _Homes, seed: int, draw: int
) -> list[_Judged]:
    from asrlib.cohorts.config import CohortsConfig

    rng = named_generator("discovery", seed, draw)
    discovery, confirmation = (_draw_half(rng, groups, model, homes, name) for name in "dc")
    settings = Resampling(seed=draw, permutations=CohortsConfig().permutations)
    judged = []
    for rule in RULES:
        bottom_S = confirmation.in_area_S
        if rule != "oracle":
            bottom_S = np.array([c == BOTTOM for c in _assigned(rule, discovery, confirmation)])
        if not bottom_S.any():
            judged.append(_Judged(False, 1.0, np.nan, np.nan))
            continue
        names = np.where(bottom_S, BOTTOM, TOP).tolist()
        cohorts = dict(zip(confirmation.sums.speakers, names, strict=True))
        one = confirm(rule, discovery.sums, confirmation.sums, cohorts, settings)
        precision = float(confirmation.in_area_S[bottom_S].mean())
        recall = float(bottom_S[confirmation.is_placed_S].mean())
        judged.append(_Judged(True, one.p_value, precision, recall))
    return judged


def _assigned(method: str, discovery: _Half, confirmation: _Half) -> Sequence[str]:
    """The cohorts of confirmation speakers by what a search found; none if it found nothing."""
    from asrlib.cohorts.config import CohortsConfig
    from asrlib.cohorts.find import CannotSearch, Settings, find_cohorts
    from asrlib.cohorts.table import SpeakerTable

    def table(half: _Half) -> SpeakerTable:
        latitudes, longitudes = (tuple(map(str, column)) for column in half.points_S2.T.tolist())
        columns = {"latitude": latitudes, "longitude": longitudes}
        return SpeakerTable(half.sums.speakers, columns)

    errors = dict(zip(discovery.sums.speakers, _error_rates(discovery.sums), strict=True))
    settings = Settings(CohortsConfig(permutations=0), public=True)
    try:
        found = find_cohorts(method, table(discovery), errors, settings)
    except CannotSearch:
        return ()
    return found.assign(table(confirmation)).cohorts


def _error_rates(sums: SpeakerSums) -> Iterator[ErrorRate]:
    for errors, words in zip(sums.errors_S.tolist(), sums.words_S.tolist(), strict=True):
        yield ErrorRate(0, 0, int(errors), int(words))


def _summary(rule: str, judged: Sequence[_Judged]) -> RulePower:
    from asrlib.cohorts.config import METHODS

    good = [one for one in judged if one.p_value < LEVEL]
    precisions = [one.precision for one in good]
    return RulePower(
        rule=rule,
        found=Share.of([one.found for one in judged]),
        confirmed=Share.of([one.p_value < LEVEL for one in judged]),
        corrected=Share.of([one.p_value < LEVEL / len(METHODS) for one in judged]),
        precision=float(np.mean(precisions)) if good else None,
        precision_5=float(np.quantile(precisions, 0.05)) if good else None,
        recall=float(np.mean([one.recall for one in good])) if good else None,
    )
