"""The interface of streaming encoders, which encode whole utterances or streams in pieces.

Shapes: B batch, T input frames, S output frames (S = T // subsampling), F features, D width,
C values of a condition, R = B * N output rows. An encoder with N output channels returns the N
channels of a stream in adjacent rows, while inputs, states and conditions have B rows.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.state import FrontState, StreamState
from asrlib.layers.causal_conv import BinConv
from asrlib.layers.norm import GlobalNorm, RunningNorm
from asrlib.numbers import Count, Positive, PositiveFloat

CONDITION = "condition_CF"  # name of the projection in a `state_dict`
_RIGHT_CONTEXT_KERNEL = 5


@configclass
class FrontConfig:
    """Settings that all encoders have: what happens to the frames before the first layer.

    Attributes:
        subsampling: number of input frames stacked into one output frame.
        frame_norm: whether a LayerNorm is applied to each stacked frame.
        condition: number C of values that describe a stream and do not change from frame to frame;
            2 for the speaker's cohort (`asrlib.data.membership`), 0 for none. Their projection,
            which is zero before the training, is added to each stacked frame.
        running_norm: what the running normalisation takes off a stream (`RunningNorm`).
        running_prior: number of input frames that the global statistics count as in it.
        right_context: number of convolutions before the first layer (`BinConv`, kernel 5). They
            are causal and have no residual connection: each centres the first layer's view two
            output frames before the newest frame, so that an encoder that answers at once (LSTM,
            Conformer) can be given as much context after a sound as ConvRNN-T's CNN takes. They
            do not force a delay; what a model waits is measured as its symbol delay.
    """

    subsampling: Positive = 4
    frame_norm: bool = False
    condition: Count = 0
    running_norm: Literal["none", "mean", "mean_variance"] = "none"
    running_prior: PositiveFloat = 100.0
    right_context: Annotated[int, Field(ge=0, le=3)] = 0


@dataclass(frozen=True)
class Work:
    """Number of multiplications per frame.

    Attributes:
        spent_BS: multiplications that an encoder made, or expects to make.
        full_BS: multiplications at full compute.
    """

    spent_BS: Tensor
    full_BS: Tensor

    def of_utterances(self, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums (B) of `spent_BS` and `full_BS` over the valid frames."""
        frames_S = torch.arange(self.full_BS.shape[1], device=self.full_BS.device)
        valid_BS = frames_S < lengths_B.unsqueeze(1)
        return (self.spent_BS * valid_BS).sum(dim=1), (self.full_BS * valid_BS).sum(dim=1)


@dataclass(frozen=True)
class WholeUtterances:
    """Padded utterances, ready for `StreamingEncoder.advance`.

    Attributes:
        x_BSF: normalised, stacked frames, to which the condition was added.
        mask_BS: True where a frame is valid, False at padding; None outside training.
        state: first state of the encoder's layers.
        out_lengths_R: number of valid output frames per output row.
    """

    x_BSF: Tensor
    mask_BS: Tensor | None
    state: Any
    out_lengths_R: Tensor


class HasCost(abc.ABC):
    """An encoder that can skip computations, and that counts those it makes."""

    @property
    @abc.abstractmethod
    def costed_modules(self) -> Sequence[nn.Module]:
        """Modules whose multiplications the encoder itself counts."""

    @abc.abstractmethod
    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        condition_BC: Tensor | None = None,
        *,
        with_cost: Literal[True],
    ) -> tuple[Tensor, Tensor, Work | None]:
        """Encode as `StreamingEncoder.forward` does, and return the work of each output frame.

        The work is None if there are no output frames.
        """

    @abc.abstractmethod
    def work(self, state: StreamState) -> tuple[float, float]:
        """Number of multiplications made so far by the streams of a state, and at full compute."""

    @abc.abstractmethod
    def full_multiplications(self, num_frames: int, heard_B1: Tensor) -> Tensor:
        """Number of multiplications (B, S) per frame at full compute.

        Args:
            num_frames: number of output frames.
            heard_B1: number of output frames before the first of them.
        """

    @abc.abstractmethod
    def cost_weight(self) -> float:
        """Weight of the compute cost in the loss, in nats per frame at full compute."""


class TakesWeights(abc.ABC):
    """An encoder that can convert the weights of an encoder of another shape into its own."""

    @abc.abstractmethod
    def take_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert another encoder's `state_dict` into one of this encoder."""


