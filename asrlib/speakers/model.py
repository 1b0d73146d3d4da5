"""The model that training optimises: an extractor with its loss.

Shapes: S speakers, U utterances of each, T frames, F features, D width of an embedding.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.speakers.adversary import ReweightingConfig
from asrlib.speakers.ecapa import EcapaConfig
from asrlib.speakers.losses import SpeakerLossConfig
from asrlib.speakers.resnet import ResNetConfig

ExtractorConfig = Annotated[EcapaConfig | ResNetConfig, Field(discriminator="name")]


@configclass
class SpeakerModelConfig:
    """conf/model/speaker/*.yaml.

    Attributes:
        task: the kind of model, see `asrlib.training.build.TASKS`.
        extractor: the network; its `name` selects it.
        loss: the loss.
        reweighting: weights of the samples in training.
    """

    task: Literal["speaker"]
    extractor: ExtractorConfig
    loss: SpeakerLossConfig = SpeakerLossConfig()
    reweighting: ReweightingConfig = ReweightingConfig()


class SpeakerModel(nn.Module):
    """An extractor and its loss, with random weights.

    Args:
        config: settings of both.
        num_bins: features per frame.
        num_classes: number of training speakers.
    """

    def __init__(self, config: SpeakerModelConfig, num_bins: int, num_classes: int) -> None:
        super().__init__()
        self.config, self.num_bins, self.num_classes = config, num_bins, num_classes
        self.extractor = config.extractor.build(num_bins)
        self.loss = config.loss.build(config.extractor.embedding_dim, num_classes)

    def embed(self, x_SUTF: Tensor) -> Tensor:
        """Embed crops of equal length; return (S, U, D)."""
        return self.extractor(x_SUTF.flatten(0, 1)).unflatten(0, x_SUTF.shape[:2])
