"""FLOPs per second of audio: the compute cost of a model, independent of the machine.

Forward hooks count the FLOPs of modules that multiply matrices (linear, convolution, LSTM, GRU,
and LSTM with projection), and those of the products of queries with keys and values in attention.
A multiplication and its addition are two FLOPs, which is the usual convention. Element-wise
operations, normalisation and biases, such as the condition of an encoder, are not counted: they
are below one per cent in our models.
An amortized encoder can skip work in its blocks, so it counts that work itself, as for its loss,
and the hooks do not count it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asrlib.encoders.base import HasCost
from asrlib.layers.attention import CausalSelfAttention
from asrlib.transducer.model import Transducer

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECURRENT = {nn.LSTM: 4, nn.GRU: 3}  # number of gates


def count_flops(
    module: nn.Module, run: Callable[[], Any], without: Sequence[nn.Module] = ()
) -> float:
    """Count the FLOPs that `run` spends in `module` and its submodules.

    Args:
        module: the module to observe; it is in evaluation mode while `run` is called.
        run: a function without arguments that calls the module in any way.
        without: submodules that are not counted, including their own submodules.

    Returns:
        Number of FLOPs.
    """
    spent = 0.0

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal spent
        spent += 2.0 * _multiplications(layer, inputs, output)

    kinds = (nn.Linear, *_CONVOLUTIONS, *_RECURRENT, CausalSelfAttention)
    uncounted = {below for part in without for below in part.modules()}
    counted = (m for m in module.modules() if isinstance(m, kinds) and m not in uncounted)
    handles = [m.register_forward_hook(hook) for m in counted]
    was_training = module.training
    module.eval()
    try:
        with torch.enable_grad():  # without it, fused operations bypass the hooks
            run()
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    return spent


def _multiplications(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> float:
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    if isinstance(layer, CausalSelfAttention):
        return layer.product_multiplications(inputs[0].shape[1], inputs[1])
    if isinstance(layer, _CONVOLUTIONS):
        taps = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return output.numel() * taps
    return _recurrent(layer, inputs[0])


def _recurrent(layer: nn.Module, x: Any) -> float:
    """Multiplications of a recurrent layer, which uses each weight matrix once per frame."""
    data = x.data if isinstance(x, nn.utils.rnn.PackedSequence) else x
    frames = data.numel() // data.shape[-1]
    weights = sum(p.numel() for n, p in layer.named_parameters() if n.startswith("weight"))
    return frames * weights


def flops_per_second(
    model: Transducer, num_bins: int, seconds: float = 10.0, frame_shift: float = 0.01
) -> dict[str, float]:
    """Count the FLOPs per second of audio of a transducer's encoder and joiner.

    The joiner is counted with one call per frame. The predictor, which runs once per token, and
    the joiner's extra calls after a token are not counted: both are below a tenth of the joiner's
    FLOPs at ordinary rates of speech. An amortized encoder is counted at full compute.

    Args:
        model: the transducer.
        num_bins: filter-bank bins per frame.
        seconds: duration of the audio to encode, in seconds.
        frame_shift: time between two frames, in seconds.

    Returns:
        FLOPs per second of audio: `encoder`, `joiner`, their sum `total`, and `toggled`, the part
        of `encoder` that an amortized encoder can skip.
    """
    encoder, joiner = model.encoder, model.joiner
    frames = round(seconds / frame_shift)
    device = next(model.parameters()).device
    x_BTF = torch.zeros(1, frames, num_bins, device=device)
    lengths_B = torch.tensor([frames], device=device)
    encoded: list[Tensor] = []
    own = encoder.costed_modules if isinstance(encoder, HasCost) else ()
    spent = count_flops(encoder, lambda: encoded.append(encoder(x_BTF, lengths_B)[0]), own)
    toggled = 0.0
    if isinstance(encoder, HasCost):
        heard_B1 = torch.zeros(1, 1, device=device)
        toggled = 2.0 * float(encoder.full_multiplications(encoded[0].shape[1], heard_B1).sum())
    h_BSD = encoded[0]
    am_BSJ, lm_BSJ = joiner.encoder_proj(h_BSD), None
    lm_BSJ = torch.zeros_like(am_BSJ)
    joining = count_flops(joiner, lambda: joiner(am_BSJ, lm_BSJ, project_input=False))
    joining += count_flops(joiner.encoder_proj, lambda: joiner.encoder_proj(h_BSD))
    return {
        "encoder": (spent + toggled) / seconds,
        "joiner": joining / seconds,
        "total": (spent + toggled + joining) / seconds,
        "toggled": toggled / seconds,
    }