class StreamingEncoder(nn.Module, abc.ABC):
    """Encodes raw filter-bank frames, in streams or as whole utterances, with the same result.

    For any split of the frames into pieces whose lengths are multiples of `subsampling`, the
    concatenated outputs of `step` equal the output of `forward` for the whole. Both use one code
    path: `forward` advances the initial state by the whole utterance.

    A condition is added to the frames like a bias, and streaming states hold it. Zeros mean that
    it is not known; they change no output, because the projection has no bias. The position and
    the zeros of a new projection are our choice (arXiv 2207.11345 says only that the membership is
    an input next to the acoustic features).

    Attributes:
        num_bins: features per input frame.
        subsampling: input frames per output frame.
        output_dim: features per output frame.
        lookahead: number of future input frames that an output frame depends on.
        num_channels: number N of output channels, that is, of talkers who may speak at the same
            time.
        norm: global normalisation of the features with the training set's statistics.
        frame_norm: LayerNorm of each stacked frame, or the identity if the configuration has it
            off. The signal level shifts all bins together and may dominate a projection of
            globally normalised features. This layer is our choice; no full training has shown
            yet that it helps.
        running_norm: running normalisation after the global one; None if it is off.
        right_context: convolutions after `frame_norm`.
        condition_dim: number C of values of the condition; 0 if the encoder takes none.
        condition_CF: projection of the condition; None if the encoder takes none.
    """

    lookahead: int = 0
    num_channels: int = 1

    def __init__(self, num_bins: int, front: FrontConfig, output_dim: int) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.subsampling = front.subsampling
        self.output_dim = output_dim
        self.norm = GlobalNorm(num_bins)
        dim = front.subsampling * num_bins
        self.frame_norm = nn.LayerNorm(dim) if front.frame_norm else nn.Identity()
        self.running_norm = None
        if front.running_norm != "none":
            variance = front.running_norm == "mean_variance"
            self.running_norm = RunningNorm(num_bins, front.running_prior, variance)
        self.right_context = nn.ModuleList(
            BinConv(front.subsampling, num_bins, _RIGHT_CONTEXT_KERNEL)
            for _ in range(front.right_context)
        )
        self.condition_dim = front.condition
        self.condition_CF = None  # zeros draw no random numbers: all other weights stay the same
        if front.condition:
            self.condition_CF = nn.Parameter(torch.zeros(front.condition, dim))

    @abc.abstractmethod
    def first_state(self, batch_size: int, device: torch.device) -> Any:
        """Return the state of the encoder's layers before the first frame: all zeros."""

    @abc.abstractmethod
    def advance(self, x_BSF: Tensor, state: Any, mask_BS: Tensor | None) -> tuple[Tensor, Any]:
        """Encode normalised, stacked frames and return the state of the layers after them.

        Args:
            x_BSF: S >= 1 frames of `subsampling * num_bins` features.
            state: state of the layers before these frames.
            mask_BS: True where a frame is valid; None if all frames are. Only training may
                depend on it, for its statistics over the batch.
        """

    def initial_state(
        self,
        batch_size: int,
        device: torch.device | None = None,
        condition_BC: Tensor | None = None,
    ) -> StreamState:
        """Return the state of streams before their first frame; zeros, except for the condition.

        Args:
            batch_size: number of streams.
            device: device of the state; None for that of the encoder.
            condition_BC: condition of each stream; None if it is not known.

        Raises:
            ValueError: as `with_condition`.
        """
        device = device or self.norm.mean_F.device
        unknown: Tensor | tuple[()] = ()
        if self.condition_CF is not None:
            unknown = self.condition_CF.new_zeros(batch_size, self.condition_dim, device=device)
        front = self.first_front(batch_size, device)
        state = StreamState(self.first_state(batch_size, device), unknown, front)
        return state if condition_BC is None else self.with_condition(state, condition_BC)

    def with_condition(self, state: StreamState, condition_BC: Tensor) -> StreamState:
        """Return a running state with another condition, which counts from the next frame on.

        Args:
            state: state of B streams.
            condition_BC: condition of each stream; zeros where it is not known.

        Raises:
            ValueError: the shape is not (B, `condition_dim`), or the encoder takes no condition.
        """
        before = state.condition
        if isinstance(before, tuple):
            raise ValueError("this encoder takes no condition")
        if condition_BC.shape != before.shape:
            shapes = tuple(before.shape), tuple(condition_BC.shape)
            raise ValueError("the condition must have shape {}, not {}".format(*shapes))
        return replace(state, condition=condition_BC.to(before))

    def first_front(self, batch_size: int, device: torch.device) -> FrontState:
        """Return the state of what precedes the layers, before the first frame: zeros."""
        norm = self.running_norm
        return FrontState(
            () if norm is None else norm.initial_state(batch_size, device),
            tuple(conv.initial_state(batch_size, device) for conv in self.right_context),
        )

    def _conditioned(self, x_BSF: Tensor, condition: Tensor | tuple[()]) -> Tensor:
        """Add the projected condition to normalised, stacked frames."""
        if self.condition_CF is None or isinstance(condition, tuple):
            return x_BSF
        return x_BSF + (condition @ self.condition_CF).unsqueeze(1)

    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, condition_BC: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode whole utterances, which are padded at their end.

        Args:
            x_BTF: raw log filter-bank energies.
            lengths_B: number of valid frames per utterance.
            condition_BC: condition of each utterance; None if it is not known.

        Returns:
            Encoder output h_RSD and its valid lengths (R). Input frames at the end that do not
            fill a group of `subsampling` frames are dropped.

        Raises:
            ValueError: as `with_condition`.
        """
        whole = self.whole_utterances(x_BTF, lengths_B, condition_BC)
        if whole.x_BSF.shape[1] == 0:
            return self.nothing(whole), whole.out_lengths_R
        h_RSD, _ = self.advance(whole.x_BSF, whole.state, whole.mask_BS)
        return h_RSD, whole.out_lengths_R

    def whole_utterances(
        self, x_BTF: Tensor, lengths_B: Tensor, condition_BC: Tensor | None
    ) -> WholeUtterances:
        """Prepare the inputs of `advance` for whole utterances, from the initial state."""
        lengths_B = torch.div(lengths_B, self.subsampling, rounding_mode="floor")
        num_outputs = x_BTF.shape[1] // self.subsampling
        mask_BS = None
        if self.training:
            mask_BS = torch.arange(num_outputs, device=x_BTF.device) < lengths_B.unsqueeze(1)
        state = self.initial_state(x_BTF.shape[0], x_BTF.device, condition_BC)
        x_BSF, _ = self.stack(x_BTF[:, : num_outputs * self.subsampling], state.front)
        return WholeUtterances(
            x_BSF=self._conditioned(x_BSF, state.condition),
            mask_BS=mask_BS,
            state=state.own,
            out_lengths_R=lengths_B.repeat_interleave(self.num_channels),
        )

    def nothing(self, whole: WholeUtterances) -> Tensor:
        """Return the empty output (R, 0, D) of utterances shorter than one output frame."""
        return whole.x_BSF.new_zeros(len(whole.out_lengths_R), 0, self.output_dim)

    def step(self, x_BTF: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Encode the next frames of streams; all streams receive the same number of frames.

        Args:
            x_BTF: raw log filter-bank energies; T is a positive multiple of `subsampling`.
            state: state before these frames.

        Returns:
            Encoder output h_RSD, and the state after these frames, with the same condition.

        Raises:
            ValueError: T is not a positive multiple of `subsampling`.
        """
        num_frames = x_BTF.shape[1]
        if num_frames == 0 or num_frames % self.subsampling:
            raise ValueError(
                f"a step takes a positive multiple of {self.subsampling} frames, not {num_frames}"
            )
        x_BSF, front = self.stack(x_BTF, state.front)
        x_BSF = self._conditioned(x_BSF, state.condition)
        h_RSD, own = self.advance(x_BSF, state.own, None)
        return h_RSD, StreamState(own, state.condition, front)

    def stack(self, raw_BTF: Tensor, front: FrontState) -> tuple[Tensor, FrontState]:
        """Normalise frames, stack groups of `subsampling` of them, and convolve these.

        Args:
            raw_BTF: raw log filter-bank energies; T is a multiple of `subsampling`.
            front: state before these frames.

        Returns:
            The input of `advance`, but for the condition, and the state after these frames.
        """
        x_BTF, norm = self.norm(raw_BTF), front.norm
        if self.running_norm is not None and not isinstance(norm, tuple):
            x_BTF, norm = self.running_norm(x_BTF, raw_BTF, norm)
        groups = x_BTF.shape[1] // self.subsampling
        x_BSF = x_BTF.reshape(x_BTF.shape[0], groups, self.subsampling * self.num_bins)
        x_BSF, lefts = self.frame_norm(x_BSF), []
        if groups == 0:  # torch's convolution refuses an empty sequence
            return x_BSF, front
        for conv, left_BPF in zip(self.right_context, front.right_context, strict=True):
            x_BSF, left_BPF = conv(x_BSF, left_BPF)
            lefts.append(left_BPF)
        return x_BSF, FrontState(norm, tuple(lefts))
