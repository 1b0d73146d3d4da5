"""Toggles of the compute-cost-amortized Transformer, and the arbitrators that set them.

arXiv 2207.02393, section 2: an arbitrator gives, for every frame, the probability to keep each
feed-forward module, and the query and the key of each attention head. In training these are
relaxed by a Gumbel-sigmoid; at inference a toggle is on where its probability is above a half.
Our choice is the straight-through one (arXiv 1611.01144, section 2.2): hard in the forward pass of
training too. Of soft toggles the weights make up for any that all frames share, so that whole parts
go off before any frame has told what it is worth; then there is nothing left to choose.

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

PATTERN = 997  # frames after which the random baseline repeats itself
_TINY = 1e-6


@configclass
class ArbitratorConfig:
    """What decides which parts of the Transformer are computed.

    Attributes:
        kind: none: everything is computed; random: each toggle is on with probability `keep`, by
            a fixed table of 997 frames in inference, which training enters anywhere;
            single: one arbitrator reads the input, for all blocks; dual: a second one reads the
            lower half's output, for the upper half (the halves are our choice).
        cell: of the learned arbitrators, two layers of it.
        dim: units of a layer.
        feedforward, query, key: what may be switched off.
        keep: probability at the start of training, at least a half for learned arbitrators
            (below, everything would be off); or of the random baseline.
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
                f"encoder.arbitrator: {self.kind}, but neither feedforward, query nor key is on",
                "switch one of them on, or write kind: none",
            )
        if self.learned and self.keep < 0.5:
            raise ConfigError(
                f"encoder.arbitrator.keep: {self.keep:g} begins with everything off",
                "choose a probability of 0.5 or more, for example 0.9",
            )

    @property
    def learned(self) -> bool:
        """Whether training changes what is on."""
        return self.kind in ("single", "dual")


@dataclass(frozen=True)
class Toggles:
    """One block's toggles, 0 (off) to 1 (on), for each frame."""

    feedforward_BS: Tensor
    query_BSH: Tensor
    key_BSH: Tensor


@dataclass(frozen=True)
class Relaxation:
    """Of toggles in training: Gumbel noise's scale, the temperature, whether they are 0 or 1 with
    the gradient of soft ones."""

    noise_scale: float = 0.0
    temperature: float = 1.0
    straight_through: bool = False


def relax(logits: Tensor, how: Relaxation | None) -> Tensor:
    """Toggles of logits: Gumbel-sigmoid (arXiv 1611.01144), or with None those of inference."""
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
    """The recurrent state of an LSTM arbitrator, zeros for others; frames seen, modulo 997."""

    lstm: LstmState | tuple[()]
    count_B1: Tensor


class Arbitrator(nn.Module):
    """Logits of the toggles of `blocks` blocks.

    Args:
        input_dim: features that it reads.
        blocks: whose toggles it sets.
        heads: of each block.
    """

    def __init__(self, input_dim: int, blocks: int, heads: int, config: ArbitratorConfig) -> None:
        super().__init__()
        self.config, self.blocks, self.heads = config, blocks, heads
        self.groups = [  # toggles of a block: how many, and whether they may be off
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
        """A network of logits, and its last layer."""
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
        """Toggles of each block, relaxed as `how` says."""
        toggles_BSN, lstm = None, state.lstm
        if isinstance(self.net, LstmStack):
            logits_BSN, lstm = self.net(x_BSF, state.lstm)
            toggles_BSN = relax(logits_BSN, how)
        elif self.net is not None:
            toggles_BSN = relax(self.net(x_BSF), how)
        elif self.config.kind == "random":
            frames_S = torch.arange(x_BSF.shape[1], device=x_BSF.device)
            start_B1 = state.count_B1.long()
            if how is not None:  # or a model could learn when what is missing
                start_B1 = torch.randint_like(start_B1, PATTERN)
            index_BS = (start_B1 + frames_S) % PATTERN
            toggles_BSN = (self.pattern_PN[index_BS] < self.config.keep).to(x_BSF.dtype)
        count_B1 = (state.count_B1 + x_BSF.shape[1]) % PATTERN
        return self._split(toggles_BSN, x_BSF), ArbitratorState(lstm, count_B1)

    def _split(self, toggles_BSN: Tensor | None, x_BSF: Tensor) -> list[Toggles]:
        """Toggles by block; all ones where nothing may be off."""
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
