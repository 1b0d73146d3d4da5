"""`asrlib decode` and `transcribe` with a language model and hotwords: files, names, bad input."""

from __future__ import annotations

import json
import shutil

import click.testing
import pytest
import soundfile
from command_fakes import call, explained
from streaming_fakes import RATE, babble
from test_decode_command import recipe, run  # noqa: F401

from asrlib.cli import score, transcribe
from asrlib.errors import ConfigError, DataError
from asrlib.experiments.tune_decode import Tried, TunedDecoding
from asrlib.lm.kneser_ney import train_ngrams, write_arpa
from asrlib.stamps import hash_file
from asrlib.text.tokenizer import SPECIALS

OUT = "exp/m/decode_test_modified_beam_lm"
LM = ("--search", "modified_beam", "--set", "decode.lm.path=data/lm/a.arpa")


@pytest.fixture
def with_lm(recipe, tokenizer):  # noqa: F811
    pieces = [tokenizer.piece(i) for i in range(len(SPECIALS), tokenizer.vocab_size)]
    text = [[tokenizer.piece(i) for i in tokenizer.encode("THREE NINE")]]
    write_arpa(train_ngrams(text, 2, pieces), recipe / "data/lm/a.arpa")
    (recipe / "conf").mkdir(exist_ok=True)
    (recipe / "words.txt").write_text("NINE\t2.5\n")
    return recipe


def test_a_tagged_decoding_has_its_own_directory_and_row(with_lm):
    assert run(with_lm, "--search", "modified_beam").exit_code == 0
    words = ("--tag", "lm", "--set", "decode.hotwords.path=words.txt")
    assert run(with_lm, *LM, *words).exit_code == 0
    meta = json.loads((with_lm / OUT / "meta.json").read_text())
    assert meta["tag"] == "lm"
    assert meta["config"]["lm"]["path"] == "data/lm/a.arpa"
    assert meta["files"] == {
        "lm.path": hash_file(with_lm / "data/lm/a.arpa"),
        "hotwords.path": hash_file(with_lm / "words.txt"),
    }
    plain = json.loads((with_lm / "exp/m/decode_test_modified_beam/meta.json").read_text())
    assert not {"tag", "files"} & set(plain)
    options = ["--recipe-dir", str(with_lm), "--name", "m", "--search", "modified_beam"]
    scored = click.testing.CliRunner().invoke(score.command, [*options, "--tag", "lm"])
    assert scored.exit_code == 0
    assert (with_lm / OUT / "scores.json").exists()


def test_tuned_settings_and_models_are_used_by_beam_search_without_its_name(with_lm):
    """decode and score take modified_beam, which tune-decode tunes, without --search."""
    lm = ("--set", "decode.lm.path=data/lm/a.arpa", "--tag", "lm")
    (with_lm / "data/dev").mkdir()
    shutil.copy(with_lm / "data/test/cuts.jsonl.gz", with_lm / "data/dev/cuts.jsonl.gz")
    words = ("--recipe-dir", with_lm, "--name", "m", *lm)
    assert call("tune-decode", *words, "--try", "decode.lm.scale=[0.1,0.2]").code == 0
    assert call("decode", *words, "--tuned").code == 0
    assert (with_lm / OUT / "hyp.jsonl").exists()
    assert call("score", *words).code == 0
    assert (with_lm / OUT / "scores.json").exists()
    assert call("decode", *words, "--search", "greedy").code == 1  # greedy has no language model
    assert run(with_lm, "--set", "decode.search=greedy", *lm).exit_code == 1


