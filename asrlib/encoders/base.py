"""The interface that everything above leans on: an encoder that runs whole or in pieces.

Shapes: B batch, T input frames, S output frames (S = T // subsampling), F features, D width.
R = B * N rows of output: an encoder with N output channels has the channels of a stream side by
side, while inputs and states have B rows.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from asrlib.layers.norm import GlobalNorm


@dataclass(frozen=True)
class Work:
    """Multiplications of each frame (B, S) that an encoder made, or expects to make, and those of
    all its work."""

    spent_BS: Tensor
    full_BS: Tensor

    def of_utterances(self, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Both summed over the valid frames (B)."""
        frames_S = torch.arange(self.full_BS.shape[1], device=self.full_BS.device)
        valid_BS = frames_S < lengths_B.unsqueeze(1)
        return (self.spent_BS * valid_BS).sum(dim=1), (self.full_BS * valid_BS).sum(dim=1)


@dataclass(frozen=True)
class WholeUtterances:
    """Padded utterances, ready for `StreamingEncoder.advance`.

    Attributes:
        x_BSF: normalised, stacked frames.
        mask_BS: True where a frame is no padding; None outside training.
        state: of streams that have heard nothing.
        out_lengths_R: valid output frames of each row of the output.
    """

    x_BSF: Tensor
    mask_BS: Tensor | None
    state: Any
    out_lengths_R: Tensor


class HasCost(abc.ABC):
    """An encoder that leaves work out where a stream does not need it, and counts what it does."""

    @property
    @abc.abstractmethod
    def costed_modules(self) -> Sequence[nn.Module]:
        """The modules whose multiplications it counts itself."""

    @abc.abstractmethod
    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, with_cost: Literal[True]
    ) -> tuple[Tensor, Tensor, Work | None]:
        """As `StreamingEncoder.forward`, and the work of each frame; None where no frame is out."""

    @abc.abstractmethod
    def work(self, state: Any) -> tuple[float, float]:
        """Multiplications made by the streams of a state, and those at full compute."""

    @abc.abstractmethod
    def full_multiplications(self, num_frames: int, heard_B1: Tensor) -> Tensor:
        """Multiplications (B, S) of each frame with everything on, after `heard_B1` frames."""

    @abc.abstractmethod
    def cost_weight(self) -> float:
        """Weight of the compute cost in the loss, in nats per frame at full compute."""


class TakesWeights(abc.ABC):
    """An encoder that can start its training from an encoder of another shape."""

    @abc.abstractmethod
    def take_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The other encoder's `state_dict` as one of this encoder."""


class StreamingEncoder(nn.Module, abc.ABC):
    """Raw filter-bank frames to encoder frames, with a law.

    For any split of the frames into pieces that are multiples of `subsampling`, the
    concatenated outputs of `step` equal `forward` of the whole. Both are one code path:
    `forward` advances the initial state by the whole utterance.

    Attributes:
        num_bins: features per input frame.
        subsampling: input frames per output frame.
        output_dim: features per output frame.
        lookahead: future input frames that an output frame needs.
        num_channels: N, outputs for each stream: talkers who may speak at once.
        norm: global normalisation of the features, set from the training set's statistics.
        frame_norm: LayerNorm of each stacked frame, where asked for. Level moves all bins
            together and may dominate a projection of globally normalised features. A choice
            of ours; that it helps a whole training is not shown yet.
    """

    lookahead: int = 0
    num_channels: int = 1

    def __init__(self, num_bins: int, subsampling: int, output_dim: int, frame_norm: bool) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.subsampling = subsampling
        self.output_dim = output_dim
        self.norm = GlobalNorm(num_bins)
        dim = subsampling * num_bins
        self.frame_norm = nn.LayerNorm(dim) if frame_norm else nn.Identity()

    @abc.abstractmethod
    def initial_state(self, batch_size: int, device: torch.device | None = None) -> Any:
        """The state of `batch_size` streams that have heard nothing: all zeros."""

    @abc.abstractmethod
    def advance(self, x_BSF: Tensor, state: Any, mask_BS: Tensor | None) -> tuple[Tensor, Any]:
        """Encode normalised, stacked frames and return the state after them.

        Args:
            x_BSF: S >= 1 frames of `subsampling * num_bins` features.
            mask_BS: True where a frame is no padding; None when none is. Only training
                (statistics over the batch) may depend on it.
        """

    def forward(self, x_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode whole utterances, padded at their end.

        Args:
            x_BTF: raw log filter-bank energies.
            lengths_B: valid frames of each.

        Returns:
            h_BSD, and its valid lengths; frames short of a full `subsampling` are dropped.
        """
        whole = self.whole_utterances(x_BTF, lengths_B)
        if whole.x_BSF.shape[1] == 0:
            return self.nothing(whole), whole.out_lengths_R
        h_RSD, _ = self.advance(whole.x_BSF, whole.state, whole.mask_BS)
        return h_RSD, whole.out_lengths_R

    def whole_utterances(self, x_BTF: Tensor, lengths_B: Tensor) -> WholeUtterances:
        """What `advance` needs to encode whole utterances from the initial state."""
        lengths_B = torch.div(lengths_B, self.subsampling, rounding_mode="floor")
        num_outputs = x_BTF.shape[1] // self.subsampling
        x_BSF = self._stack(x_BTF[:, : num_outputs * self.subsampling])
        mask_BS = None
        if self.training:
            mask_BS = torch.arange(num_outputs, device=x_BTF.device) < lengths_B.unsqueeze(1)
        return WholeUtterances(
            x_BSF=x_BSF,
            mask_BS=mask_BS,
            state=self.initial_state(x_BTF.shape[0], x_BTF.device),
            out_lengths_R=lengths_B.repeat_interleave(self.num_channels),
        )

    def nothing(self, whole: WholeUtterances) -> Tensor:
        """The output (R, 0, D) of utterances that are shorter than one output frame."""
        return whole.x_BSF.new_zeros(len(whole.out_lengths_R), 0, self.output_dim)

    def step(self, x_BTF: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Encode the next frames of streams that advance alike.

        Args:
            x_BTF: raw log filter-bank energies, T a positive multiple of `subsampling`.

        Raises:
            ValueError: T is not such a multiple.
        """
        num_frames = x_BTF.shape[1]
        if num_frames == 0 or num_frames % self.subsampling:
            raise ValueError(
                f"a step takes a positive multiple of {self.subsampling} frames, not {num_frames}"
            )
        return self.advance(self._stack(x_BTF), state, None)

    def _stack(self, x_BTF: Tensor) -> Tensor:
        """Normalise, then stack and skip: each output frame gets its `subsampling` inputs."""
        x_BTF = self.norm(x_BTF)
        groups = x_BTF.shape[1] // self.subsampling
        x_BSF = x_BTF.reshape(x_BTF.shape[0], groups, self.subsampling * self.num_bins)
        return self.frame_norm(x_BSF)
