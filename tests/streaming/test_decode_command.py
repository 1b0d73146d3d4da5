"""`asrlib decode`: what stage 5 leaves, and when it is skipped."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem
from streaming_fakes import RATE, babble, random_model, recognizer_of, transcribe

from asrlib.checkpoint_file import save
from asrlib.cli.decode import command
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.features.fbank import FbankConfig
from asrlib.scoring.records import read_utterances
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.text.tokenizer import BLANK_ID, Tokenizer, TokensConfig, train_tokenizer
from asrlib.transducer.model_io import KIND, transducer_payload

LENGTHS = {"long": 2.5, "short": 0.7, "mid": 1.3}


@pytest.fixture
def recipe(tmp_path, random_models, tokenizer) -> Path:
    cuts = []
    for i, (name, seconds) in enumerate(LENGTHS.items()):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, babble(seconds, seed=i).numpy(), RATE, subtype="FLOAT")
        cut = Recording.from_file(path, recording_id=name).to_cut()
        words = [AlignmentItem("ONE", 0.1, 0.2), AlignmentItem("TWO", 0.3, 0.25)]
        supervision = SupervisionSegment(
            id=name,
            recording_id=name,
            start=0.0,
            duration=cut.duration,
            text="ONE TWO",
            speaker=f"s{i}",
            alignment={"word": words} if i else None,
            custom={"private": True} if name == "mid" else None,
        )
        cut.supervisions = [supervision]
        cuts.append(cut)
    # A part of a longer recording: only that part is decoded.
    cuts.append(cuts[0].truncate(offset=0.5, duration=1.0).with_id("part"))
    (tmp_path / "data/test").mkdir(parents=True)
    CutSet.from_cuts(cuts).to_file(tmp_path / "data/test/cuts.jsonl.gz")
    model = random_models["lstm", "stateless"]
    payload = transducer_payload(model, tokenizer, FbankConfig())
    content = {"model": model.state_dict(), "payload": payload, "facts": {}}
    save(tmp_path / "exp/m/final.pt", KIND, content)
    return tmp_path


def run(recipe: Path, *args: str) -> click.testing.Result:
    options = ["--recipe-dir", str(recipe), "--name", "m", *args]
    return click.testing.CliRunner().invoke(command, options)


def read(recipe: Path, search: str = "greedy") -> dict[str, dict]:
    lines = (recipe / f"exp/m/decode_test_{search}/hyp.jsonl").read_text().splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}


def test_hypotheses_are_those_of_each_cut_alone(recipe, random_models, tokenizer):
    assert run(recipe, "--set", "decode.max_streams=2").exit_code == 0
    entries = read(recipe)
    assert list(entries) == [*LENGTHS, "part"]
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer)
    for i, name in enumerate(LENGTHS):
        result = transcribe(recognizer, babble(LENGTHS[name], seed=i))
        entry = entries[name]
        assert (entry["hyp"], entry["tokens"]) == (result.text, list(result.pieces))
        assert entry["token_times"] == pytest.approx(result.token_times, abs=1e-3)
        assert entry["final_time"] == pytest.approx(result.final_time, abs=1e-3)
        assert [w for w, _, _ in entry["hyp_words"]] == [w for w, _, _ in result.words]
        assert (entry["speaker"], entry["ref"]) == (f"s{i}", "ONE TWO")
        assert entry["duration"] == pytest.approx(LENGTHS[name], abs=1e-3)
    part = transcribe(recognizer, babble(2.5, seed=0)[RATE // 2 : RATE * 3 // 2])
    assert entries["part"]["hyp"] == part.text
    assert entries["long"]["ref_words"] is None
    assert entries["short"]["ref_words"] == [["ONE", 0.1, 0.3], ["TWO", 0.3, 0.55]]
    assert [e.get("private", False) for e in entries.values()] == [False, False, True, False]


def test_scoring_reads_what_decoding_writes(recipe):
    run(recipe)
    utterances = read_utterances(recipe / "exp/m/decode_test_greedy/hyp.jsonl")
    assert {u.id for u in utterances} == {*LENGTHS, "part"}
    meta = json.loads((recipe / "exp/m/decode_test_greedy/meta.json").read_text())
    assert (meta["model"], meta["set"], meta["search"]) == ("m", "test", "greedy")
    assert meta["audio_seconds"] == pytest.approx(sum(LENGTHS.values()) + 1.0)
    assert meta["cpu_seconds"] > 0
    assert meta["real_time_factor"] == pytest.approx(meta["wall_seconds"] / meta["audio_seconds"])
    assert meta["parameters"]["encoder"] > 0
    assert meta["flops_per_second"] > 0
    assert meta["peak_memory_mb"] > 10
    assert meta["config"]["greedy"] == {"max_symbols_per_frame": None}


def test_complete_and_unchanged_is_skipped(recipe):
    out = recipe / "exp/m/decode_test_modified_beam/hyp.jsonl"

    def written(*args: str) -> int:
        assert run(recipe, "--search", "modified_beam", *args).exit_code == 0
        return out.stat().st_ino

    first = written()
    assert written() == first
    again = written("--set", "decode.modified_beam.beam=2")
    assert again != first
    assert written("--set", "decode.modified_beam.beam=2", "--force") != again


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        (["--test-set", "tset"], DataError, "tset"),
        (["--checkpoint", "no.pt"], UserError, "no.pt"),
        (["--search", "beam"], UserError, "beam"),
        (["--set", "decode.chunk=3"], ConfigError, "chunk"),
    ],
)
def test_wrong_options_have_a_mend(recipe, args, kind, words):
    result = run(recipe, *args)
    assert isinstance(result.exception, kind)
    assert words in result.exception.what
    assert result.exception.fix


def test_lost_audio_is_named_and_nothing_is_left(recipe):
    (recipe / "short.wav").unlink()
    result = run(recipe)
    assert isinstance(result.exception, DataError)
    assert "cut short" in result.exception.what
    assert not (recipe / "exp/m/decode_test_greedy/hyp.jsonl").exists()


def test_a_source_that_the_model_does_not_know_is_named(recipe):
    result = run(recipe, "--set", "decode.source=an4")
    assert isinstance(result.exception, ConfigError)
    assert "source an4" in result.exception.what
    assert "tokens.sources" in result.exception.fix


@pytest.mark.parametrize("search", ["greedy", "modified_beam", "fast_beam"])
def test_a_source_is_told_by_the_first_symbol(random_models, tokenizer, tmp_path, search):
    """A symbol with the embedding of blank changes nothing, another one does."""
    config = TokensConfig(vocab_size=96, sources="corpus")
    train_tokenizer(["ONE TWO THREE", "NINE SIX"] * 9, config, tmp_path / "bpe.model", ["an4"])
    told = Tokenizer.from_file(tmp_path / "bpe.model")
    model = random_model("lstm", "stateless", told.vocab_size, seed=2)
    untold, an4 = (recognizer_of(model, told, search, source=name) for name in (None, "an4"))
    h_BSD = torch.randn(1, 40, model.encoder.output_dim, generator=torch.manual_seed(4))

    def score(recognizer: StreamingRecognizer) -> float:
        state = recognizer.search.initial_state()
        recognizer.search.advance(h_BSD, [state])
        return recognizer.search.best(state).score

    assert score(an4) != score(untold)
    weight_VD = model.predictor.embedding.weight
    with torch.no_grad():
        weight_VD[told.first_symbol("an4")] = weight_VD[BLANK_ID]
    assert score(an4) == pytest.approx(score(untold), abs=1e-4)
