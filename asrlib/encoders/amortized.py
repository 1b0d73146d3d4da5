"""The compute-cost-amortized Transformer encoder (arXiv 2207.02393).

    stacked frames -> Linear -> blocks -> LayerNorm -> Linear

Arbitrators (`toggles`) say for each frame which feed-forwards, queries and keys of the blocks
(`gated`) are computed. What a stream does not need is not computed (`skip`). With arbitrator
`none` it is a plain causal Transformer, whose `left_context` of 10 is the paper's sliding window.

The cost is the share of the multiplications that the blocks would make with everything on, summed
over frames before it is divided; the paper adds FLOPs themselves, so that its weights fit one size
only. The arbitrators' own work and the two Linears, which are never off, are not part of it: they
are of the operations a second of audio that scores and reports give.

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
from asrlib.encoders.base import HasCost, StreamingEncoder, TakesWeights, Work
from asrlib.encoders.skippable_blocks import GatedAttention, GatedAttentionState, GatedFeedForward
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
    """The two phases of training (section 3 of the paper, in epochs there).

    In the paper toggles are soft, noise grows and the temperature falls. By default they are hard
    (`straight_through`) and noise falls, our choice: noise tries out what nobody would miss, and at
    the end training is what inference is.

    Attributes:
        cost_start: share of the run's steps without a cost and without Gumbel noise (phase 1).
        span: share of them over which, after that, weight, noise and temperature go from their
            first to their final values, linearly; what is left goes on with these.
        weight, final_weight: of the cost, per frame and share of full compute; the latter is the
            trade-off of the sweep.
        noise, final_noise: scales of the Gumbel noise.
        final_temperature: of the Gumbel-sigmoid; 1 at first.
        straight_through: toggles are 0 or 1 in training, with the gradient of soft ones.
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
        """Of phase 2, 0 to 1, when this share of the run's steps is done."""
        return min(1.0, max(0.0, (trained - self.cost_start) / self.span))

    def weight_at(self, trained: float) -> float:
        """Of the cost: 0 in phase 1."""
        return self._in_phase_2(self.weight, self.final_weight, trained)

    def relaxation_at(self, trained: float) -> Relaxation:
        """Of the toggles."""
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
class AmortizedConfig:
    """The amortized Transformer encoder.

    Attributes:
        subsampling: input frames stacked into one.
        frame_norm: LayerNorm of each stacked frame.
        layers: blocks.
        dim: width of the blocks.
        heads: of the attention; must divide `dim`.
        feedforward_dim: units of each feed-forward.
        left_context: output frames before this one that the attention sees. It goes frame by
            frame, whatever the pieces of a stream: one frame is the least.
        grow: share of the training's steps over which the blocks join, at most the schedule's
            `cost_start`; 0: all are there at once.
        dropout: probability, after each part.
        output_dim: outputs of the closing Linear.
        arbitrator: what decides which parts are computed.
        schedule: of the cost and the relaxation in training.
    """

    name: Literal["amortized"] = "amortized"
    subsampling: Positive = 4
    frame_norm: bool = False
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
                f" {self.schedule.cost_start:g}: blocks would be switched off before they join",
                "let the cost begin later, or the blocks join sooner",
            )

    def build(self, num_bins: int) -> AmortizedEncoder:
        """The encoder, with random weights, for frames of `num_bins` features."""
        return AmortizedEncoder(self, num_bins)


@dataclass(frozen=True)
class AmortizedState:
    """All blocks' memories, and the arbitrators'; how many of the last L frames were heard;
    multiplications made, and those of full work."""

    blocks: tuple[GatedAttentionState, ...]
    arbitrators: tuple[ArbitratorState, ...]
    heard_B1: Tensor
    spent_B1: Tensor
    full_B1: Tensor


