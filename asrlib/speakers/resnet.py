"""Half-size ResNet34 with squeeze-excite and attentive statistics pooling (arXiv 2009.14153).

Shapes: B batch, C channels, F features, T frames, D width of the embedding. Convolutions run over
features and frames; both are halved at the start of three of the four stages.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.layers.over_ranks import BatchNorm2d
from asrlib.numbers import Positive
from asrlib.speakers.base import SpeakerExtractor, SqueezeExcite
from asrlib.speakers.pooling import AttentiveStatsPooling, masked, masked_mean

_BLOCKS = (3, 4, 6, 3)  # blocks of the four stages of ResNet34


@configclass
class ResNetConfig:
    """The ResNet34 extractor.

    Attributes:
        channels: channels of the first stage; each further stage has twice as many. 32 is half
            of ResNet34's 64.
        se_reduction: channels divided by hidden units of squeeze-excite.
        attention_dim: hidden channels of the attention of the pooling.
        embedding_dim: width of the embedding.
    """

    name: Literal["resnet34"] = "resnet34"
    channels: Positive = 32
    se_reduction: Positive = 8
    attention_dim: Positive = 128
    embedding_dim: Positive = 512

    def build(self, num_bins: int) -> ResNet:
        """Build the extractor, with random weights, for frames of `num_bins` features."""
        return ResNet(self, num_bins)


class _Block(nn.Module):
    """Two 3x3 convolutions with squeeze-excite and a residual connection."""

    def __init__(self, in_dim: int, dim: int, stride: int, reduction: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride=stride, padding=1, bias=False)
        self.norm1 = BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.norm2 = BatchNorm2d(dim)
        self.gate = SqueezeExcite(dim, max(1, dim // reduction))
        self.shortcut = nn.Sequential()
        if stride > 1 or in_dim != dim:
            conv = nn.Conv2d(in_dim, dim, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(conv, BatchNorm2d(dim))

    def forward(self, x_BCFT: Tensor, mask_B1T: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the block's output, 0 at padding, and the mask of its frames."""
        out_mask = None if mask_B1T is None else mask_B1T[..., :: self.stride]
        mask = None if out_mask is None else out_mask.unsqueeze(1)
        h_BCFT = masked(self.norm1(self.conv1(x_BCFT)).relu(), mask)
        h_BCFT = self.norm2(self.conv2(h_BCFT))
        gate_BC = self.gate(masked_mean(h_BCFT.mean(dim=2), out_mask).squeeze(-1))
        h_BCFT = h_BCFT * gate_BC[..., None, None] + self.shortcut(x_BCFT)
        return masked(h_BCFT.relu(), mask), out_mask


class ResNet(SpeakerExtractor):
    """The ResNet34 of half width; the pooling sees channels and features as one axis."""

    def __init__(self, config: ResNetConfig, num_bins: int) -> None:
        super().__init__(num_bins, config.embedding_dim)
        dim = config.channels
        self.conv = nn.Conv2d(1, dim, 3, padding=1, bias=False)
        self.norm = BatchNorm2d(dim)
        blocks, bins, width = [], num_bins, dim
        for stage, count in enumerate(_BLOCKS):
            for index in range(count):
                stride = 2 if stage and not index else 1
                bins = -(-bins // stride)
                blocks.append(_Block(width, dim << stage, stride, config.se_reduction))
                width = dim << stage
        self.blocks = nn.ModuleList(blocks)
        self.pooling = AttentiveStatsPooling(width * bins, config.attention_dim, False)
        self.output = nn.Linear(2 * width * bins, config.embedding_dim)

    def embed(self, x_BFT: Tensor, mask_B1T: Tensor | None) -> Tensor:
        """See `SpeakerExtractor.embed`."""
        mask = None if mask_B1T is None else mask_B1T.unsqueeze(1)
        h_BCFT = masked(self.norm(self.conv(x_BFT.unsqueeze(1))).relu(), mask)
        for block in self.blocks:
            h_BCFT, mask_B1T = block(h_BCFT, mask_B1T)
        return self.output(self.pooling(h_BCFT.flatten(1, 2), mask_B1T))
