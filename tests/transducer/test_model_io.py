"""A model file moves elsewhere and gives there what it gave here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_transducer import CONFIG, FBANK, NUM_BINS, TEXTS, tokenizer, transducer

from asrlib.checkpoint_file import save
from asrlib.encoders import AmortizedConfig, ContextNetConfig
from asrlib.encoders.toggles import ArbitratorConfig
from asrlib.errors import CheckpointError
from asrlib.layers.norm import MaskedBatchNorm
from asrlib.layers.schedule import set_run_length
from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer
from asrlib.transducer.model import Transducer
from asrlib.transducer.model_io import KIND, load_start, load_transducer, transducer_payload
from asrlib.transducer.predictor import StatelessConfig


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
    assert e.value.fix


def test_unknown_config_key_is_explained(tmp_path, content):
    content["payload"]["config"]["attention"] = 4
    save(tmp_path / "final.pt", KIND, content)
    with pytest.raises(CheckpointError, match=r"final\.pt.*unknown key attention"):
        load_transducer(tmp_path / "final.pt")


def test_loading_needs_no_k2(tmp_path, content, repo):
    save(tmp_path / "final.pt", KIND, content)
    script = (
        "import sys; from asrlib.transducer.model_io import load_transducer;"
        f"load_transducer({str(tmp_path / 'final.pt')!r});"
        "sys.exit('k2' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(repo)}
    assert subprocess.run([sys.executable, "-c", script], env=env, check=False).returncode == 0


def amortized(left_context: int, kind: str, seed: int) -> Transducer:
    arbitrator = ArbitratorConfig(kind=kind, dim=6)
    sizes = {"layers": 2, "dim": 8, "heads": 2, "feedforward_dim": 12, "output_dim": 16}
    encoder = AmortizedConfig(left_context=left_context, arbitrator=arbitrator, **sizes)
    return transducer(replace(CONFIG, encoder=encoder), seed)


def start(tmp_path: Path, model: Transducer, before: Transducer) -> None:
    payload = transducer_payload(before, tokenizer(), FBANK)
    content = {"model": before.state_dict(), "payload": payload, "facts": {}}
    save(tmp_path / "final.pt", KIND, content)
    load_start(model, tokenizer(), tmp_path / "final.pt")


def test_a_training_goes_on_from_any_model_of_its_configuration(tmp_path):
    before, model = transducer(seed=1), transducer(seed=2)
    start(tmp_path, model, before)
    for name, weight in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_a_start_has_its_batch_renormalisation_whole(tmp_path):
    encoder = ContextNetConfig(channels=(8, 8), layers=1, output_dim=16)
    before, model = (transducer(replace(CONFIG, encoder=encoder), seed) for seed in (1, 2))
    start(tmp_path, model, before)
    set_run_length(model.encoder, 10**6)
    norms = [m for m in model.modules() if isinstance(m, MaskedBatchNorm)]
    assert norms
    x_BSD = torch.randn(1, 50, 8) + 1
    for norm in norms:
        expected_BSD = norm.eval()(x_BSD, None)
        torch.testing.assert_close(norm.train()(x_BSD, None), expected_BSD)


def with_condition(condition: int, seed: int) -> Transducer:
    encoder = replace(CONFIG.encoder, condition=condition)
    return transducer(replace(CONFIG, encoder=encoder), seed)


def test_a_model_of_a_version_without_conditions_loads(tmp_path, content):
    assert content["payload"]["config"]["encoder"].pop("condition") == 0
    assert not any("condition" in name for name in content["model"])
    save(tmp_path / "final.pt", KIND, content)
    model = load_transducer(tmp_path / "final.pt").model
    assert model.config == CONFIG
    for name, weight in content["model"].items():
        assert torch.equal(model.state_dict()[name], weight), name


@torch.no_grad()
def test_a_model_with_condition_starts_from_one_without_and_gives_the_same(tmp_path):
    before, model = with_condition(0, seed=1), with_condition(2, seed=2)
    start(tmp_path, model, before)
    x_BTF, lengths_B = torch.randn(2, 20, NUM_BINS), torch.tensor([20, 16])
    expected_BSD = before.eval().encoder(x_BTF, lengths_B)[0]
    assert torch.equal(model.eval().encoder(x_BTF, lengths_B, torch.eye(2))[0], expected_BSD)


def test_a_start_keeps_what_was_learnt_of_a_condition_or_is_refused(tmp_path):
    before, model = with_condition(2, seed=1), with_condition(2, seed=2)
    torch.nn.init.normal_(before.encoder.condition_CF)
    start(tmp_path, model, before)
    assert torch.equal(model.encoder.condition_CF, before.encoder.condition_CF)
    with pytest.raises(CheckpointError, match=r"encoder\.condition_CF, the new model has nothing"):
        start(tmp_path, with_condition(0, seed=2), before)


@torch.no_grad()
@pytest.mark.parametrize(("left_context", "kind"), [(6, "dual"), (6, "single"), (3, "none")])
def test_amortized_models_start_from_the_full_one(tmp_path, left_context, kind):
    before, model = amortized(6, "none", seed=1), amortized(left_context, kind, seed=2)
    for block in before.encoder.blocks:
        torch.nn.init.normal_(block.attention.distance_bias_HL)
    fresh = {k: v.clone() for k, v in model.encoder.arbitrators.state_dict().items()}
    start(tmp_path, model, before)
    for name, weight in fresh.items():
        assert torch.equal(model.encoder.arbitrators.state_dict()[name], weight), name
    for arbitrator in model.encoder.arbitrators:
        if arbitrator.net is not None:  # nothing is off yet
            torch.nn.init.constant_(arbitrator.net.output.bias, 50.0)
    x_BTF = torch.randn(2, 40, NUM_BINS)[:, : 4 * (left_context + 1)]  # no frame sees further
    lengths_B = torch.tensor([40, 40])
    h_BSD, expected_BSD = (m.eval().encoder(x_BTF, lengths_B)[0] for m in (model, before))
    torch.testing.assert_close(h_BSD, expected_BSD)


@pytest.mark.parametrize(
    ("model", "before", "named"),
    [
        ((6, "none"), (3, "none"), "distance_bias_HL"),
        ((6, "dual"), (6, "single"), r"arbitrators\.0\.net\.output\.weight"),
        ((6, "none"), (6, "dual"), r"encoder\.arbitrators\..* the new model has nothing"),
    ],
)
def test_a_start_that_does_not_fit_is_named(tmp_path, model, before, named):
    with pytest.raises(CheckpointError, match=named) as e:
        start(tmp_path, amortized(*model, seed=2), amortized(*before, seed=1))
    assert e.value.fix == "train it with the same configuration"


def other_tokens(tmp_path: Path) -> Tokenizer:
    train_tokenizer(["SIX SEVEN", "NINE"], TokensConfig(vocab_size=15), tmp_path / "other.model")
    return Tokenizer.from_file(tmp_path / "other.model")


@torch.no_grad()
def test_an_encoder_is_taken_whatever_the_tokens(tmp_path):
    before, tokens = transducer(seed=1), other_tokens(tmp_path)
    before.encoder.norm.mean_F.fill_(7.0)
    start(tmp_path, transducer(seed=3), before)  # writes the file
    config = replace(CONFIG, predictor=StatelessConfig(output_dim=24), joiner_dim=20)
    torch.manual_seed(2)
    model = Transducer(config, NUM_BINS, tokens.vocab_size)
    assert tokens.vocab_size != tokenizer().vocab_size
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="other tokens") as e:
        load_start(model, tokens, tmp_path / "final.pt")
    assert "train.init_part=encoder" in e.value.fix
    load_start(model, tokens, tmp_path / "final.pt", "encoder")
    for name, weight in model.state_dict().items():
        taken = before.state_dict() if name.startswith("encoder.") else fresh
        assert torch.equal(weight, taken[name]), name


def test_an_encoder_that_does_not_fit_is_named(tmp_path):
    before, model = amortized(3, "none", seed=1), amortized(6, "none", seed=2)
    start(tmp_path, amortized(3, "none", seed=3), before)
    with pytest.raises(CheckpointError, match="distance_bias_HL"):
        load_start(model, other_tokens(tmp_path), tmp_path / "final.pt", "encoder")
