import json

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from asrlib.checkpoint_file import save
from asrlib.encoders import LstmConfig, LstmStackConfig
from asrlib.errors import DataError
from asrlib.features.fbank import FbankConfig
from asrlib.machine import machine
from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.model_io import KIND, transducer_payload
from asrlib.transducer.predictor import StatelessConfig


@pytest.fixture
def recipe(tmp_path):
    """Three noises and an untrained model: enough to be timed."""
    noise = np.random.default_rng(1)
    cuts = []
    for i in range(3):
        path = tmp_path / "corpus" / f"u{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * noise.standard_normal(8000 + 4000 * i), 16000)
        recording = Recording.from_file(path)
        supervision = SupervisionSegment(f"u{i}", f"u{i}", 0, recording.duration, text="A B")
        cuts.append(
            MonoCut(
                id=f"u{i}",
                start=0,
                duration=recording.duration,
                channel=0,
                recording=recording,
                supervisions=[supervision],
            )
        )
    (tmp_path / "data" / "test").mkdir(parents=True)
    CutSet.from_cuts(cuts).to_file(tmp_path / "data" / "test" / "cuts.jsonl.gz")
    train_tokenizer(["A B C", "B A D"] * 5, TokensConfig(vocab_size=20), tmp_path / "bpe.model")
    tokenizer = Tokenizer.from_file(tmp_path / "bpe.model")
    encoder = LstmConfig(lstm=LstmStackConfig(layers=1, hidden_dim=16), output_dim=16)
    torch.manual_seed(1)
    config = TransducerConfig(encoder=encoder, predictor=StatelessConfig(), joiner_dim=16)
    model = Transducer(config, 80, tokenizer.vocab_size)
    payload = transducer_payload(model, tokenizer, FbankConfig())
    content = {"model": model.state_dict(), "payload": payload, "facts": {}}
    save(tmp_path / "exp" / "m" / "final.pt", KIND, content)
    return tmp_path


def test_features_measures_stage_and_bare_kernel_in_one_run(recipe, cli):
    result = cli("bench", "features", "--recipe-dir", recipe, "--test-set", "test")
    assert result.exit_code == 0
    figures = json.loads((recipe / "exp" / "bench" / "features.json").read_text())
    assert figures["audio_seconds"] == pytest.approx((8000 + 12000 + 16000) / 16000)
    assert figures["ratio"] == pytest.approx(figures["stage"] / figures["bare"])
    assert figures["machine"] == machine()
    assert f"processor  {machine()['cpu']}\n" in result.output
    assert f"matrix code  {machine()['matrix_code']}\n" in result.output


def test_streaming_measures_one_and_many_streams_of_each_model(recipe, cli):
    (recipe / "exp" / "n").symlink_to("m")
    threads, names = torch.get_num_threads(), ("--name", "m", "--name", "n")
    try:
        result = cli("bench", "streaming", "--recipe-dir", recipe, *names, "--search", "greedy")
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0
    directory = f"{recipe.parent.name}/{recipe.name}"
    options = "--name m --name n --test-set test --search greedy --utterances 64 --rounds 3"
    for name in ("m", "n"):
        path = recipe / "exp" / "bench" / f"streaming_{name}_test_greedy.json"
        figures = json.loads(path.read_text())
        for streams in (1, 32):
            factor, cpu = (figures[f"{w}_{streams}"] for w in ("real_time_factor", "cpu_seconds"))
            assert 0 < cpu <= 1.5 * factor  # one thread
        assert figures["search"] == "greedy"
        command = f"python -m asrlib bench streaming --recipe-dir {directory} {options}"
        assert figures["command"] == command


def test_encoder_measures_each_model_in_each_piece(recipe, cli):
    threads = torch.get_num_threads()
    options = ("--model", "lstm", "--model", "amortized/random", "--piece", "0.65", "--rounds", "1")
    try:
        result = cli("bench", "encoder", "--recipe-dir", recipe, *options)
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0
    folder = recipe / "exp" / "bench"
    lstm = json.loads((folder / "encoder_lstm_0.65.json").read_text())
    random = json.loads((folder / "encoder_amortized_random_0.65.json").read_text())
    assert min(lstm["encoder_cpu_ms"], random["encoder_cpu_ms"]) > 0
    assert "encoder_work_percent" not in lstm
    assert lstm["piece"] == "pieces of 0.64 s"  # 16 groups of four frames
    assert 30 < random["encoder_work_percent"] < 50
    assert lstm["command"].endswith(" ".join(options))


def test_missing_set_names_the_stage(recipe, cli):
    with pytest.raises(DataError, match="run stage 1"):
        cli("bench", "features", "--recipe-dir", recipe, "--test-set", "dev")
