"""Whom a reweighted training raised: read its last checkpoint, weigh its training speakers."""

from __future__ import annotations

from asrlib.checkpoint_file import building
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.experiments.run_record import read_record
from asrlib.recipe import Recipe
from asrlib.scoring.records import read_speakers
from asrlib.scoring.score import ScoreConfig
from asrlib.speakers.model_io import KIND
from asrlib.training.checkpoint import CheckpointStore
from asrlib.training.speaker_build import SPEAKER_TABLE, SpeakerConfigs
from asrlib.verification.raised import Raised, raised_groups

_ALSO = ("corpus",)  # columns of pooled recipes, by which errors are not reported


def whom_raised(recipe: Recipe, name: str, utterances: int, score: ScoreConfig) -> Raised:
    """Weigh the training speakers of exp/NAME by its last checkpoint, and average by group.

    Speakers at another speed have weights in training, but are left out here.

    Args:
        utterances: largest number of utterances of a speaker.
        score: the columns besides that of the corpus, their bands, and the smallest group.

    Raises:
        ConfigError: the model is no speaker model, or was trained without weights.
        CheckpointError: there is no checkpoint to resume from, or it does not fit the data.
        DataError: the record of the training, the features or the speaker table cannot be read.
    """
    directory = recipe.exp / name
    record = read_record(directory)
    if record.config.get("model", {}).get("task") != "speaker":
        raise ConfigError(f"--name {name}: is no speaker model", "name a speaker model")
    configs = SpeakerConfigs.of_sections(record.config, str(directory))
    latest = CheckpointStore(directory / "checkpoints", KIND).latest()
    if latest is None:
        raise CheckpointError(
            f"{directory / 'checkpoints'}: holds no step-*.pt, which has the weights",
            "train the model again",
        )
    path, content = latest
    task = configs.build_task(recipe.data, None)
    with building(path):
        task.model.load_state_dict(content["model"])
        if task.weights is not None:
            task.load_state(content["task"])
        step = int(content["position"]["step"])
    known = read_speakers(recipe.data / SPEAKER_TABLE, "train")
    columns = [*score.groups, *(c for c in _ALSO if any(c in row for row in known.values()))]
    weights = task.weights_of_speakers(known, utterances)
    if not weights:
        raise DataError(
            f"{recipe.data / SPEAKER_TABLE}: names no training speaker whose weight is known",
            "run stage 1 again",
        )
    return Raised(
        name=name,
        run=record.identity,
        step=step,
        utterances=utterances,
        speakers=len(weights),
        lowest=min(weights.values()),
        highest=max(weights.values()),
        groups=raised_groups(
            weights, known, list(dict.fromkeys(columns)), score.bands, score.min_speakers
        ),
    )
