"""Choose settings of decoding on dev: a model is decoded with several values, never trained.

One key after another is tried with all of its values, the others being as chosen so far. So the
number of decodings is the sum of the numbers of values, not their product.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.json_record import JsonRecord
from asrlib.scoring.records import TAG


@configclass
class Decoding:
    """A further decoding of each run, whose settings dev chooses; see `tune`.

    Attributes:
        tag: its name, in directories and tables.
        search: name of the search.
        set: settings of decoding, by key.
        tune: values by key; they are tuned in this order.
        on: the set that chooses.
    """

    tag: str
    search: str = "modified_beam"
    set: dict[str, Any] = Field(default_factory=dict)
    tune: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    on: str = "dev"

    @property
    def way(self) -> str:
        """How the scores call it, see `DecodeMeta.way`."""
        return f"{self.search}, {self.tag}"


def check_decoding(decoding: Decoding, where: Path, stages: str, searches: Collection[str]) -> None:
    """Check the decoding of a plan.

    Args:
        where: file of the plan.
        stages: what the plan runs; a decoding of its own is for one talker.
        searches: those that the plan may name.

    Raises:
        ConfigError: it is for mixtures, or a search, tag, key or list of values is not valid.
    """
    if stages != "one_talker":
        raise ConfigError(f"{where}: decoding: not for the turns of mixtures", "leave it out")
    if decoding.search not in searches or not TAG.fullmatch(decoding.tag):
        raise ConfigError(
            f"{where}: decoding: no search {decoding.search}, or no tag '{decoding.tag}'",
            f"choose {', '.join(searches)}, and a tag of letters, digits, '.', '+' and '-'",
        )
    for key, values in {**decoding.set, **decoding.tune}.items():
        if not key.startswith("decode."):
            raise ConfigError(f"{where}: decoding: {key}", "give keys of the section decode")
        if key in decoding.tune and not values:
            raise ConfigError(f"{where}: decoding.tune: {key} has no values", "give one or more")


@dataclass(frozen=True)
class Tried(JsonRecord):
    """Settings by key of `--set`, and the word error rate on dev with them, in per cent."""

    settings: dict[str, Any]
    wer: float


@dataclass(frozen=True)
class TunedDecoding(JsonRecord):
    """exp/NAME/tuned_SEARCH_TAG.json.

    Attributes:
        set: the set that chose, a directory under data/.
        chosen: the value of each key that was tried.
        tried: all settings, in the order in which they were decoded.
    """

    set: str
    chosen: dict[str, Any]
    tried: tuple[Tried, ...]

    @property
    def wer(self) -> float:
        """Word error rate on dev with the chosen settings, in per cent."""
        return min(tried.wer for tried in self.tried)


def tuned_file(model_dir: Path, search: str, tag: str) -> Path:
    """Where `python -m asrlib tune-decode` leaves what it chose."""
    return model_dir / f"tuned_{search}_{tag}.json"


def read_tuned(model_dir: Path, search: str, tag: str) -> TunedDecoding:
    """Read what was chosen.

    Raises:
        DataError: nothing was, or the file is broken.
    """
    fix = f"run python -m asrlib tune-decode with --search {search} --tag {tag} first"
    return TunedDecoding.from_file(tuned_file(model_dir, search, tag), fix)


def tune(
    grid: Mapping[str, Sequence[Any]], judge: Callable[[Mapping[str, Any]], float], test_set: str
) -> TunedDecoding:
    """Choose a value of each key.

    Args:
        grid: values by key. A key whose turn has not come has the first of its values. Of values
            that are equally good, the first is chosen.
        judge: gives the word error rate on dev with settings by key, in per cent.
        test_set: name of the set that `judge` decodes.
    """
    chosen = {key: values[0] for key, values in grid.items()}
    tried = [Tried(dict(chosen), judge(chosen))]
    best = tried[0].wer
    for key, values in grid.items():
        for value in values[1:]:
            settings = {**chosen, key: value}
            tried.append(Tried(settings, judge(settings)))
        better = [t for t in tried if t.wer < best]
        if better:
            found = min(better, key=lambda t: t.wer)
            chosen, best = dict(found.settings), found.wer
    return TunedDecoding(test_set, chosen, tuple(tried))
