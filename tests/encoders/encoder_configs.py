"""Small encoders of every kind, and how tests make and run them."""

from __future__ import annotations

from dataclasses import replace

import torch

from asrlib.encoders import (
    AmortizedConfig,
    ConformerConfig,
    ContextNetConfig,
    ConvRnntConfig,
    LstmConfig,
    LstmStackConfig,
    SeparatorConfig,
    StreamingEncoder,
)
from asrlib.encoders.amortized import AmortizedSchedule
from asrlib.encoders.toggles import ArbitratorConfig
from asrlib.layers.norm import GlobalNorm, MaskedBatchNorm
from asrlib.layers.schedule import set_run_length, set_step

NUM_BINS = 6
PLAIN = LstmStackConfig(layers=2, hidden_dim=7, layer_norm=False, dropout=0.5)
RICH = LstmStackConfig(layers=3, hidden_dim=8, projection_dim=5, residual=True, dropout=0.5)
NORMED = LstmStackConfig(layers=1, hidden_dim=7, dropout=0.5)
CONV = {"dim": 8, "local_channels": (3, 2), "global_blocks": 4, "output_dim": 5, "dropout": 0.5}
CONFORMER = {
    "layers": 2,
    "dim": 8,
    "heads": 2,
    "feedforward_dim": 12,
    "kernel": 3,
    "dropout": 0.5,
    "output_dim": 5,
}
CONFIGS = {
    "lstm-plain": LstmConfig(subsampling=2, lstm=PLAIN, output_dim=5),
    "lstm-rich": LstmConfig(subsampling=3, input_dim=9, lstm=RICH, output_dim=5),
    "conv": ConvRnntConfig(subsampling=2, lstm=PLAIN, **CONV),
    "conv-grouped": ConvRnntConfig(subsampling=3, lstm=RICH, grouped=True, **CONV),
    "conv-norms": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, local_norm=True, frame_norm=True, **CONV
    ),
    "conv-channels": ConvRnntConfig(subsampling=3, lstm=PLAIN, local_stacking="channels", **CONV),
    "conv-local": ConvRnntConfig(subsampling=2, lstm=PLAIN, use_global=False, **CONV),
    "conv-global": ConvRnntConfig(subsampling=1, lstm=PLAIN, use_local=False, **CONV),
    "conv-global-same-width": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, use_local=False, **{**CONV, "dim": 12}
    ),
    "conv-merge-dim": ConvRnntConfig(subsampling=2, lstm=PLAIN, merge_dim=7, **CONV),
    "conv-merge-dim-local": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, use_global=False, merge_dim=7, **CONV
    ),
    "conv-kernel-1": ConvRnntConfig(subsampling=2, lstm=PLAIN, local_kernel=1, **CONV),
    "contextnet": ContextNetConfig(
        subsampling=2, channels=(6, 6, 8, 4), layers=2, kernel=3, dropout=0.5, output_dim=5
    ),
    "conformer": ConformerConfig(subsampling=3, left_context=4, **CONFORMER),
    "conformer-one-norm": ConformerConfig(left_context=4, block_norm=False, **CONFORMER),
    "conformer-one-frame": ConformerConfig(subsampling=2, left_context=1, **CONFORMER),
    "separator": SeparatorConfig(subsampling=2, lstm=NORMED, module_dim=6, output_dim=5),
    "separator-three": SeparatorConfig(
        subsampling=3, input_dim=9, channels=3, lstm=RICH, module_dim=8, output_dim=5
    ),
    "separator-one": SeparatorConfig(channels=1, lstm=NORMED, module_dim=6, output_dim=5),
    "conformer-long-memory": ConformerConfig(subsampling=1, left_context=50, **CONFORMER),
}
AMORTIZED = {**CONFORMER, "layers": 3, "subsampling": 2, "left_context": 5}
del AMORTIZED["kernel"]
for kind in ("none", "random", "single", "dual"):
    for cell in ("feedforward", "lstm") if kind in ("single", "dual") else ("lstm",):
        for parts in (("query",), ("key",), ("query", "key")):
            toggled = {part: part in parts for part in ("query", "key")}
            CONFIGS[f"amortized-{kind}-{cell}-{'-'.join(parts)}"] = AmortizedConfig(
                arbitrator=ArbitratorConfig(kind=kind, cell=cell, dim=6, keep=0.5, **toggled),
                schedule=AmortizedSchedule(final_noise=3.0),  # each is on at times
                **AMORTIZED,
            )
