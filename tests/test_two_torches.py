"""Torch 1.13 with k2 and torch 2.13 with fast_rnnt compute the same, and read each other's models.

Both environments are needed: tools/install.sh and tools/install.sh --torch 2.13.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from streaming.streaming_fakes import babble
from transducer.loss_fakes import make_inputs, make_joiner

from asrlib.installation import ENVIRONMENTS

FIRST, SECOND = ENVIRONMENTS
pytestmark = pytest.mark.timeout(900)  # four processes load torch


@pytest.fixture(scope="module")
def outputs(repo, tmp_path_factory) -> Path:
    """A directory for each environment, with what its torch computed from the same files."""
    for environment in ENVIRONMENTS.values():
        if not (repo / environment.name / "bin" / "python").exists():
            command = f"tools/install.sh --torch {environment.torch}"
            pytest.skip(f"{environment.name} is not installed; {command} makes it")
    given = tmp_path_factory.mktemp("torches")
    torch.manual_seed(0)
    inputs, joiner = make_inputs([30, 21, 9, 2], [9, 4, 0, 5]), make_joiner()
    arrays = {k: v.detach().numpy() for k, v in vars(inputs).items() if v is not None}
    arrays |= {f"joiner.{k}": v.numpy() for k, v in joiner.state_dict().items()}
    np.savez(given / "lattices.npz", **arrays)
    np.save(given / "audio.npy", babble(6.0, seed=1).numpy())
    for name in ENVIRONMENTS:
        (given / name).mkdir()
        run(repo, name, given, given / name)
    run(repo, FIRST, given, given / FIRST, given / SECOND / "final.pt")
    run(repo, SECOND, given, given / SECOND, given / FIRST / "final.pt")
    return given


def run(repo: Path, name: str, *words: object) -> None:
    """tests/torch_outputs.py with the Python of an environment."""
    subprocess.run(
        [repo / name / "bin" / "python", repo / "tests" / "torch_outputs.py", *map(str, words)],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": str(repo)},
        check=True,
    )


def test_losses_and_gradients_agree(outputs):
    """With an empty transcript too; an utterance of too few frames has an infinite loss."""
    found = {name: dict(np.load(outputs / name / "losses.npz")) for name in ENVIRONMENTS}
    for name, values in found.items():
        assert values.pop("backend") == ENVIRONMENTS[name].loss
    one, two = found.values()
    assert one.keys() == two.keys()
    assert {key.split(".")[-1] for key in one} >= {"pruned_B", "h_BSD", "d_BUD", "am_BSV"}
    assert np.isinf(one["plain.pruned_B"]).tolist() == [False, False, False, True]
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=1e-5, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize(("author", "reader"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_each_reads_the_models_of_the_other_and_hears_the_same(outputs, author, reader):
    own = json.loads((outputs / author / "heard.json").read_text())
    other = json.loads((outputs / reader / "other.json").read_text())
    assert own == other
    assert all(len(result["tokens"]) >= 3 for result in own.values())
