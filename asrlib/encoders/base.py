"""The interface that everything above leans on: an encoder that runs whole or in pieces.

Shapes: B batch, T input frames, S output frames (S = T // subsampling), F features, D width.
Of an encoder with N output channels, h_BSD has B * N rows, the channels of a stream side by side,
and so have the lengths that go with it; inputs and states have B.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.norm import GlobalNorm, MaskedBatchNorm
from asrlib.layers.progress import is_progress


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

    def advance_with_cost(
        self, x_BSF: Tensor, state: Any, mask_BS: Tensor | None
    ) -> tuple[Tensor, Any, Work | None]:
        """As `advance`, and the work of each frame; None for encoders that always do all of it."""
        return *self.advance(x_BSF, state, mask_BS), None

    def work(self, state: Any) -> tuple[float, float] | None:
        """Multiplications made by the streams of a state, and those that full work had taken.

        None for encoders that always do all of it.
        """
        return None

    def start_from(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What this encoder makes of another one's `state_dict`, to start its training from.

        Batch renormalisation goes on whole, however long the new training is, and so does the
        depth.
        """
        done = [name for name in weights if is_progress(name)]
        return {**weights, **{k: torch.full_like(weights[k], torch.inf) for k in done}}

    def set_run_length(self, steps: int) -> None:
        """Hear how many steps the training has, for what has phases in it."""
        for module in self.modules():
            if isinstance(module, MaskedBatchNorm | GrowingDepth):
                module.run_length = steps

    def set_step(self, step: int) -> None:
        """Hear the number of the optimiser step, for the same."""
        for module in self.children():
            if isinstance(module, GrowingDepth):
                module.set_step(step)

    def cost_weight(self) -> float:
        """Of the cost in the loss at this step, nats per frame of full work."""
        return 0.0

    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, with_cost: bool = False
    ) -> tuple[Tensor, ...]:
        """Encode whole utterances, padded at their end.

        Args:
            x_BTF: raw log filter-bank energies.
            lengths_B: valid frames of each.

        Returns:
            h_BSD, and its valid lengths; frames short of a full `subsampling` are dropped. With
            `with_cost` also what `advance_with_cost` says of each frame.
        """
        lengths_B = torch.div(lengths_B, self.subsampling, rounding_mode="floor")
        out_lengths_B = lengths_B.repeat_interleave(self.num_channels)
        num_outputs = x_BTF.shape[1] // self.subsampling
        if num_outputs == 0:
            nothing_BSD = x_BTF.new_zeros(len(out_lengths_B), 0, self.output_dim)
            return (nothing_BSD, out_lengths_B, None) if with_cost else (nothing_BSD, out_lengths_B)
        x_BSF = self._stack(x_BTF[:, : num_outputs * self.subsampling])
        mask_BS = None
        if self.training:
            mask_BS = torch.arange(num_outputs, device=x_BTF.device) < lengths_B.unsqueeze(1)
        state = self.initial_state(x_BTF.shape[0], x_BTF.device)
        if with_cost:
            h_BSD, _, work = self.advance_with_cost(x_BSF, state, mask_BS)
            return h_BSD, out_lengths_B, work
        return self.advance(x_BSF, state, mask_BS)[0], out_lengths_B

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
        x_BSF = x_BTF.reshape(x_BTF.shape[0], -1, self.subsampling * self.num_bins)
        return self.frame_norm(x_BSF)
