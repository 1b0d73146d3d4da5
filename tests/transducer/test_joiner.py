"""The joint network."""

from __future__ import annotations

import pytest
import torch

from asrlib.errors import ConfigError
from asrlib.transducer import Joiner


@torch.no_grad()
def test_projecting_before_equals_projecting_inside():
    joiner = Joiner(3, 4, 5, 6)
    am, lm = torch.randn(2, 7, 1, 3), torch.randn(2, 1, 8, 4)
    inside = joiner(am, lm)
    before = joiner(joiner.encoder_proj(am), joiner.decoder_proj(lm), project_input=False)
    assert inside.shape == (2, 7, 8, 6)
    torch.testing.assert_close(inside, before)


@torch.no_grad()
def test_without_projection_it_adds():
    joiner = Joiner(5, 5, 5, 6, project=False)
    am, lm = torch.randn(2, 5), torch.randn(2, 5)
    torch.testing.assert_close(joiner(am, lm), joiner.output_linear((am + lm).tanh()))
    assert {n for n, _ in joiner.named_parameters()} == {
        "output_linear.weight",
        "output_linear.bias",
    }


@pytest.mark.parametrize("dims", [(4, 5, 5), (5, 4, 5), (5, 5, 4)])
def test_adding_needs_equal_widths(dims):
    with pytest.raises(ConfigError, match="joiner_project"):
        Joiner(*dims, vocab_size=6, project=False)
