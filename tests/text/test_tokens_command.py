"""Stage 3 as a command."""

import pytest
from click.testing import CliRunner
from lhotse import CutSet
from speech_fakes import make_cuts

from asrlib.__main__ import cli
from asrlib.errors import ConfigError, DataError
from asrlib.text import Tokenizer


def tokens(recipe, *args):
    command = ["tokens", "--recipe-dir", str(recipe), *args]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "data" / "train"
    make_cuts(folder / "wav", 5).to_file(folder / "cuts.jsonl.gz")
    return tmp_path


def test_model_and_table(recipe):
    assert tokens(recipe, "--set", "tokens.vocab_size=30").exit_code == 0
    model = recipe / "data" / "lang" / "bpe.model"
    tokenizer = Tokenizer.from_file(model)
    lines = (recipe / "data" / "lang" / "tokens.txt").read_text().splitlines()
    assert lines[:2] == ["<blk> 0", "<unk> 1"]
    assert lines == [f"{tokenizer.piece(i)} {i}" for i in range(tokenizer.vocab_size)]
    written = model.stat().st_mtime_ns
    tokens(recipe, "--set", "tokens.vocab_size=30")
    assert model.stat().st_mtime_ns == written
    tokens(recipe, "--set", "tokens.vocab_size=30", "--force")
    assert model.stat().st_mtime_ns != written


def test_each_source_of_the_training_speakers_has_a_symbol(recipe):
    cuts = CutSet.from_file(recipe / "data" / "train" / "cuts.jsonl.gz")
    speakers = sorted({cut.supervisions[0].speaker for cut in cuts})
    rows = [f"{name}\ttrain\tan4" for name in speakers] + ["other\tdev\tlibrispeech"]
    table = recipe / "data" / "speakers.tsv"
    table.write_text("speaker\tset\tcorpus\n" + "\n".join(rows) + "\n")
    settings = ("--set", "tokens.vocab_size=40", "--set", "tokens.sources=corpus")
    tokens(recipe, *settings)
    model = recipe / "data" / "lang" / "bpe.model"
    assert Tokenizer.from_file(model).sources == ("an4",)
    table.write_text(table.read_text().replace("an4", "so762"))
    tokens(recipe, *settings)
    assert Tokenizer.from_file(model).sources == ("so762",)
    with pytest.raises(ConfigError, match=r"tokens\.sources: .* has no column place"):
        tokens(recipe, "--set", "tokens.sources=place")


def test_too_small_names_key_and_least(recipe):
    with pytest.raises(ConfigError, match=r"tokens\.vocab_size: 6 .*\n.*at least \d+"):
        tokens(recipe, "--set", "tokens.vocab_size=6")


def test_no_manifest(tmp_path):
    with pytest.raises(DataError, match="run stage 1"):
        tokens(tmp_path)
