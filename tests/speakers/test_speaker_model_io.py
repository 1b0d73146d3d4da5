"""A speaker model's file gives elsewhere what the model gave; files of others are refused."""

from __future__ import annotations

import pytest
import torch
from small_transducer import FBANK as TRANSDUCER_FBANK
from small_transducer import tokenizer, transducer
from speaker_fakes import CONFIG, FBANK, NUM_BINS, speaker_model

from asrlib.checkpoint_file import save
from asrlib.errors import CheckpointError
from asrlib.speakers.model_io import KIND, load_speaker_model, load_start, speaker_payload
from asrlib.transducer.model_io import KIND as TRANSDUCER
from asrlib.transducer.model_io import load_transducer, transducer_payload


@pytest.fixture
def content():
    model = speaker_model()
    return {
        "model": model.state_dict(),
        "payload": speaker_payload(model, FBANK),
        "facts": {"steps": 7, "dev": {"eer_threshold": 0.25}},
    }


def test_loaded_model_gives_the_same(tmp_path, content):
    save(tmp_path / "final.pt", KIND, content)
    x_BTF = torch.randn(2, 30, NUM_BINS)
    expected_BD = speaker_model().eval().extractor(x_BTF)
    for path in (tmp_path, tmp_path / "final.pt"):
        model, fbank, meta = load_speaker_model(path)
        assert not model.training
        assert torch.equal(model.extractor(x_BTF), expected_BD)
        assert (model.config, fbank, meta["steps"]) == (CONFIG, FBANK, 7)


def test_recogniser_and_speaker_model_are_not_taken_for_each_other(tmp_path, content):
    save(tmp_path / "speaker.pt", KIND, content)
    model = transducer()
    payload = transducer_payload(model, tokenizer(), TRANSDUCER_FBANK)
    transducer_content = {"model": model.state_dict(), "payload": payload, "facts": {}}
    save(tmp_path / "transducer.pt", TRANSDUCER, transducer_content)
    with pytest.raises(CheckpointError, match="holds a recogniser, not a speaker model"):
        load_speaker_model(tmp_path / "transducer.pt")
    with pytest.raises(CheckpointError, match="holds a speaker model, not a recogniser"):
        load_transducer(tmp_path / "speaker.pt")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda c: c["payload"]["config"]["extractor"].update(channels=20), "size mismatch"),
        (lambda c: c["payload"]["config"].update(depth=3), "unknown key depth"),
        (lambda c: c["payload"].pop("fbank"), "holds no 'fbank'"),
        (lambda c: c.pop("facts"), "holds no 'facts'"),
    ],
)
def test_file_of_another_version_is_explained(tmp_path, content, damage, reason):
    damage(content)
    save(tmp_path / "final.pt", KIND, content)
    with pytest.raises(CheckpointError, match=rf"final\.pt.*{reason}"):
        load_speaker_model(tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"final\.pt: no such"):
        load_speaker_model(tmp_path)


def test_start_takes_the_extractor_alone(tmp_path, content):
    save(tmp_path / "final.pt", KIND, content)
    torch.manual_seed(5)
    other = speaker_model(num_classes=9)
    for parameter in other.parameters():
        parameter.data += 1.0
    classes = other.loss.aam.weight_CD.detach().clone()
    load_start(other, tmp_path)
    expected = speaker_model().extractor.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in other.extractor.state_dict().items())
    assert torch.equal(other.loss.aam.weight_CD, classes)
