"""`asrlib decode` and `transcribe` with a language model and hotwords: files, names, bad input."""

from __future__ import annotations

import json

import click.testing
import pytest
import soundfile
from streaming_fakes import RATE, babble
from test_decode_command import recipe, run  # noqa: F401

from asrlib.cli import score, transcribe
from asrlib.errors import ConfigError, DataError
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
