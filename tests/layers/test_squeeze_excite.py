"""Squeeze-excite over the past."""

from __future__ import annotations

import torch

from asrlib.layers.squeeze_excite import CausalSqueezeExcite


@torch.no_grad()
def test_squeeze_excite_gates_by_the_mean_of_all_frames_so_far():
    module = CausalSqueezeExcite(4)
    z_BSD = torch.randn(2, 7, 4)
    y_BSD, state = module(z_BSD, module.initial_state(2, z_BSD.device))
    for i in range(7):
        mean_BD = z_BSD[:, : i + 1].mean(dim=1)
        gate_BD = module.excite(module.squeeze(mean_BD).relu()).sigmoid()
        torch.testing.assert_close(y_BSD[:, i], z_BSD[:, i] * gate_BD)
    torch.testing.assert_close(state.mean_BD, z_BSD.mean(dim=1))
    assert state.count_B1.tolist() == [[7.0], [7.0]]