@pytest.mark.parametrize("file", ["data/lm/a.arpa", "words.txt"])
def test_a_changed_file_makes_the_decoding_stale(with_lm, file):
    args = (*LM, "--tag", "lm", "--set", "decode.hotwords.path=words.txt")

    def written() -> int:
        assert run(with_lm, *args).exit_code == 0
        return (with_lm / OUT / "hyp.jsonl").stat().st_ino

    first = written()
    assert written() == first
    with open(with_lm / file, "a") as f:
        f.write("\n")
    assert written() != first


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        (LM, ConfigError, "needs a name"),
        ((*LM, "--tag", "a/b"), ConfigError, "cannot be part of a directory name"),
        ((*LM, "--tag", "lm", "--set", "decode.lm.scale=-1"), ConfigError, "decode.lm.scale=-1"),
        ((*LM[:2], "--tag", "x", "--set", "decode.lm.path=none.arpa"), DataError, "none.arpa"),
        ((*LM, "--tag", "x", "--set", "decode.hotwords.path=conf"), DataError, "conf"),
    ],
)
def test_wrong_settings_are_named(with_lm, args, kind, words):
    result = run(with_lm, *args)
    assert isinstance(result.exception, kind)
    assert words in result.exception.what


def test_transcribe_takes_phrases_and_shows_alternatives(with_lm):
    soundfile.write(with_lm / "x.wav", babble(1.5, seed=2).numpy() / 4, RATE, subtype="FLOAT")

    def shown(*args: str) -> dict:
        words = ["--model", str(with_lm / "exp/m"), "--json", *args, str(with_lm / "x.wav")]
        result = click.testing.CliRunner().invoke(transcribe.command, words)
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    plain = shown("--search", "modified_beam")
    assert all(0 <= word["confidence"] <= 1 for word in plain["words"])
    assert "alternatives" not in plain["segments"][0]
    several = shown("--n-best", "3")
    found = several["segments"][0]["alternatives"]
    assert found[0]["text"] == several["text"] == plain["text"]
    assert 1 < len(found) <= 3
    boosted = shown("--hotwords", "SEVEN; GO", "--set", "decode.hotwords.boost=30.0")
    assert boosted["text"] != plain["text"]
    files = ("--hotwords-file", str(with_lm / "words.txt"), "--lm", str(with_lm / "data/lm/a.arpa"))
    assert shown(*files)["text"]


def test_hotwords_without_a_phrase_are_refused(with_lm):
    words = ["--model", str(with_lm / "exp/m"), "--hotwords", " ; ", "x.wav"]
    result = click.testing.CliRunner().invoke(transcribe.command, words)
    assert isinstance(result.exception, ConfigError)


def test_transcribe_uses_what_was_tuned(with_lm):
    """What --tuned names equals the same settings by --set, which go before it."""
    soundfile.write(with_lm / "x.wav", babble(1.5, seed=2).numpy() / 4, RATE, subtype="FLOAT")
    scale = {"decode.lm.scale": 2.0}
    TunedDecoding("dev", scale, (Tried(scale, 1.0),)).to_file(with_lm / "tuned.json")
    arpa = with_lm / "data/lm/a.arpa"
    words = ("transcribe", "--model", with_lm / "exp/m", with_lm / "x.wav", "--lm", arpa)
    words = (*words, "--json", "--n-best", "2")

    def shown(*more: object) -> str:
        done = call(*words, *more)
        assert done.code == 0, done.err
        return done.out

    tuned = shown("--tuned", with_lm / "tuned.json")
    assert tuned == shown("--set", "decode.lm.scale=2.0") != shown()
    plain = shown("--tuned", with_lm / "tuned.json", "--set", "decode.lm.scale=0.3")
    assert plain == shown()
    assert shown("--lodr", arpa, "--set", "decode.lm.lodr_scale=0.0") == shown()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--n-best", "2"), ("--n-best", "add --json")),
        (("--speaker-threshold", "0.5"), ("--speaker-threshold", "--speakers MODEL")),
        (("--lodr", "data/lm/a.arpa"), ("decode.lm.lodr_path", "decode.lm.path")),
    ],
)
def test_options_that_would_change_nothing_are_refused(with_lm, option, words, monkeypatch):
    monkeypatch.chdir(with_lm)
    done = call("transcribe", "--model", with_lm / "exp/m", with_lm / "short.wav", *option)
    assert explained(done, *words)
