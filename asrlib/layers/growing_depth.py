"""Depth that grows in training: the blocks of a residual stack join one after another.

Shapes: Z blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from asrlib.layers.schedule import HasSchedule

_SHARES = "shares_Z"


def is_depth(name: str) -> bool:
    """Whether a weight of this name says how much the blocks of a `GrowingDepth` count."""
    return name.endswith(f".{_SHARES}")


def depth_of(state: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """How much the blocks of a `state_dict` count, at most 1 each, by the names of such weights."""
    return {k: v.clamp(max=1.0).tolist() for k, v in state.items() if is_depth(k)}


class GrowingDepth(nn.Module, HasSchedule):
    """How much each block counts: `x + share * (block(x) - x)`.

    Why: under CTC and transducer losses a deep stack stays for some hundred steps at what the
    lengths of the texts tell, where a shallow one finds the alignment at once, and the blocks that
    join later begin from that. It also takes less time. Progressive stacking (Gong et al., ICML
    2019) and the layer warm-up of icefall's Conformers have the idea; that the blocks join in
    order, each faded in over an equal share of `grow`, is our choice.

    The shares are weights, so that a checkpoint is decoded as deep as it was trained. All are
    whole until a training begins, and from its first step on where it started from another model
    (infinite shares).

    Args:
        joining: of each block, whether it may be left out: its input is as wide as its output.
        grow: share of the training's steps after which all blocks count; 0: from the start on.
    """

    shares_Z: Tensor

    def __init__(self, joining: Sequence[bool], grow: float) -> None:
        super().__init__()
        self._order = [i for i, joins in enumerate(joining) if joins]
        self._grow = grow
        self._run_length: int | None = None
        self.register_buffer(_SHARES, torch.ones(len(joining)))
        self._read()
        self.register_load_state_dict_post_hook(lambda module, _: module._read())

    def _read(self) -> None:
        # As numbers: to read a buffer for every block and step would take its time.
        shares = self.shares_Z.tolist()
        self._started = math.inf in shares
        self._counts = [min(1.0, share) for share in shares]

    def set_run_length(self, steps: int) -> None:
        """Learn the total number of training steps."""
        self._run_length = steps

    def set_step(self, step: int) -> None:
        """Set the depth for a training step.

        In evaluation nothing changes: dev losses are weighed as at a late step, and the depth stays
        as the training has left it.
        """
        if self._run_length is None or not self._grow or self._started or not self.training:
            return
        done = step / (self._run_length * self._grow) * (len(self._order) + 1)
        counts = [1.0] * len(self._counts)
        for place, block in enumerate(self._order, start=1):
            counts[block] = min(1.0, max(0.0, done - place))
        self.shares_Z.copy_(torch.tensor(counts))  # whatever it has: a bad step puts buffers back
        self._counts = counts

    @property
    def whole(self) -> bool:
        """Whether every block counts fully."""
        return all(count == 1.0 for count in self._counts)

    def counts(self, block: int) -> bool:
        """Whether a block is to be computed at all."""
        return self._counts[block] > 0.0

    def mix(self, block: int, x_BSD: Tensor, y_BSD: Tensor) -> Tensor:
        """Input and output of a block by its share."""
        share = self._counts[block]
        return y_BSD if share == 1.0 else torch.lerp(x_BSD, y_BSD, share)
