"""What the torch of one environment computes, in files that another environment can read.

`python tests/torch_outputs.py GIVEN OUT` reads GIVEN/lattices.npz and writes the pruned losses and
all their gradients to OUT/losses.npz; it writes a random model to OUT/final.pt, and what that hears
in GIVEN/audio.npy to OUT/heard.json. `python tests/torch_outputs.py GIVEN OUT CHECKPOINT` writes
what another model hears to OUT/other.json. tests/test_two_torches.py compares.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import asrlib  # noqa: F401, before torch: it decides how torch multiplies matrices

# isort: split
import numpy as np
import torch

for folder in ("tests", "tests/transducer", "tests/streaming"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))

from loss_fakes import make_joiner  # noqa: E402
from streaming_fakes import RATE, make_tokenizer, random_model  # noqa: E402

from asrlib.checkpoint_file import save  # noqa: E402
from asrlib.features.fbank import FbankConfig  # noqa: E402
from asrlib.searches import SEARCHES  # noqa: E402
from asrlib.streaming import DecodeConfig, StreamingRecognizer  # noqa: E402
from asrlib.transducer.loss import LossConfig, LossInputs, backend_name, pruned_loss  # noqa: E402
from asrlib.transducer.model_io import KIND, transducer_payload  # noqa: E402

LOSSES = {
    "plain": LossConfig(prune_range=3),
    "modified": LossConfig(prune_range=3, rnnt_type="modified"),
    "extras": LossConfig(prune_range=2, am_scale=0.1, delay_penalty=0.02, fast_emit=0.1),
}


def losses(given: Path, out: Path) -> None:
    """Losses and gradients of every configuration, from the lattices and weights of `given`."""
    arrays = dict(np.load(given))
    found: dict[str, np.ndarray] = {"backend": np.array(backend_name())}
    for name, config in LOSSES.items():
        tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
        joiner = make_joiner()
        weights = {key: tensors.pop(f"joiner.{key}") for key in joiner.state_dict()}
        joiner.load_state_dict(weights)
        inputs = LossInputs(**tensors)
        leaves = {k: x for k, x in tensors.items() if x.is_floating_point()}
        for leaf in leaves.values():
            leaf.requires_grad_()
        loss = pruned_loss(joiner, inputs, config)
        leaves.update(joiner.named_parameters())
        feasible_B = loss.pruned_B.isfinite()
        total = (loss.simple_B + loss.pruned_B)[feasible_B].sum()
        grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for field in dataclasses.fields(loss):
            found[f"{name}.{field.name}"] = getattr(loss, field.name).detach().numpy()
        for key, grad in zip(leaves, grads, strict=True):
            if grad is not None:
                found[f"{name}.grad.{key}"] = grad.numpy()
    np.savez(out, **found)


def write_model(checkpoint: Path) -> None:
    """Write a random model as training does."""
    tokenizer = make_tokenizer(checkpoint.parent)
    model = random_model("conv_rnnt", "stateless", tokenizer.vocab_size)
    payload = transducer_payload(model, tokenizer, FbankConfig())
    save(checkpoint, KIND, {"model": model.state_dict(), "payload": payload, "facts": {}})


def decode(checkpoint: Path, audio: Path, out: Path) -> None:
    """Tokens and times of the audio, with every search that needs no k2."""
    samples = torch.from_numpy(np.load(audio))
    found = {}
    for search in sorted(set(SEARCHES) - {"fast_beam"}):
        recognizer = StreamingRecognizer.from_checkpoint(checkpoint, DecodeConfig(search=search))
        stream = recognizer.create_stream()
        stream.accept(samples, RATE)
        stream.finish()
        recognizer.step([stream])
        result = recognizer.result(stream)
        found[search] = {"tokens": list(result.tokens), "times": list(result.token_times)}
    out.write_text(json.dumps(found))


def main(given: Path, out: Path, checkpoint: Path | None = None) -> None:
    torch.set_num_threads(1)
    if checkpoint is None:
        losses(given / "lattices.npz", out / "losses.npz")
        write_model(out / "final.pt")
        decode(out / "final.pt", given / "audio.npy", out / "heard.json")
    else:
        decode(checkpoint, given / "audio.npy", out / "other.json")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
