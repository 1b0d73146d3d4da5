"""A model file moves elsewhere and gives there what it gave here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from small_transducer import CONFIG, FBANK, NUM_BINS, TEXTS, tokenizer, transducer

from asrlib.errors import CheckpointError
from asrlib.training.checkpoint import save
from asrlib.training.model_io import KIND, load_transducer, transducer_payload


@pytest.fixture
def content():
    model = transducer().train()
    payload = transducer_payload(model, tokenizer(), FBANK)
    return {"model": model.state_dict(), "payload": payload, "facts": {"steps": 7, "seed": 1}}


def test_loaded_model_gives_the_same(tmp_path, content):
    save(tmp_path / "final.pt", KIND, content)
    model, tokens, fbank, meta = load_transducer(tmp_path / "final.pt")
    x_BTF = torch.randn(2, 20, NUM_BINS)
    lengths_B = torch.tensor([20, 16])
    with torch.no_grad():
        expected = transducer().eval().encoder(x_BTF, lengths_B)[0]
        assert torch.equal(model.encoder(x_BTF, lengths_B)[0], expected)
    assert not model.training
    assert model.config == CONFIG
    assert fbank == FBANK
    assert meta["steps"] == 7
    assert [tokens.encode(t) for t in TEXTS] == [tokenizer().encode(t) for t in TEXTS]


def test_model_of_another_build_is_explained(tmp_path, content):
    content["payload"]["config"]["joiner_dim"] = 17
    save(tmp_path / "final.pt", KIND, content)
    with pytest.raises(CheckpointError, match=r"final\.pt.*size mismatch") as e:
        load_transducer(tmp_path / "final.pt")
    assert e.value.mend


def test_unknown_config_key_is_explained(tmp_path, content):
    content["payload"]["config"]["attention"] = 4
    save(tmp_path / "final.pt", KIND, content)
    with pytest.raises(CheckpointError, match=r"final\.pt.*unknown key attention"):
        load_transducer(tmp_path / "final.pt")


def test_loading_needs_no_k2(tmp_path, content, repo):
    save(tmp_path / "final.pt", KIND, content)
    script = (
        "import sys; from asrlib.training.model_io import load_transducer;"
        f"load_transducer({str(tmp_path / 'final.pt')!r});"
        "sys.exit('k2' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(repo)}
    assert subprocess.run([sys.executable, "-c", script], env=env, check=False).returncode == 0