CONFIGS |= {  # at a depth that `make` gives them
    "contextnet-growing": ContextNetConfig(channels=(6,) * 5, kernel=3, grow=0.5, output_dim=5),
    "conv-growing": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, grow=0.5, **{**CONV, "global_blocks": 3}
    ),
    "conformer-growing": ConformerConfig(grow=0.5, **{**CONFORMER, "layers": 4}),
    "amortized-growing": AmortizedConfig(
        grow=0.5, schedule=AmortizedSchedule(cost_start=0.5), **{**AMORTIZED, "layers": 4}
    ),
}
COHORT = {  # one of each kind, and those that treat their input in a way of their own
    f"{name}-cohort": replace(CONFIGS[name], condition=2)
    for name in (
        *("lstm-rich", "conv-norms", "conv-channels", "contextnet", "conformer"),
        *("separator-three", "amortized-dual-lstm-query-key"),
    )
}
FRONT = {  # what precedes the first layer, of every kind of encoder
    f"{name}-{front}": replace(CONFIGS[name], **settings)
    for front, settings in {
        "mean": {"running_norm": "mean", "running_prior": 5.0},
        "variance-right1": {"running_norm": "mean_variance", "right_context": 1},
        "right3": {"right_context": 3},
    }.items()
    for name in (
        *("lstm-rich", "conv-norms", "conv-channels", "contextnet", "conformer"),
        *("separator-three", "amortized-dual-lstm-query-key"),
    )
}
FRONT["conv-all"] = replace(
    COHORT["conv-norms-cohort"], running_norm="mean_variance", running_prior=3.0, right_context=2
)
CONFIGS |= COHORT | FRONT


def make(name: str) -> StreamingEncoder:
    """An encoder in evaluation, its statistics far from trivial."""
    torch.manual_seed(1)
    encoder = CONFIGS[name].build(NUM_BINS)
    for module in encoder.modules():
        if isinstance(module, GlobalNorm):
            module.set_stats(torch.randn(NUM_BINS), torch.rand(NUM_BINS) + 0.5)
        if isinstance(module, MaskedBatchNorm):
            torch.nn.init.normal_(module.bias)
            module.running_mean_D.normal_()
            module.running_var_D.uniform_(0.5, 2.0)
    if encoder.condition_CF is not None:
        torch.nn.init.normal_(encoder.condition_CF)
    set_run_length(encoder, 20)
    set_step(encoder, 4)  # of three blocks that join, one and 0.6 of another count
    encoder.eval()
    return encoder


def drawn_condition(encoder: StreamingEncoder, batch: int) -> torch.Tensor | None:
    """Memberships at random, unknown ones among them; None for an encoder without condition."""
    if not encoder.condition_dim:
        return None
    known_QC = torch.cat([torch.zeros(1, encoder.condition_dim), torch.eye(encoder.condition_dim)])
    return known_QC[torch.randint(len(known_QC), (batch,))]


def whole(
    encoder: StreamingEncoder, x_BTF: torch.Tensor, condition_BC: torch.Tensor | None = None
) -> torch.Tensor:
    lengths_B = torch.full((x_BTF.shape[0],), x_BTF.shape[1])
    h_BSD, h_lengths_B = encoder(x_BTF, lengths_B, condition_BC)
    rows = x_BTF.shape[0] * encoder.num_channels
    assert h_BSD.shape == (rows, x_BTF.shape[1] // encoder.subsampling, 5)
    assert h_lengths_B.tolist() == [h_BSD.shape[1]] * rows
    return h_BSD