class AmortizedBlock(nn.Module):
    """Attention, then feed-forward, each behind a LayerNorm and with a residual connection."""

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
    """Exactly causal, without lookahead, with memory bounded by `left_context`.

    Raises:
        ConfigError: random toggles that leave nothing to attend to.

    Attributes:
        skip: in inference (no gradients) on a CPU, whether parts that are off are left out; else,
            or where the compiled operations are missing, they are masked.
    """

    def __init__(self, config: AmortizedConfig, num_bins: int) -> None:
        super().__init__(num_bins, config.subsampling, config.output_dim, config.frame_norm)
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
        """See that random toggles leave something to attend to.

        Raises:
            ConfigError: in none of the pattern's frames a query sees a key.
        """
        x_BSF = torch.zeros(1, PATTERN, self.input.in_features)
        state, reach = self.initial_state(1), self.config.left_context
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
        """A model without arbitrators gets this one's; one with a longer left context loses what
        it has for the distances beyond this one's.
        """
        taken = dict(weights)
        for name, own in self.state_dict().items():
            if name.startswith("arbitrators."):
                taken.setdefault(name, own)
            elif name.endswith("distance_bias_HL") and name in taken:
                taken[name] = taken[name][:, : own.shape[1]]
        return taken

    def set_run_length(self, steps: int) -> None:
        """Learn the total number of training steps, over which cost, noise and temperature move."""
        self._run_length = steps

    def set_step(self, step: int) -> None:
        """Learn the training step, for the same."""
        self._trained = step / self._run_length

    def cost_weight(self) -> float:
        learned = self.config.arbitrator.learned
        return self.config.schedule.weight_at(self._trained) if learned else 0.0

    def initial_state(self, batch_size: int, device: torch.device | None = None) -> AmortizedState:
        device = device or self.norm.mean_F.device
        nothing_B1 = torch.zeros(batch_size, 1, dtype=torch.float64, device=device)
        return AmortizedState(
            tuple(block.attention.initial_state(batch_size, device) for block in self.blocks),
            tuple(a.initial_state(batch_size, device) for a in self.arbitrators),
            nothing_B1.float(),
            nothing_B1,
            nothing_B1,
        )

    def work(self, state: AmortizedState) -> tuple[float, float]:
        return float(state.spent_B1.sum()), float(state.full_B1.sum())

    @property
    def costed_modules(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    @overload
    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, with_cost: Literal[False] = False
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, with_cost: Literal[True]
    ) -> tuple[Tensor, Tensor, Work | None]: ...

    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, with_cost: bool = False
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Work | None]:
        if not with_cost:
            return super().forward(x_BTF, lengths_B)
        whole = self.whole_utterances(x_BTF, lengths_B)
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
        """Of each block, for whole utterances of raw filter banks."""
        state = self.initial_state(x_BTF.shape[0], x_BTF.device)
        frames = x_BTF.shape[1] // self.subsampling * self.subsampling
        return self.trace(self._stack(x_BTF[:, :frames]), state)[3]

    def trace(
        self, x_BSF: Tensor, state: AmortizedState
    ) -> tuple[Tensor, AmortizedState, Work, list[Toggles]]:
        """As `advance`, and the multiplications of each frame and the toggles of each block."""
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
        """Expected multiplications (B, S) of each frame in the attention of all blocks at once."""
        query_ZBHS = torch.stack([t.query_BSH for t in traced]).transpose(2, 3)
        key_ZBHS = torch.stack([t.key_BSH for t in traced]).transpose(2, 3)
        keep_ZBHN = torch.cat([torch.stack([m.keep_BHL for m in before.blocks]), key_ZBHS], dim=3)
        return self.blocks[0].attention.cost(query_ZBHS, keep_ZBHN)

    def _feedforwards_cost(self, traced: Sequence[Toggles]) -> Tensor:
        """The same (B, S) of the feed-forwards of all blocks."""
        return self.blocks[0].feedforward.multiplications * sum(t.feedforward_BS for t in traced)

    def full_multiplications(self, num_frames: int, heard_B1: Tensor) -> Tensor:
        """Multiplications (B, S) of each frame in all blocks with everything on.

        Args:
            heard_B1: frames heard before; more than L are as L.
        """
        attention, feedforward = self.blocks[0].attention, self.blocks[0].feedforward
        full_BS = attention.full_cost(num_frames, heard_B1) + feedforward.multiplications
        return len(self.blocks) * full_BS
