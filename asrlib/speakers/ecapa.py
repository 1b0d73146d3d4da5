"""ECAPA-TDNN (arXiv 2005.07143).

Shapes: B batch, F features, T frames, C channels, D width of the embedding.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.layers.over_ranks import BatchNorm1d
from asrlib.numbers import Positive
from asrlib.speakers.base import SpeakerExtractor, SqueezeExcite
from asrlib.speakers.pooling import AttentiveStatsPooling, masked, masked_mean


@configclass
class EcapaConfig:
    """The ECAPA-TDNN extractor.

    Attributes:
        channels: channels of the convolutions; the paper has 512 and 1024.
        aggregate_dim: channels of the layer that joins the blocks' outputs; paper: 1536.
        res2_scale: number of groups of a Res2 convolution; it divides `channels`.
        se_dim: hidden units of squeeze-excite.
        attention_dim: hidden channels of the attention of the pooling.
        embedding_dim: width of the embedding.
    """

    name: Literal["ecapa"] = "ecapa"
    channels: Positive = 128
    aggregate_dim: Positive = 384
    res2_scale: Positive = 8
    se_dim: Positive = 64
    attention_dim: Positive = 64
    embedding_dim: Positive = 192

    @model_validator(mode="after")
    def _groups_are_equal(self) -> EcapaConfig:
        if self.channels % self.res2_scale:
            raise ValueError(
                f"channels ({self.channels}) is not a multiple of res2_scale ({self.res2_scale})"
            )
        return self

    def build(self, num_bins: int) -> Ecapa:
        """Build the extractor, with random weights, for frames of `num_bins` features."""
        return Ecapa(self, num_bins)


class _ConvUnit(nn.Module):
    """Convolution of the same length, ReLU, batch normalisation."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv1d(in_dim, out_dim, kernel, padding=padding, dilation=dilation)
        self.norm = BatchNorm1d(out_dim)

    def forward(self, x_BCT: Tensor) -> Tensor:
        return self.norm(self.conv(x_BCT).relu())


class _Res2(nn.Module):
    """Res2 convolution (arXiv 1904.01169): group g sees its own channels plus group g - 1."""

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.scale = scale
        self.units = nn.ModuleList(
            _ConvUnit(width, width, kernel=3, dilation=dilation) for _ in range(scale - 1)
        )

    def forward(self, x_BCT: Tensor, mask_B1T: Tensor | None) -> Tensor:
        first, *others = x_BCT.chunk(self.scale, dim=1)
        outputs, before = [first], None
        for unit, group in zip(self.units, others, strict=True):
            before = unit(masked(group if before is None else group + before, mask_B1T))
            outputs.append(before)
        return torch.cat(outputs, dim=1)


class _Block(nn.Module):
    """SE-Res2Block: 1x1 convolution, Res2 convolution, 1x1 convolution, squeeze-excite."""

    def __init__(self, config: EcapaConfig, dilation: int) -> None:
        super().__init__()
        channels = config.channels
        self.before = _ConvUnit(channels, channels)
        self.res2 = _Res2(channels, config.res2_scale, dilation)
        self.after = _ConvUnit(channels, channels)
        self.gate = SqueezeExcite(channels, config.se_dim)

    def forward(self, x_BCT: Tensor, mask_B1T: Tensor | None) -> Tensor:
        h_BCT = self.after(self.res2(self.before(x_BCT), mask_B1T))
        gate_BC = self.gate(masked_mean(h_BCT, mask_B1T).squeeze(-1))
        return x_BCT + h_BCT * gate_BC.unsqueeze(-1)


class Ecapa(SpeakerExtractor):
    """ECAPA-TDNN: three SE-Res2Blocks with dilations 2, 3, 4; each sees the sum of all before it.

    The paper's numbers of channels are for VoxCeleb; 128 with narrower squeeze-excite and
    attention is our choice for a CPU.
    """

    def __init__(self, config: EcapaConfig, num_bins: int) -> None:
        super().__init__(num_bins, config.embedding_dim)
        self.input = _ConvUnit(num_bins, config.channels, kernel=5)
        self.blocks = nn.ModuleList(_Block(config, dilation) for dilation in (2, 3, 4))
        self.aggregate = nn.Conv1d(3 * config.channels, config.aggregate_dim, kernel_size=1)
        self.pooling = AttentiveStatsPooling(config.aggregate_dim, config.attention_dim, True)
        self.pooled_norm = BatchNorm1d(2 * config.aggregate_dim)
        self.output = nn.Linear(2 * config.aggregate_dim, config.embedding_dim)
        self.output_norm = BatchNorm1d(config.embedding_dim)

    def embed(self, x_BFT: Tensor, mask_B1T: Tensor | None) -> Tensor:
        """See `SpeakerExtractor.embed`."""
        total_BCT = self.input(x_BFT)
        outputs = []
        for block in self.blocks:
            outputs.append(block(total_BCT, mask_B1T))
            total_BCT = total_BCT + outputs[-1]
        h_BCT = self.aggregate(torch.cat(outputs, dim=1)).relu()
        pooled_BC = self.pooled_norm(self.pooling(h_BCT, mask_B1T))
        return self.output_norm(self.output(pooled_BC))
