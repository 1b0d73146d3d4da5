"""An amortized model on the command line: what decoding says it spent, and the picture of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import yaml
from command_fakes import invoke
from lhotse import CutSet, Recording, SupervisionSegment
from streaming_fakes import RATE, babble

from asrlib.checkpoint_file import save
from asrlib.config import to_dict
from asrlib.errors import CheckpointError, ConfigError, DataError, UserError
from asrlib.features.fbank import FbankConfig
from asrlib.transducer.flops import flops_per_second
from asrlib.transducer.model_io import KIND, transducer_payload


@pytest.fixture
def recipe(tmp_path, random_models, tokenizer) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, babble(1.5, seed=3).numpy(), RATE, subtype="FLOAT")
    cut = Recording.from_file(path, recording_id="a").to_cut()
    spoken = SupervisionSegment("a", "a", 0.0, cut.duration, text="ONE", speaker="s")
    cut.supervisions = [spoken]
    (tmp_path / "data/test").mkdir(parents=True)
    CutSet.from_cuts([cut]).to_file(tmp_path / "data/test/cuts.jsonl.gz")
    for name in ("amortized", "lstm"):
        model = random_models[name, "stateless"]
        payload = transducer_payload(model, tokenizer, FbankConfig())
        content = {"model": model.state_dict(), "payload": payload, "facts": {}}
        save(tmp_path / f"exp/{name}/final.pt", KIND, content)
    return tmp_path


def test_decoding_counts_what_was_computed(recipe, random_models):
    shares, flops = {}, {}
    for name in ("amortized", "lstm"):
        assert invoke("decode", "--recipe-dir", recipe, "--name", name).exit_code == 0
        meta = json.loads((recipe / f"exp/{name}/decode_test_greedy/meta.json").read_text())
        shares[name], flops[name] = meta["compute_share"], meta["flops_per_second"]
    assert shares["lstm"] is None
    assert 0.2 < shares["amortized"] < 0.95
    model = random_models["amortized", "stateless"]
    full = flops_per_second(model, 80)
    # What was left out, and nothing else, is missing; the first frames see fewer keys.
    left_out = (1 - shares["amortized"]) * full["toggled"]
    assert flops["amortized"] == pytest.approx(full["total"] - left_out, rel=0.03)
    assert flops["lstm"] == flops_per_second(random_models["lstm", "stateless"], 80)["total"]


def test_a_checkpoint_of_another_model_is_refused(recipe, random_models):
    config = {"model": to_dict(random_models["amortized", "stateless"].config)}
    (recipe / "exp/amortized/config.yaml").write_text(yaml.safe_dump(config))
    given = ("--name", "amortized", "--checkpoint", recipe / "exp/lstm/final.pt")
    with pytest.raises(CheckpointError, match=r"exp/lstm/final\.pt: another model"):
        invoke("decode", "--recipe-dir", recipe, *given)
    assert not (recipe / "exp/amortized/decode_test_greedy/hyp.jsonl").exists()
    given = ("--name", "amortized", "--checkpoint", recipe / "exp/amortized/final.pt")
    assert invoke("decode", "--recipe-dir", recipe, *given).exit_code == 0


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", DataError),
        ("train: {}", DataError),
        ("model: 3", DataError),
        ("model: [", DataError),
        ("model: {encoder: {name: foo}}", ConfigError),
    ],
)
def test_a_broken_config_beside_a_model_is_named(recipe, content, error):
    path = recipe / "exp/amortized/config.yaml"
    path.write_text(content)
    try:
        with pytest.raises(error, match=r"exp/amortized/config\.yaml: "):
            invoke("decode", "--recipe-dir", recipe, "--name", "amortized", "--force")
    finally:
        path.unlink()


def test_a_picture_of_an_utterance(recipe):
    done = invoke("toggles", "--recipe-dir", recipe, "--utterance", "a")
    assert done.exit_code == 0
    drawn = (recipe / "exp/amortized/toggles_a.svg").read_text()
    assert drawn.startswith("<svg")
    assert "1 feed-forward" in drawn


def test_what_cannot_be_drawn_is_named(recipe):
    with pytest.raises(DataError, match="no utterance b"):
        invoke("toggles", "--recipe-dir", recipe, "--utterance", "b")
    with pytest.raises(UserError, match="its encoder has no toggles"):
        invoke("toggles", "--recipe-dir", recipe, "--name", "lstm")
    with pytest.raises(UserError, match=r"final\.pt: missing"):
        invoke("toggles", "--recipe-dir", recipe, "--name", "nothing")
