"""`python -m asrlib embed` and `verify`: what cannot be embedded is named, the rest is embedded."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from command_fakes import Outcome, call, explained, sound
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from small_transducer import tokenizer, transducer
from speaker_fakes import FBANK, speaker_model

from asrlib.checkpoint_file import save
from asrlib.config import to_dict
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.experiments.benchmarks import read_benchmark
from asrlib.speakers.embedder import Embedder, cosine
from asrlib.speakers.model_io import KIND, load_speaker_model, speaker_payload
from asrlib.transducer.model_io import KIND as TRANSDUCER
from asrlib.transducer.model_io import transducer_payload

SECONDS = {"a-1": 0.8, "a-2": 0.5, "b-1": 0.9, "b-2": 0.3, "c-1": 0.4}


def save_model(directory: Path, spoilt: bool = False, **dev: float) -> None:
    model = speaker_model()
    if spoilt:
        model.extractor.output.weight.data.fill_(torch.nan)
    facts = {"steps": 1, **({"dev": dev} if dev else {})}
    content = {"payload": speaker_payload(model, FBANK), "facts": facts}
    save(directory / "final.pt", KIND, {"model": model.state_dict(), **content})


def write(path: Path, samples_N: np.ndarray, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples_N, rate, subtype="FLOAT")
    return path


def cut_of(path: Path, speaker: str | None) -> MonoCut:
    recording = Recording.from_file(path, recording_id=path.stem)
    length = recording.duration
    supervision = SupervisionSegment(path.stem, path.stem, 0.0, length, text="A", speaker=speaker)
    return MonoCut(path.stem, 0.0, length, 0, [supervision], recording=recording)


def write_set(recipe: Path, files: dict[Path, str | None]) -> None:
    cuts = CutSet.from_cuts(cut_of(path, speaker) for path, speaker in files.items())
    (recipe / "data" / "test").mkdir(parents=True, exist_ok=True)
    cuts.to_file(recipe / "data" / "test" / "cuts.jsonl.gz")


@pytest.fixture
def recipe(tmp_path) -> Path:
    recipe = tmp_path / "egs"
    files = {}
    for seed, (name, seconds) in enumerate(SECONDS.items()):
        files[write(recipe / "wav" / f"{name}.wav", sound(seconds, 16000, seed))] = name[0]
    write_set(recipe, files)
    save_model(recipe / "exp" / "voices", eer_threshold=0.5)
    return recipe


def embed(recipe: Path, *options: object) -> Outcome:
    return call("embed", "--recipe-dir", recipe, "--name", "voices", *options)


def tables(recipe: Path) -> tuple[EmbeddingTable, EmbeddingTable]:
    out = recipe / "exp" / "voices" / "embeddings_test"
    return tuple(EmbeddingTable.read(out / f"{n}.npz") for n in ("utterances", "speakers"))


def test_the_speed_of_embedding_is_measured(recipe):
    done = call("bench", "embedding", "--recipe-dir", recipe, "--name", "voices", "--rounds", 2)
    assert done.code == 0, done.err
    measured = read_benchmark(recipe / "exp" / "bench" / "embedding_voices_test.json")
    assert measured.audio_seconds == pytest.approx(sum(SECONDS.values()))
    assert measured.embedding is not None
    assert measured.embedding > 0
    assert measured.command is not None
    assert "--name voices" in measured.command


def test_a_row_for_each_utterance_and_speaker(recipe):
    done = embed(recipe)
    assert (done.code, "5 of 5 utterances, 3 speakers" in done.err) == (0, True), done.err
    utterances, speakers = tables(recipe)
    assert (utterances.ids, utterances.speakers) == (tuple(SECONDS), tuple("aabbc"))
    embedder = Embedder.of(recipe / "exp" / "voices")
    for name, vector_D in zip(utterances.ids, utterances.vectors_ND, strict=True):
        alone_D = embedder.file(recipe / "wav" / f"{name}.wav")
        np.testing.assert_allclose(vector_D, alone_D, rtol=1e-3, atol=1e-4)
    assert speakers.ids == speakers.speakers == tuple("abc")
    np.testing.assert_allclose(speakers.vectors_ND, utterances.by_speaker()[1])


def test_complete_is_skipped_until_the_model_changes(recipe):
    embed(recipe)
    path = recipe / "exp" / "voices" / "embeddings_test" / "utterances.npz"
    before = path.stat().st_mtime_ns
    assert "up to date" in embed(recipe).err
    assert path.stat().st_mtime_ns == before
    save_model(recipe / "exp" / "voices", eer_threshold=0.6)
    embed(recipe)
    assert path.stat().st_mtime_ns > before


def test_a_checkpoint_of_another_model_is_refused(recipe):
    trained = to_dict(load_speaker_model(recipe / "exp/voices/final.pt").model.config)
    (recipe / "exp/voices/config.yaml").write_text(yaml.safe_dump({"model": trained}))
    assert embed(recipe).code == 0
    trained["extractor"]["channels"] *= 2
    (recipe / "exp/voices/config.yaml").write_text(yaml.safe_dump({"model": trained}))
    assert explained(embed(recipe), "exp/voices/final.pt: another model", "--name")


def test_what_cannot_be_embedded_is_named_and_the_rest_is_embedded(recipe):
    wav = recipe / "wav"
    spoilt_N = sound(0.5, 16000, 9)
    spoilt_N[100] = np.nan
    files = {wav / f"{name}.wav": name[0] for name in SECONDS}
    files[write(wav / "b-silent.wav", np.zeros(8000))] = "b"
    files[write(wav / "b-short.wav", sound(0.01, 16000, 3))] = "b"
    files[write(wav / "d-nan.wav", spoilt_N)] = "d"
    files[write(wav / "unknown.wav", sound(0.5, 16000, 8))] = None
    write_set(recipe, files)
    (wav / "a-2.wav").unlink()
    done = embed(recipe)
    assert done.code == 0
    for name, reason in {
        "a-2": "cannot be read",
        "b-silent": "silent: no 0.1 s louder than -60 dBFS",
        "b-short": "shorter than a frame of 25 ms: 10.0 ms",
        "d-nan": "NaN",
    }.items():
        assert any(f"{name}: not embedded" in s and reason in s for s in done.err.splitlines())
    assert "5 of 9 utterances, 3 speakers" in done.err
    utterances, speakers = tables(recipe)
    assert utterances.finite().ids == ("a-1", "b-1", "b-2", "c-1", "unknown")
    assert speakers.ids == ("a", "b", "c")
    assert np.isfinite(speakers.vectors_ND).all()


def test_nothing_to_embed_is_an_error(recipe):
    write_set(recipe, {write(recipe / "wav" / "still.wav", np.zeros(8000)): "a"})
    told = embed(recipe)
    assert explained(told, recipe / "data" / "test" / "cuts.jsonl.gz", "no utterance")
    save_model(recipe / "exp" / "voices", spoilt=True)
    assert "its embedding is not finite" not in told.err
    write_set(recipe, {recipe / "wav" / "a-1.wav": "a"})
    told = embed(recipe)
    assert "a-1: not embedded: its embedding is not finite" in told.err
    assert explained(told, "no utterance could be embedded")


def test_a_set_without_utterances_is_an_error(recipe):
    with pytest.raises(DataError, match="there is no utterance to embed"):
        Embedder.of(recipe / "exp" / "voices").cuts(iter(()))
    path = recipe / "data" / "test" / "cuts.jsonl.gz"
    with gzip.open(path, "wt"):
        pass
    assert explained(embed(recipe), f"{path}: holds no utterance")


def test_missing_set_and_model_are_named(recipe):
    assert explained(embed(recipe, "--set-name", "tset"), "tset/cuts.jsonl.gz: missing")
    (recipe / "exp" / "voices" / "final.pt").unlink()
    assert explained(embed(recipe), "voices/final.pt: no such checkpoint")


def test_any_manifest_and_any_model(recipe, tmp_path):
    embed(recipe, "--test-set", "test")
    expected = tables(recipe)
    source = recipe / "data" / "test" / "cuts.jsonl.gz"
    plain, out = tmp_path / "mine.jsonl", tmp_path / "out"
    plain.write_bytes(gzip.decompress(source.read_bytes()))
    model = (recipe / "exp" / "voices").rename(tmp_path / "moved")
    given = ("embed", "--recipe-dir", recipe, "--out", out)
    for path, cuts in ((model, plain), (model / "final.pt", source)):
        done = call(*given, "--model", path, "--cuts", cuts)
        assert (done.code, "5 of 5 utterances" in done.err) == (0, True), done.err
        for name, table in zip(("utterances", "speakers"), expected, strict=True):
            found = EmbeddingTable.read(out / f"{name}.npz")
            assert found.ids == table.ids
            np.testing.assert_array_equal(found.vectors_ND, table.vectors_ND)
    assert "up to date" in call(*given, "--model", model, "--cuts", source).err
    save_model(model, eer_threshold=0.7)
    assert "5 of 5 utterances" in call(*given, "--model", model, "--cuts", source).err
    assert "5 of 5 utterances" in call(*given, "--model", model, "--force").err  # of data/test
    assert explained(call(*given, "--model", model, "--cuts", tmp_path / "no"), "no: missing")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--name and --model: give one"),
        (("--name", "voices", "--model", "m", "--out", "o"), "--name and --model: give one"),
        (("--name", "voices", "--cuts", "c"), "--cuts: --out is missing"),
        (("--model", "m"), "--model: --out is missing"),
        (("--name", "voices", "--cuts", "c", "--set-name", "test", "--out", "o"), "--set-name and"),
        (("--model", "m", "--checkpoint", "c", "--out", "o"), "--checkpoint"),
    ],
)
def test_one_model_one_set_and_a_place(recipe, options, named):
    assert explained(call("embed", "--recipe-dir", recipe, *options), named)


def verify(recipe: Path, *arguments: object) -> Outcome:
    return call("verify", recipe / "exp" / "voices", *arguments)


def test_verify_scores_and_decides(recipe):
    first, second = recipe / "wav" / "a-1.wav", recipe / "wav" / "b-1.wav"
    assert verify(recipe, first, first).out == "score 1.0000, threshold 0.5000: same speaker\n"
    done = verify(recipe, first, second)
    embedder = Embedder.of(recipe / "exp" / "voices")
    score = cosine(embedder.file(first), embedder.file(second))
    assert done.out.startswith(f"score {score:.4f}, threshold 0.5000: ")
    for threshold, decision in (
        (score - 0.01, "same speaker"),
        (score + 0.01, "different speakers"),
    ):
        told = verify(recipe, first, second, "--threshold", min(1.0, max(-1.0, threshold)))
        assert told.out.endswith(f": {decision}\n")
    save_model(recipe / "exp" / "voices")
    told = verify(recipe, first, second)
    assert told.out == f"score {score:.4f}\n"
    assert "give --threshold" in told.err


def test_verify_takes_the_model_as_an_option(recipe):
    files = recipe / "wav" / "a-1.wav", recipe / "wav" / "b-1.wav"
    model = recipe / "exp" / "voices" / "final.pt"
    assert call("verify", "--model", model, *files) == verify(recipe, *files)
    for wrong in ((*files,), ("--model", model, model, *files), ("--model", model, files[0])):
        told = call("verify", *wrong)
        assert told.code == 2
        assert "give a model and two audio files" in told.err


def test_verify_hears_any_rate(recipe):
    at_16k = write(recipe / "wav" / "16k.wav", sound(1.0, 16000, 4))
    at_44k = write(recipe / "wav" / "44k.wav", sound(1.0, 44100, 4), 44100)
    embedder = Embedder.of(recipe / "exp" / "voices")
    assert cosine(embedder.file(at_16k), embedder.file(at_44k)) > 0.99


@pytest.mark.parametrize("samples_N", [np.zeros(8000), np.zeros(0), sound(0.01, 16000, 1)])
def test_verify_names_the_bad_file(recipe, samples_N):
    bad = write(recipe / "bad.wav", samples_N)
    assert explained(verify(recipe, recipe / "wav" / "a-1.wav", bad), bad)


def test_verify_refuses_other_models(recipe):
    model = transducer()
    payload = transducer_payload(model, tokenizer(), FBANK)
    content = {"model": model.state_dict(), "payload": payload, "facts": {}}
    save(recipe / "exp" / "voices" / "final.pt", TRANSDUCER, content)
    wav = recipe / "wav" / "a-1.wav"
    assert explained(verify(recipe, wav, wav), "holds a recogniser, not a speaker model")
    save_model(recipe / "exp" / "voices", spoilt=True)
    assert explained(verify(recipe, wav, wav), wav, "not finite")
