"""`transcribe --talkers` and `decode` with a model of two talkers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click.testing
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording
from speaker_fakes import FBANK, speaker_model
from streaming_fakes import RATE, babble, loud_model

from asrlib.checkpoint_file import save
from asrlib.cli.decode import command as decode
from asrlib.cli.transcribe import command as transcribe
from asrlib.encoders import LstmStackConfig, SeparatorConfig
from asrlib.errors import CheckpointError, UserError
from asrlib.features.fbank import FbankConfig
from asrlib.speakers.model_io import speaker_payload
from asrlib.streaming.result import StreamClock
from asrlib.streaming.search import Hypothesis
from asrlib.streaming.talkers import ChannelTurns, TurnMaker
from asrlib.text.tokenizer import Tokenizer
from asrlib.text.turn_labels import EOT, SOT
from asrlib.text.turns import TURNS_FILE, read_turns
from asrlib.transducer import StatelessConfig, Transducer, TransducerConfig
from asrlib.transducer.model_io import KIND, transducer_payload

LINE = re.compile(r" *(\d+\.\d\d) +(\d+\.\d\d)  channel ([01])  (\S.*)")


def write_model(
    folder: Path, model: Transducer, tokenizer: Tokenizer, changed: dict | None = None
) -> Path:
    content = transducer_payload(model, tokenizer, FbankConfig()) | (changed or {})
    save(folder / "final.pt", KIND, {"model": model.state_dict(), "payload": content, "facts": {}})
    return folder


@pytest.fixture(scope="module")
def recipe(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    stack = LstmStackConfig(layers=1, hidden_dim=24, dropout=0.0)
    encoder = SeparatorConfig(lstm=stack, module_dim=24, output_dim=24)
    predictor = StatelessConfig(context=2, output_dim=32)
    config = TransducerConfig(encoder=encoder, predictor=predictor, joiner_dim=48)
    write_model(folder / "exp/sts", loud_model(config, tokenizer.vocab_size), tokenizer)
    cuts = []
    for name, seconds in (("long", 3.0), ("short", 1.2)):
        path = folder / f"{name}.wav"
        soundfile.write(path, babble(seconds, seed=5).numpy() / 4, RATE, subtype="FLOAT")
        cuts.append(Recording.from_file(path, recording_id=name).to_cut())
    (folder / "data/mix_test").mkdir(parents=True)
    CutSet.from_cuts(cuts).to_file(folder / "data/mix_test/cuts.jsonl.gz")
    return folder


def run(command: click.Command, *args: object) -> click.testing.Result:
    return click.testing.CliRunner().invoke(command, [str(a) for a in args])


def test_each_turn_is_a_line_and_json_says_the_same(recipe):
    args = ("--model", recipe / "exp/sts", "--talkers", "2", recipe / "long.wav")
    result = run(transcribe, *args)
    assert result.exit_code == 0, result.output
    lines = [LINE.fullmatch(line).groups() for line in result.stdout.splitlines()]
    assert lines
    assert lines == sorted(lines, key=lambda line: (float(line[0]), line[2]))
    entry = json.loads(run(transcribe, *args, "--json").stdout)
    assert [(f"{t['channel']}", t["text"]) for t in entry["turns"]] == [x[2:] for x in lines]
    for turn in entry["turns"]:
        assert turn["start"] <= turn["end"]
        assert " ".join(w["word"] for w in turn["words"]).split() == turn["text"].split()


def test_turns_of_several_files_say_whose_they_are(recipe, tmp_path):
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, torch.zeros(RATE).numpy(), RATE)
    files = (recipe / "long.wav", silence, recipe / "short.wav")
    lines = run(transcribe, "--model", recipe / "exp/sts", *files).stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == [f"# {path}" for path in files]
    alone = run(transcribe, "--model", recipe / "exp/sts", files[2]).stdout.splitlines()
    assert lines[lines.index(f"# {files[2]}") + 1 :] == alone


def test_live_ends_with_the_same_turns_and_shows_open_ones_before(recipe):
    args = ("--model", recipe / "exp/sts", recipe / "long.wav")
    plain = run(transcribe, *args).stdout.splitlines()
    live = run(transcribe, *args, "--live").stdout.splitlines()
    assert sorted(line for line in live if LINE.fullmatch(line)) == sorted(plain)
    assert len(live) > len(plain)


def test_what_is_shown_of_an_open_turn_does_not_grow_with_it(tokenizer):
    maker = TurnMaker(tokenizer, StreamClock(0.01, 0.025, 4, 0), "sot_eot")
    said, word = ChannelTurns(), tokenizer.encode("SEVEN NINE")
    maker.settle(said, 0, Hypothesis((*word, EOT, SOT), tuple(range(len(word) + 2))), 1.0)
    assert maker.open_text(said, Hypothesis()) == ""
    shown = []
    for start in range(0, 4000, len(word)):
        frames = tuple(range(start, start + len(word)))
        maker.settle(said, 0, Hypothesis(tuple(word), frames), 1.0)
        shown.append(maker.open_text(said, Hypothesis()))
    assert shown[0] == "SEVEN NINE"
    assert len(said.tokens) > 3000
    assert max(map(len, shown)) < 64 * len("SEVEN NINE")
    assert shown[-1].endswith("SEVEN NINE")


def test_decoding_leaves_turns_that_scoring_reads(recipe):
    args = ("--recipe-dir", recipe, "--name", "sts", "--test-set", "mix_test")
    result = run(decode, *args)
    assert result.exit_code == 0, result.output
    out = recipe / "exp/sts/decode_mix_test_greedy"
    turns = read_turns(out / TURNS_FILE, "")
    assert {turn.session for turn in turns} == {"long", "short"}
    assert json.loads((out / "meta.json").read_text())["set"] == "mix_test"
    assert not (out / "hyp.jsonl").exists()
    written = (out / TURNS_FILE).stat().st_ino
    assert run(decode, *args).exit_code == 0
    assert (out / TURNS_FILE).stat().st_ino == written
    (out / TURNS_FILE).unlink()
    assert run(decode, *args).exit_code == 0
    assert read_turns(out / TURNS_FILE, "") == turns


@pytest.mark.parametrize(("name", "knows", "asked"), [("sts", 2, 1), ("sts", 2, 3), ("one", 1, 2)])
def test_a_wrong_number_of_talkers_names_the_model(
    recipe, random_models, tokenizer, name, knows, asked
):
    write_model(recipe / "exp/one", random_models["lstm", "stateless"], tokenizer)
    folder = recipe / "exp" / name
    result = run(transcribe, "--model", folder, "--talkers", asked, recipe / "long.wav")
    assert isinstance(result.exception, UserError)
    assert f"{folder}/final.pt is a model of {knows} talker" in result.exception.what
    assert f"--talkers {knows}" in result.exception.fix


def write_voices(folder: Path) -> Path:
    """A speaker model that gives every turn its own voice at a threshold above 1."""
    model = speaker_model(2)
    content = {"model": model.state_dict(), "payload": speaker_payload(model, FBANK), "facts": {}}
    save(folder / "final.pt", "speaker", content)
    return folder


def test_turns_are_named_by_voice(recipe):
    voices = write_voices(recipe / "exp/voices")
    args = ("--model", recipe / "exp/sts", "--speakers", voices, "--json", recipe / "long.wav")
    result = run(transcribe, *args, "--speaker-threshold", 1.1)
    assert result.exit_code == 0, result.exception
    named = [turn.get("speaker") for turn in json.loads(result.output)["turns"]]
    known = [name for name in named if name]
    assert known == [f"speaker{i}" for i in range(1, len(known) + 1)]
    assert known


def test_voices_need_a_threshold_a_speaker_model_and_turns(recipe, random_models, tokenizer):
    voices = write_voices(recipe / "exp/voices")
    args = ("--model", recipe / "exp/sts", "--speakers")
    assert (
        "--speaker-threshold" in run(transcribe, *args, voices, recipe / "long.wav").exception.fix
    )
    other = run(transcribe, *args, recipe / "exp/sts", recipe / "long.wav")
    assert "sts/final.pt" in other.exception.what
    write_model(recipe / "exp/one", random_models["lstm", "stateless"], tokenizer)
    lone = run(transcribe, "--model", recipe / "exp/one", "--speakers", voices, recipe / "long.wav")
    assert "one talker" in lone.exception.what


def test_endpoints_are_not_for_turns(recipe):
    args = ("--model", recipe / "exp/sts", "--endpoint", recipe / "long.wav")
    assert "endpoint" in run(transcribe, *args).exception.what


@pytest.mark.parametrize("kind", ["symbols", "size"])
def test_unknown_tokens_in_a_checkpoint_are_an_error(recipe, random_models, tokenizer, kind):
    model = random_models["lstm", "stateless"]
    folder = recipe / "exp" / kind
    if kind == "size":
        model = Transducer(model.config, 80, tokenizer.vocab_size + 3)
        write_model(folder, model, tokenizer)
        words = f"its tokenizer {tokenizer.vocab_size}"
    else:
        other = tokenizer.model_bytes.replace(b"<sot>", b"<abc>")
        write_model(folder, model, tokenizer, {"tokenizer": other})
        words = "<abc>"
    result = run(transcribe, "--model", folder, recipe / "long.wav")
    assert isinstance(result.exception, CheckpointError)
    assert f"{folder}/final.pt" in result.exception.what
    assert words in result.exception.what


def test_silence_has_no_turn_or_a_right_one(recipe):
    soundfile.write(recipe / "silence.wav", torch.zeros(RATE).numpy(), RATE)
    result = run(transcribe, "--model", recipe / "exp/sts", recipe / "silence.wav")
    assert result.exit_code == 0
    assert all(LINE.fullmatch(line) for line in result.stdout.splitlines())
