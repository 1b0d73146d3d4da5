"""The speech of the cohort whose recognition is to improve.

A speaker without a split in `cohorts.jsonl` was assigned to the cohort later, without any errors of
their own. Such a speaker may be trained on like those of the split `discovery`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from asrlib.cohort_file import CohortMap, Split, read_cohort_map
from asrlib.errors import DataError
from asrlib.mitigation.config import CohortsConfig
from asrlib.scoring.records import HYP_FILE, read_speakers, read_utterances
from asrlib.training.training_inputs import read_features

TRAIN_SET = "train"

# What stage 2 adds to the id of a cut at another speed.
_SPEED = re.compile(r"_sp[0-9.]+$")

logger = logging.getLogger(__name__)


def read_cohorts_of(directory: Path, speakers_tsv: Path) -> CohortMap:
    """Read the cohorts of a recipe's speakers.

    Args:
        directory: directory of cohorts.jsonl.
        speakers_tsv: the recipe's speaker table.

    Raises:
        DataError: the file is missing or broken, or has a speaker that the recipe lacks, as the
            cohorts of another corpus do.
    """
    found = read_cohort_map(directory)
    known = read_speakers(speakers_tsv, "")
    strangers = [speaker for speaker in found.cohorts if speaker not in known]
    if strangers:
        raise DataError(
            f"{found.path}: {len(strangers)} of {len(found.cohorts)} speakers are not in "
            f"{speakers_tsv}, for example {strangers[0]}: these are the cohorts of another corpus",
            "give a directory of cohorts that were found or assigned in this recipe",
        )
    return found


@dataclass(frozen=True)
class CohortSpeech:
    """Speech of the cohort, and of the speakers it is compared with.

    Attributes:
        train: cuts of the cohort's speakers that are trained on.
        choose: cuts of its speakers that are not trained on; they choose settings.
        pool: cuts of all speakers of the same split and sets, except those in `choose`.
        speakers: all speakers of the cohort, whether they are trained on or choose.
    """

    train: CutSet
    choose: CutSet
    pool: CutSet
    speakers: frozenset[str]


def cohort_speech(config: CohortsConfig, data: Path, train: CutSet) -> CohortSpeech:
    """Collect the speech of a cohort from the sets of a recipe.

    Args:
        config: which cohort and which sets.
        data: the recipe's data directory.
        train: the cuts of its training set, which are already read.

    Raises:
        DataError: a file cannot be read, see `read_cohorts_of`, or the cohort has too few speakers
            with speech in the sets.
    """
    found = read_cohorts_of(data.parent / config.directory, data / "speakers.tsv")
    # Speakers that were assigned later count as discovery.
    wanted = {"discovery": ("discovery", "other"), "any": get_args(Split)}
    splits = wanted.get(config.split, (config.split,))
    split = {speaker for speaker, own in found.splits.items() if own in splits}
    cohort = {speaker for speaker in split if found.cohorts[speaker] == config.cohort}
    where = f"{found.path}: cohort {config.cohort}, split {config.split}"
    if not cohort:
        names = ", ".join(sorted(set(found.cohorts.values())))
        raise DataError(f"{where}: has no speaker", f"choose another cohort or split of {names}")
    cuts = [cut for name in config.sets for cut in _set(name, data, train)]
    pool = [cut for cut in cuts if speaker_of(cut) in split]
    speech = [cut for cut in pool if speaker_of(cut) in cohort]
    talking = {speaker_of(cut) for cut in speech}
    held = choosers(talking, config.choose)
    if not talking - held:
        raise DataError(
            f"{where}: {len(talking)} of its {len(cohort)} speakers speak in "
            f"{', '.join(config.sets)}: no training data is left",
            "name sets that hold its speech in mitigation.cohorts.sets, or lower "
            "mitigation.cohorts.choose",
        )
    logger.info("%s: %d speakers to train on, %d to choose", where, len(talking - held), len(held))
    own = [cut for cut in speech if speaker_of(cut) not in held]
    return CohortSpeech(
        train=with_hypotheses(own, data.parent / config.labels) if config.labels else _set_of(own),
        choose=_set_of([cut for cut in speech if speaker_of(cut) in held]),
        pool=_set_of([cut for cut in pool if speaker_of(cut) not in held]),
        speakers=frozenset(talking),
    )


def speaker_of(cut: Cut) -> str:
    """Return the speaker of an utterance."""
    return str(cut.supervisions[0].speaker)


def choosers(speakers: Collection[str], share: float) -> frozenset[str]:
    """Choose a share of the speakers, rounded but at least one, by a hash of their names.

    So the choice does not depend on their order, and changes little when speakers are added.
    """
    count = max(1, round(share * len(speakers))) if share else 0
    by_hash = sorted(speakers, key=lambda s: hashlib.sha256(s.encode()).digest())
    return frozenset(by_hash[:count])


def with_hypotheses(cuts: list[Cut], decode_dir: Path) -> CutSet:
    """Replace transcripts by the hypotheses of a decode directory (arXiv 2207.11345).

    Utterances whose hypothesis is empty are left out, since they would teach a model to be silent.

    Raises:
        DataError: an utterance was not decoded there, or no hypothesis has a word.
    """
    path = decode_dir / HYP_FILE
    heard = {u.id: " ".join(u.hyp) for u in read_utterances(path)}
    texts = [heard.get(_SPEED.sub("", cut.id)) for cut in cuts]
    missing = [cut.id for cut, text in zip(cuts, texts, strict=True) if text is None]
    if missing:
        raise DataError(
            f"{path}: lacks {len(missing)} of {len(cuts)} utterances of the cohort, for example "
            f"{missing[0]}",
            "decode the sets of mitigation.cohorts.sets with the start first",
        )
    labelled = [_relabelled(cut, text) for cut, text in zip(cuts, texts, strict=True) if text]
    if not labelled:
        raise DataError(f"{path}: every hypothesis of the cohort is empty", "use the transcripts")
    logger.info("%s: %d of %d hypotheses are labels", path, len(labelled), len(cuts))
    return _set_of(labelled)


def _relabelled(cut: Cut, text: str) -> Cut:
    # The times of the transcript's words are no times of the hypothesis.
    return cut.map_supervisions(lambda s: fastcopy(s, text=text, alignment=None))


def _set(name: str, data: Path, train: CutSet) -> CutSet:
    return train if name == TRAIN_SET else read_features(set_file(data, name))


def set_file(data: Path, name: str) -> Path:
    """Return the manifest of a set's cuts with features."""
    return data / name / "cuts_fbank.jsonl.gz"


def _set_of(cuts: list[Cut]) -> CutSet:
    return CutSet.from_cuts(cuts)
