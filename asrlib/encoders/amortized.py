"""The compute-cost-amortized Transformer encoder (arXiv 2207.02393).

    stacked frames -> Linear -> blocks -> LayerNorm -> Linear

Arbitrators (`toggles.py`) decide for each frame which feed-forwards, queries and keys of the blocks
(`skippable_blocks.py`) are computed. In inference the others are skipped (attribute `skip`). With
arbitrator `none` the encoder is a plain causal Transformer; with `left_context` 10 it has the
paper's sliding window.

The cost in the loss is the number of multiplications in the blocks, divided by their number at full
compute; both are summed over frames before the division. The paper uses the number of FLOPs
itself, so that its weights fit one model size only. The arbitrators and the two Linears, which are
never skipped, are not part of the cost. They are part of the FLOPs per second of audio that
scores and reports show.

Shapes: B batch, S output frames, F stacked features, D width, H heads, L left context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, overload

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.base import FrontConfig, HasCost, StreamingEncoder, TakesWeights, Work
from asrlib.encoders.skippable_blocks import GatedAttention, GatedAttentionState, GatedFeedForward
from asrlib.encoders.state import StreamState
from asrlib.encoders.toggles import (
    PATTERN,
    Arbitrator,
    ArbitratorConfig,
    ArbitratorState,
    Relaxation,
    Toggles,
)
from asrlib.errors import ConfigError
from asrlib.layers.attention import check_heads, sum_within_reach
from asrlib.layers.compiled_ops import kernels_work
from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.schedule import HasSchedule
from asrlib.numbers import NonNegative, Positive, Probability


@configclass
class AmortizedSchedule:
    """The two phases of training (section 3 of the paper, which counts epochs, not shares).

    In the paper, toggles are soft, noise grows and the temperature falls. Our default differs:
    toggles are hard (`straight_through`) and noise falls. Noise early in phase 2 tests which parts
    can be skipped without harm, and at the end, training computes the same as inference.

    Attributes:
        cost_start: share of the training steps in phase 1, which has neither cost nor Gumbel noise.
        span: share of the training steps, after phase 1, over which weight, noise and temperature
            change linearly from their first to their final values; they then stay constant.
        weight: first weight of the compute cost in the loss, in nats per frame at full compute.
        final_weight: final weight; it sets the trade-off between accuracy and compute.
        noise: first scale of the Gumbel noise.
        final_noise: final scale of the Gumbel noise.
        final_temperature: final temperature of the Gumbel-sigmoid; the first one is 1.
        straight_through: whether toggles in training are 0 or 1, with the gradient of soft toggles.
    """

    cost_start: Probability = 0.4
    span: Annotated[float, Field(gt=0, le=1)] = 0.45
    weight: NonNegative = 0.02
    final_weight: NonNegative = 0.1
    noise: NonNegative = 1.0
    final_noise: NonNegative = 0.0
    final_temperature: Annotated[float, Field(gt=0, le=1)] = 1.0
    straight_through: bool = True

    def progress(self, trained: float) -> float:
        """Progress of phase 2, from 0 to 1, after the share `trained` of the training steps."""
        return min(1.0, max(0.0, (trained - self.cost_start) / self.span))

    def weight_at(self, trained: float) -> float:
        """Weight of the compute cost in the loss after the share `trained`; 0 in phase 1."""
        return self._in_phase_2(self.weight, self.final_weight, trained)

    def relaxation_at(self, trained: float) -> Relaxation:
        """Relaxation of the toggles after the share `trained` of the training steps."""
        return Relaxation(
            self._in_phase_2(self.noise, self.final_noise, trained),
            1.0 + self.progress(trained) * (self.final_temperature - 1.0),
            self.straight_through,
        )

    def _in_phase_2(self, first: float, last: float, trained: float) -> float:
        if trained < self.cost_start:
            return 0.0
        return first + self.progress(trained) * (last - first)


@configclass
class AmortizedConfig(FrontConfig):
    """The amortized Transformer encoder.

    Attributes:
        layers: number of blocks.
        dim: width of the blocks.
        heads: number of attention heads; it must divide `dim`.
        feedforward_dim: hidden units per feed-forward.
        left_context: number of output frames before a frame that it attends to, at least 1. It
            does not depend on how a stream is cut into pieces.
        grow: share of the training steps over which the blocks are added (`GrowingDepth`), at most
            the schedule's `cost_start`; 0 means that all blocks are used from the start.
        dropout: dropout probability after each part of a block.
        output_dim: outputs of the final Linear.
        arbitrator: the arbitrator, which decides which parts are computed.
        schedule: schedule of the cost and of the relaxation of toggles in training.
    """

    name: Literal["amortized"] = "amortized"
    layers: Annotated[int, Field(ge=2)] = 6
    dim: Positive = 192
    heads: Positive = 4
    feedforward_dim: Positive = 768
    left_context: Positive = 64
    grow: Probability = 0.0
    dropout: Probability = 0.1
    output_dim: Positive = 256
    arbitrator: ArbitratorConfig = ArbitratorConfig()
    schedule: AmortizedSchedule = AmortizedSchedule()

    def __post_init__(self) -> None:
        check_heads(self.dim, self.heads)
        if self.arbitrator.learned and self.grow > self.schedule.cost_start:
            raise ConfigError(
                f"encoder.grow: {self.grow:g} is beyond encoder.schedule.cost_start ="
                f" {self.schedule.cost_start:g}: the cost would begin before all blocks are added",
                "set encoder.grow to at most cost_start, or raise cost_start",
            )

    def build(self, num_bins: int) -> AmortizedEncoder:
        """Build the encoder, with random weights, for frames of `num_bins` features."""
        return AmortizedEncoder(self, num_bins)


@dataclass(frozen=True)
class AmortizedState:
    """State of streams.

    Attributes:
        blocks: states of the blocks' attention.
        arbitrators: states of the arbitrators.
        heard_B1: number of frames so far, at most L.
        spent_B1: number of multiplications made so far.
        full_B1: number of multiplications so far at full compute.
    """

    blocks: tuple[GatedAttentionState, ...]
    arbitrators: tuple[ArbitratorState, ...]
    heard_B1: Tensor
    spent_B1: Tensor
    full_B1: Tensor


class AmortizedBlock(nn.Module):
    """Attention, then feed-forward, each with a LayerNorm before it and a residual connection."""

    def __init__(self, config: AmortizedConfig) -> None:
        super().__init__()
        self.attention = GatedAttention(
            config.dim, config.heads, config.left_context, config.dropout
        )
        self.feedforward = GatedFeedForward(config.dim, config.feedforward_dim, config.dropout)

    def forward(
        self, x_BSD: Tensor, toggles: Toggles, state: GatedAttentionState, skip: bool
    ) -> tuple[Tensor, GatedAttentionState, Tensor | None]:
        x_BSD, state, spent_BS = self.attention(x_BSD, toggles, state, skip)
        return self.feedforward(x_BSD, toggles.feedforward_BS, skip), state, spent_BS


class AmortizedEncoder(StreamingEncoder, HasCost, HasSchedule, TakesWeights):
    """The amortized Transformer encoder: causal, without lookahead, with bounded memory.

    Raises:
        ConfigError: the random toggles of the baseline leave no key that a query could attend to.

    Attributes:
        skip: whether parts that are off are skipped in inference (without gradients) on a CPU. If
            False, and wherever the compiled operations do not apply, these parts are masked.
    """

    def __init__(self, config: AmortizedConfig, num_bins: int) -> None:
        super().__init__(num_bins, config, config.output_dim)
        self.config, self.skip = config, True
        self._run_length, self._trained = 1, 0.0
        num_features, half = config.subsampling * num_bins, config.layers // 2
        self.input = nn.Linear(num_features, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(AmortizedBlock(config) for _ in range(config.layers))
        self.depth = GrowingDepth([True] * (config.layers - 1) + [False], config.grow)
        self.final_norm = nn.LayerNorm(config.dim)
        self.output = nn.Linear(config.dim, config.output_dim)
        spans = [(num_features, config.layers)]
        if config.arbitrator.kind == "dual":
            spans = [(num_features, half), (config.dim, config.layers - half)]
        self.arbitrators = nn.ModuleList(
            Arbitrator(dim, blocks, config.heads, config.arbitrator) for dim, blocks in spans
        )
        if config.arbitrator.kind == "random":
            self._check_pattern()

    @torch.no_grad()
    def _check_pattern(self) -> None:
        """Check that with the random toggles at least one query attends to a key.

        Raises:
            ConfigError: in no frame of the pattern does a query have a key within reach.
        """
        x_BSF = torch.zeros(1, PATTERN, self.input.in_features)
        state, reach = self.first_state(1, x_BSF.device), self.config.left_context
        for toggles in self.arbitrators[0](x_BSF, state.arbitrators[0], None)[0]:
            keys_BHN = F.pad(toggles.key_BSH.transpose(1, 2), (reach, 0))
            seen_BSH = sum_within_reach(keys_BHN, reach).transpose(1, 2)
            if (toggles.query_BSH * seen_BSH).any():
                return
        raise ConfigError(
            f"encoder.arbitrator.keep: with {self.config.arbitrator.keep:g} no query sees a key",
            "choose a larger probability, for example 0.4",
        )

    def take_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert another encoder's `state_dict` into one of this encoder.

        If the other encoder has no arbitrators, those of this encoder are kept. If it has a longer
        left context, its biases for larger distances are dropped.
        """
        taken = dict(weights)
        for name, own in self.state_dict().items():
            if name.startswith("arbitrators."):
                taken.setdefault(name, own)
            elif name.endswith("distance_bias_HL") and name in taken:
                taken[name] = taken[name][:, : own.shape[1]]
        return taken

    def set_run_length(self, steps: int) -> None:
        """Set the total number of training steps, for schedules of cost, noise and temperature."""
        self._run_length = steps

    def set_step(self, step: int) -> None:
        """Set the number of the training step, for the same schedules."""
        self._trained = step / self._run_length

    def cost_weight(self) -> float:
        learned = self.config.arbitrator.learned
        return self.config.schedule.weight_at(self._trained) if learned else 0.0

    def first_state(self, batch_size: int, device: torch.device) -> AmortizedState:
        nothing_B1 = torch.zeros(batch_size, 1, dtype=torch.float64, device=device)
        return AmortizedState(
            tuple(block.attention.initial_state(batch_size, device) for block in self.blocks),
            tuple(a.initial_state(batch_size, device) for a in self.arbitrators),
            nothing_B1.float(),
            nothing_B1,
            nothing_B1,
        )

    def work(self, state: StreamState) -> tuple[float, float]:
        own: AmortizedState = state.own
        return float(own.spent_B1.sum()), float(own.full_B1.sum())

    @property
    def costed_modules(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    @overload
    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        condition_BC: Tensor | None = None,
        *,
        with_cost: Literal[False] = False,
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        condition_BC: Tensor | None = None,
        *,
        with_cost: Literal[True],
    ) -> tuple[Tensor, Tensor, Work | None]: ...

    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        condition_BC: Tensor | None = None,
        *,
        with_cost: bool = False,
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Work | None]:
        if not with_cost:
            return super().forward(x_BTF, lengths_B, condition_BC)
        whole = self.whole_utterances(x_BTF, lengths_B, condition_BC)
        if whole.x_BSF.shape[1] == 0:
            return self.nothing(whole), whole.out_lengths_R, None
        h_BSD, _, work, _ = self.trace(whole.x_BSF, whole.state)
        return h_BSD, whole.out_lengths_R, work

    def advance(
        self, x_BSF: Tensor, state: AmortizedState, mask_BS: Tensor | None
    ) -> tuple[Tensor, AmortizedState]:
        h_BSD, state, _, _ = self.trace(x_BSF, state)
        return h_BSD, state

    def toggles(self, x_BTF: Tensor) -> list[Toggles]:
        """Return the toggles of each block for whole utterances, whose condition is not known.

        Args:
            x_BTF: raw log filter-bank energies.
        """
        state = self.initial_state(x_BTF.shape[0], x_BTF.device)
        frames = x_BTF.shape[1] // self.subsampling * self.subsampling
        x_BSF, _ = self.stack(x_BTF[:, :frames], state.front)
        return self.trace(x_BSF, state.own)[3]

    def trace(
        self, x_BSF: Tensor, state: AmortizedState
    ) -> tuple[Tensor, AmortizedState, Work, list[Toggles]]:
        """Encode as `advance` does, and also return the work per frame and each block's toggles."""
        how = self.config.schedule.relaxation_at(self._trained) if self.training else None
        inference = not self.training and not torch.is_grad_enabled()
        skip = self.skip and inference and self.depth.whole
        skip = skip and x_BSF.device.type == "cpu" and x_BSF.dtype == torch.float32
        skip = skip and kernels_work()
        x_BSD = self.dropout(self.input(x_BSF))
        arbitrators, memories, traced, counted = [], [], [], []
        remaining = enumerate(zip(self.blocks, state.blocks, strict=True))
        for arbitrator, arbitrator_state in zip(self.arbitrators, state.arbitrators, strict=True):
            heard = x_BSF if not arbitrators else x_BSD
            toggles, arbitrator_state = arbitrator(heard, arbitrator_state, how)
            arbitrators.append(arbitrator_state)
            traced += toggles
            for block_toggles in toggles:
                i, (block, memory) = next(remaining)
                if self.depth.counts(i):
                    y_BSD, memory, spent_BS = block(x_BSD, block_toggles, memory, skip)
                    x_BSD = self.depth.mix(i, x_BSD, y_BSD)
                    counted.append(spent_BS)
                memories.append(memory)
        h_BSD = self.output(self.final_norm(x_BSD))
        spent_BS = sum(counted) if skip else self._attentions_cost(traced, state)
        spent_BS = spent_BS + self._feedforwards_cost(traced)
        full_BS = self.full_multiplications(x_BSF.shape[1], state.heard_B1)
        state = AmortizedState(
            tuple(memories),
            tuple(arbitrators),
            (state.heard_B1 + x_BSF.shape[1]).clamp(max=self.config.left_context),
            state.spent_B1 + spent_BS.detach().double().sum(1, keepdim=True),
            state.full_B1 + full_BS.double().sum(1, keepdim=True),
        )
        return h_BSD, state, Work(spent_BS, full_BS), traced

    def _attentions_cost(self, traced: Sequence[Toggles], before: AmortizedState) -> Tensor:
        """Expected multiplications (B, S) per frame, summed over all blocks' attention."""
        query_ZBHS = torch.stack([t.query_BSH for t in traced]).transpose(2, 3)
        key_ZBHS = torch.stack([t.key_BSH for t in traced]).transpose(2, 3)
        keep_ZBHN = torch.cat([torch.stack([m.keep_BHL for m in before.blocks]), key_ZBHS], dim=3)
        return self.blocks[0].attention.cost(query_ZBHS, keep_ZBHN)

    def _feedforwards_cost(self, traced: Sequence[Toggles]) -> Tensor:
        """Expected multiplications (B, S) per frame, summed over all blocks' feed-forwards."""
        return self.blocks[0].feedforward.multiplications * sum(t.feedforward_BS for t in traced)

    def full_multiplications(self, num_frames: int, heard_B1: Tensor) -> Tensor:
        """Number of multiplications (B, S) per frame in all blocks at full compute.

        Args:
            num_frames: number of output frames.
            heard_B1: number of output frames before the first of them; values above L count as L.
        """
        attention, feedforward = self.blocks[0].attention, self.blocks[0].feedforward
        full_BS = attention.full_cost(num_frames, heard_B1) + feedforward.multiplications
        return len(self.blocks) * full_BS
