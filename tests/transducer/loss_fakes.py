"""Random lattices for tests of the loss."""

from __future__ import annotations

import torch

from asrlib.transducer import Joiner
from asrlib.transducer.loss import LossInputs

VOCAB, DIM = 6, 4
WHOLE = 99  # a prune range that prunes nothing


def make_inputs(lengths: list[int], token_lengths: list[int]) -> LossInputs:
    batch, frames, tokens = len(lengths), max(lengths), max(token_lengths)
    return LossInputs(
        h_BSD=torch.randn(batch, frames, DIM, requires_grad=True),
        am_BSV=(2 * torch.randn(batch, frames, VOCAB)).requires_grad_(),
        lengths_B=torch.tensor(lengths),
        d_BUD=torch.randn(batch, tokens + 1, DIM, requires_grad=True),
        lm_BUV=(2 * torch.randn(batch, tokens + 1, VOCAB)).requires_grad_(),
        tokens_BU=torch.randint(1, VOCAB, (batch, tokens)),
        token_lengths_B=torch.tensor(token_lengths),
    )


def make_joiner() -> Joiner:
    return Joiner(DIM, DIM, 5, VOCAB)
