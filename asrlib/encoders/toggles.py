"""Toggles of the compute-cost-amortized Transformer, and the arbitrators that set them.

arXiv 2207.02393, section 2: for each frame, an arbitrator gives the probability to keep each
feed-forward module, and the query and the key of each attention head. In training, a
Gumbel-sigmoid relaxes the toggles; in inference, a toggle is on if its probability is above 1/2.

Our choice is the straight-through estimator (arXiv 1611.01144, section 2.2): toggles are hard in
the forward pass of training too. If toggles are soft, the weights can compensate for a factor that
is common to all frames. Entire parts are then switched off before training has found out which
frames need them, and nothing is left for the arbitrator to decide.

Shapes: B batch, S output frames, F input features, H heads, N toggles of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.layers.lstm_stack import LstmStack, LstmStackConfig, LstmState
from asrlib.numbers import Positive

PATTERN = 997  # period of the random baseline, in frames
_TINY = 1e-6


@configclass
class ArbitratorConfig:
    """The arbitrator, which decides which parts of the Transformer are computed.

    Attributes:
        kind: type of the arbitrator. `none`: everything is computed. `random`: each toggle is on
            with probability `keep`, according to a fixed table of 997 frames; inference starts at
            its first frame, training at a random one. `single`: one arbitrator for all blocks,
            whose input is the encoder's. `dual`: a second arbitrator for the upper half of the
            blocks, whose input is the lower half's output (the split in halves is our choice).
        cell: type of the two layers of a learned arbitrator.
        dim: hidden units per layer.
        feedforward: whether feed-forwards can be switched off.
        query: whether queries can be switched off.
        key: whether keys can be switched off.
        keep: for learned arbitrators, the probability that a toggle is on at the start of
            training, at least 0.5, because everything would be off below; for the random
            baseline, the probability that a toggle is on.
    """

    kind: Literal["none", "random", "single", "dual"] = "dual"
    cell: Literal["feedforward", "lstm"] = "lstm"
    dim: Positive = 128
    feedforward: bool = True
    query: bool = True
    key: bool = True
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.9

    def __post_init__(self) -> None:
        if self.kind != "none" and not (self.feedforward or self.query or self.key):
            raise ConfigError(
                f"encoder.arbitrator: {self.kind}, but feedforward, query and key are all false",
                "set one of them to true, or set kind: none",
            )
        if self.learned and self.keep < 0.5:
            raise ConfigError(
                f"encoder.arbitrator.keep: {self.keep:g} starts training with everything off",
                "choose a probability of 0.5 or more, for example 0.9",
            )

    @property
    def learned(self) -> bool:
        """Whether the arbitrator is a trained network."""
        return self.kind in ("single", "dual")


@dataclass(frozen=True)
class Toggles:
    """Toggles of one block for each frame, from 0 (off) to 1 (on)."""

    feedforward_BS: Tensor
    query_BSH: Tensor
    key_BSH: Tensor


@dataclass(frozen=True)
class Relaxation:
    """How toggles are relaxed in training.

    Attributes:
        noise_scale: scale of the Gumbel noise.
        temperature: temperature of the sigmoid.
        straight_through: whether toggles are 0 or 1, with the gradient of soft toggles.
    """

    noise_scale: float = 0.0
    temperature: float = 1.0
    straight_through: bool = False


def relax(logits: Tensor, how: Relaxation | None) -> Tensor:
    """Compute toggles from logits.

    Args:
        logits: logits of the probabilities that the toggles are on.
        how: relaxation by the Gumbel-sigmoid (arXiv 1611.01144); None in inference, where a toggle
            is on if its logit is above 0.
    """
    if how is None:
        return (logits > 0).to(logits.dtype)
    if how.noise_scale > 0:
        uniform = torch.rand_like(logits).clamp(_TINY, 1 - _TINY)
        logits = logits + how.noise_scale * torch.logit(uniform)
    soft = torch.sigmoid(logits / how.temperature)
    if how.straight_through:
        return (logits > 0).to(soft.dtype) + (soft - soft.detach())
    return soft


@dataclass(frozen=True)
class ArbitratorState:
    """State of an arbitrator.

    Attributes:
        lstm: recurrent state of an LSTM arbitrator; an empty tuple for other arbitrators.
        count_B1: number of frames so far, modulo 997.
    """

    lstm: LstmState | tuple[()]
    count_B1: Tensor


class Arbitrator(nn.Module):
    """A network, or a random baseline, that sets the toggles of several blocks.

    Args:
        input_dim: features of the input.
        blocks: number of blocks whose toggles it sets.
        heads: number of attention heads per block.
        config: configuration of the arbitrator.
    """

    def __init__(self, input_dim: int, blocks: int, heads: int, config: ArbitratorConfig) -> None:
        super().__init__()
        self.config, self.blocks, self.heads = config, blocks, heads
        self.groups = [  # toggles of a block: number, and whether they can be off
            (1, config.feedforward),
            (heads, config.query),
            (heads, config.key),
        ]
        free = sum(size for size, toggled in self.groups if toggled)
        self.net: LstmStack | nn.Sequential | None = None
        outputs = blocks * free
        if config.learned and outputs:
            self.net, output = self._build(input_dim, outputs)
            nn.init.constant_(output.bias, float(torch.logit(torch.tensor(config.keep))))
        generator = torch.Generator().manual_seed(0)
        pattern_PN = torch.rand(PATTERN, outputs, generator=generator)
        self.register_buffer("pattern_PN", pattern_PN, persistent=False)

    def _build(self, input_dim: int, outputs: int) -> tuple[LstmStack | nn.Sequential, nn.Linear]:
        """Build the network that computes the logits; return it and its last layer."""
        dim = self.config.dim
        if self.config.cell == "lstm":
            stack = LstmStackConfig(layers=2, hidden_dim=dim, dropout=0.0)
            net = LstmStack(input_dim, stack, outputs)
            return net, net.output
        layers = [nn.Linear(input_dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU()]
        output = nn.Linear(dim, outputs)
        return nn.Sequential(*layers, output), output

    def initial_state(self, batch_size: int, device: torch.device) -> ArbitratorState:
        count_B1 = torch.zeros(batch_size, 1, device=device)
        if isinstance(self.net, LstmStack):
            return ArbitratorState(self.net.initial_state(batch_size, device), count_B1)
        return ArbitratorState((), count_B1)

    def forward(
        self, x_BSF: Tensor, state: ArbitratorState, how: Relaxation | None
    ) -> tuple[list[Toggles], ArbitratorState]:
        """Return the toggles of each block and the new state; `how` is as in `relax`."""
        toggles_BSN, lstm = None, state.lstm
        if isinstance(self.net, LstmStack):
            logits_BSN, lstm = self.net(x_BSF, state.lstm)
            toggles_BSN = relax(logits_BSN, how)
        elif self.net is not None:
            toggles_BSN = relax(self.net(x_BSF), how)
        elif self.config.kind == "random":
            frames_S = torch.arange(x_BSF.shape[1], device=x_BSF.device)
            start_B1 = state.count_B1.long()
            if how is not None:  # so that a model cannot learn the pattern
                start_B1 = torch.randint_like(start_B1, PATTERN)
            index_BS = (start_B1 + frames_S) % PATTERN
            toggles_BSN = (self.pattern_PN[index_BS] < self.config.keep).to(x_BSF.dtype)
        count_B1 = (state.count_B1 + x_BSF.shape[1]) % PATTERN
        return self._split(toggles_BSN, x_BSF), ArbitratorState(lstm, count_B1)

    def _split(self, toggles_BSN: Tensor | None, x_BSF: Tensor) -> list[Toggles]:
        """Split toggles by block; toggles that cannot be off are 1."""
        blocks, start = [], 0
        for _ in range(self.blocks):
            parts = []
            for size, toggled in self.groups:
                if toggles_BSN is None or not toggled:
                    parts.append(x_BSF.new_ones(*x_BSF.shape[:2], size))
                    continue
                parts.append(toggles_BSN[..., start : start + size])
                start += size
            blocks.append(Toggles(parts[0].squeeze(-1), parts[1], parts[2]))
        return blocks
