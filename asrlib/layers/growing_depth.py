"""Depth that grows in training: the blocks of a residual stack are added one after another.

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
    """Whether the buffer of this name holds the block shares of a `GrowingDepth`."""
    return name.endswith(f".{_SHARES}")


def depth_of(state: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Block shares, at most 1 each, in a `state_dict`, by the names of their buffers."""
    return {k: v.clamp(max=1.0).tolist() for k, v in state.items() if is_depth(k)}


class GrowingDepth(nn.Module, HasSchedule):
    """Fades blocks in during training: the stack computes `x + share * (block(x) - x)` per block.

    Why: under CTC and transducer losses a deep stack spends its first few hundred steps on a
    solution that depends on the length of the texts only. A shallow stack finds the alignment at
    once, and the blocks that are added later start from it. Training also takes less time. The
    idea is from progressive stacking (Gong et al., ICML 2019) and the layer warm-up of icefall's
    Conformers. It is our choice that the blocks are added in order, each over an equal part of
    `grow`.

    The shares are a buffer, so that a checkpoint is decoded with the depth it was trained with.
    All shares are 1 until a training begins. A training that starts from another model has
    infinite shares, which count as 1 and stay as they are.

    Args:
        joining: for each block, whether it can be left out, that is, whether its input is as wide
            as its output.
        grow: share of the training steps after which all blocks count fully; 0 means from the
            first step on.
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
        # The shares as numbers, because reading a buffer for every block and step is slow.
        shares = self.shares_Z.tolist()
        self._started = math.inf in shares
        self._counts = [min(1.0, share) for share in shares]

    def set_run_length(self, steps: int) -> None:
        """Set the total number of training steps."""
        self._run_length = steps

    def set_step(self, step: int) -> None:
        """Set the depth for a training step.

        In evaluation the depth does not change. The loss on the dev set is computed with a late
        step number, for its weights, but with the depth that the training has reached.
        """
        if self._run_length is None or not self._grow or self._started or not self.training:
            return
        done = step / (self._run_length * self._grow) * (len(self._order) + 1)
        counts = [1.0] * len(self._counts)
        for place, block in enumerate(self._order, start=1):
            counts[block] = min(1.0, max(0.0, done - place))
        self.shares_Z.copy_(torch.tensor(counts))  # always: a dropped step restores old buffers
        self._counts = counts

    @property
    def whole(self) -> bool:
        """Whether every block counts fully."""
        return all(count == 1.0 for count in self._counts)

    def counts(self, block: int) -> bool:
        """Whether a block must be computed, that is, whether its share is above 0."""
        return self._counts[block] > 0.0

    def mix(self, block: int, x_BSD: Tensor, y_BSD: Tensor) -> Tensor:
        """Interpolate between the input x and the output y of a block by its share."""
        share = self._counts[block]
        return y_BSD if share == 1.0 else torch.lerp(x_BSD, y_BSD, share)
