"""The file of a trained speaker model, which holds everything that embedding needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from asrlib.checkpoint_file import building, load
from asrlib.config import from_dict, to_dict
from asrlib.errors import CheckpointError
from asrlib.features.fbank import FbankConfig
from asrlib.speakers.model import SpeakerModel, SpeakerModelConfig

KIND = "speaker"


class LoadedSpeakerModel(NamedTuple):
    """A model that is ready to embed.

    Attributes:
        model: the model in evaluation mode, on the CPU.
        fbank: settings of the features that the model was trained on.
        meta: facts about the training: steps, seed, dev figures (`dev`), configuration.
    """

    model: SpeakerModel
    fbank: FbankConfig
    meta: dict[str, Any]


def speaker_payload(model: SpeakerModel, fbank: FbankConfig) -> dict[str, Any]:
    """Data that a checkpoint needs besides weights, so that `load_speaker_model` can read it."""
    return {
        "kind": KIND,
        "config": to_dict(model.config),
        "fbank": to_dict(fbank),
        "num_bins": model.num_bins,
        "num_classes": model.num_classes,
    }


def load_speaker_model(path: Path) -> LoadedSpeakerModel:
    """Load a trained model from `final.pt` or a `best-*.pt`, or from the directory of `final.pt`.

    Raises:
        CheckpointError: the file is missing or corrupt, has another format or kind (for example
            that of a recogniser), or holds a model that this version cannot build.
    """
    path = Path(path)
    path = path / "final.pt" if path.is_dir() else path
    content = load(path, KIND)
    with building(path):
        payload = content["payload"]
        config = from_dict(SpeakerModelConfig, payload["config"], str(path))
        fbank = from_dict(FbankConfig, payload["fbank"], str(path))
        model = SpeakerModel(config, payload["num_bins"], payload["num_classes"])
        model.load_state_dict(content["model"])
        return LoadedSpeakerModel(model.eval(), fbank, content["facts"])


def load_start(model: SpeakerModel, path: Path) -> None:
    """Initialise a model with the extractor of a trained one; its loss keeps its random weights.

    The losses are not taken because their classes are the training speakers, which may differ.

    Raises:
        CheckpointError: the file cannot be loaded, or its extractor differs.
    """
    start = load_speaker_model(path).model
    if (start.config.extractor, start.num_bins) != (model.config.extractor, model.num_bins):
        raise CheckpointError(
            f"{path}: has another extractor than this model: {start.config.extractor}, "
            f"{start.num_bins} mel bins",
            "give a model that was trained with the same model.extractor and features.num_bins",
        )
    model.extractor.load_state_dict(start.extractor.state_dict())
