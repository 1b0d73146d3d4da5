import json

import pytest
from command_fakes import call, explained
from scoring_fakes import entry, planted_entries, write_decode, write_speakers

from asrlib.config import load_config
from asrlib.errors import ConfigError, DataError
from asrlib.scoring.score import OUTPUTS, ScoreConfig, Scores, score_decode

QUICK = ScoreConfig(replicates=100, groups=(), bands={}, pairs=())


def scores(recipe, name="lstm"):
    return Scores.from_file(recipe / "exp" / name / "decode_test_greedy" / "scores.json", "")


def test_everything_lies_beside_the_hypotheses(scored_recipe):
    out = scored_recipe / "exp" / "lstm" / "decode_test_greedy"
    details = {p.name for p in (out / "wer_details").iterdir()}
    assert details == {"per_utt", "per_spk", "ops", "wer_bootci"}
    assert all((out / name).is_file() for name in OUTPUTS)
    hidden = {p.suffix for p in out.iterdir() if p.name.startswith(".")}
    assert hidden <= {".stamp", ".lock"}


def test_all_files_tell_the_same_total(scored_recipe):
    out = scored_recipe / "exp" / "lstm" / "decode_test_greedy"
    wer = scores(scored_recipe).wer
    first = (out / "wer.txt").read_text().splitlines()[0]
    assert first == (
        f"%WER {wer.percent:.2f} [ {wer.errors} / {wer.words}, "
        f"{wer.insertions} ins, {wer.deletions} del, {wer.substitutions} sub ]"
    )
    last = (out / "wer_details" / "per_spk").read_text().splitlines()[-2].split()
    assert (int(last[3]), int(last[8])) == (wer.words, wer.errors)
    assert f"%WER {wer.percent:.2f} " in (out / "wer_details" / "wer_bootci").read_text()


def test_the_planted_group_stands_in_the_scores(scored_recipe):
    groups = scores(scored_recipe).groups
    assert groups["accent"].gap.worst == "rare"
    assert groups["accent"].gap.gap_interval.low > 0
    assert sum(g.errors.words for g in groups["age"].groups) == 1440


def test_latency_and_cost_stand_in_the_scores(scored_recipe):
    found = scores(scored_recipe)
    assert 100 < found.latency.symbol_delay_ms.p50 < 300
    assert 600 < found.latency.finalisation_ms.p50 < 700
    assert found.meta.real_time_factor == 0.05
    assert found.meta.machine.cores == 4


def test_second_run_is_skipped_until_something_changes(tmp_path, cli):
    out = write_decode(
        tmp_path / "exp" / "m" / "decode_test_greedy", planted_entries({"a": 0.1, "b": 0.2}, 1)
    )
    args = ["score", "--recipe-dir", tmp_path, "--name", "m", "--set", "score.replicates=100"]
    assert "%WER" in cli(*args).output
    assert cli(*args).output.count("%WER") == 0
    assert "%WER" in cli(*args, "--force").output
    write_decode(out, planted_entries({"a": 0.1, "b": 0.2}, 2))
    assert "%WER" in cli(*args).output
    (out / "alignments.txt").unlink()
    assert "%WER" in cli(*args).output


def test_a_column_that_is_not_there_is_an_error_only_if_the_user_names_it(tmp_path):
    write_decode(
        tmp_path / "exp" / "m" / "decode_test_greedy", planted_entries({"a": 0.1, "b": 0.2}, 1)
    )
    rows = [{"speaker": s, "set": "test", "gender": s, "accent": ""} for s in "ab"]
    write_speakers(tmp_path / "data" / "speakers.tsv", rows)
    args = ["score", "--recipe-dir", tmp_path, "--name", "m", "--set"]
    told = call(*args, "score.groups=[gender,gendr]")
    assert explained(told, "speakers.tsv has no column gendr", "choose among accent, gender")
    told = call(*args, "score.replicates=100")
    assert told.code == 0
    skipped = [line for line in told.err.splitlines() if "is skipped" in line]
    assert len(skipped) == 1  # of all that conf/score.yaml names, one is in the table
    assert "'accent'" in skipped[0]
    assert set(scores(tmp_path, "m").groups) == {"gender"}


def test_scoring_what_was_not_decoded_names_the_file(tmp_path, cli):
    with pytest.raises(DataError, match=r"decode_test_greedy/hyp\.jsonl: missing"):
        cli("score", "--recipe-dir", tmp_path, "--name", "nobody")


def test_private_words_are_in_no_file_and_no_log(tmp_path, cli):
    secret = entry("p", "s", "PIN XYZZY", "PIN XYZZA", private=True)
    out = write_decode(
        tmp_path / "exp" / "m" / "decode_test_greedy", [secret, entry("q", "t", "A B", "A")]
    )
    result = cli("score", "--recipe-dir", tmp_path, "--name", "m")
    assert result.output.count("%WER 50.00 [ 2 / 4,") >= 1
    written = [p for p in out.rglob("*") if p.is_file() and p.name != "hyp.jsonl"]
    assert {"scores.json", "score.log", "per_utt"} <= {p.name for p in written}
    texts = [p.read_text() for p in written] + [result.output]
    assert not any("XYZZ" in t or "PIN" in t for t in texts)
    assert scores(tmp_path, "m").private_utterances == 1


def test_a_set_without_any_word(tmp_path):
    out = write_decode(
        tmp_path / "exp" / "m" / "decode_test_greedy",
        [entry("a", "s", "", ""), entry("b", "t", "", "OH")],
    )
    found = score_decode(out, tmp_path / "speakers.tsv", QUICK)
    assert found.wer.percent is None
    assert found.wer.insertions == 1
    assert found.interval is None
    assert (out / "wer.txt").read_text().startswith("%WER inf [ 1 / 0, 1 ins, 0 del, 0 sub ]")
    json.loads((out / "scores.json").read_text(), parse_constant=lambda c: pytest.fail(c))


def test_defaults_are_spelled_out_and_typos_are_named(tmp_path):
    from asrlib.recipe import PROJECT_DIR

    file = PROJECT_DIR / "conf" / "score.yaml"
    config = load_config(ScoreConfig, "score", [file])
    assert ("lstm", "conv_rnnt") in config.pairs
    models = PROJECT_DIR / "conf" / "model"
    known = {p.relative_to(models).with_suffix("").as_posix() for p in models.rglob("*.yaml")}
    assert {name for pair in config.pairs for name in pair} <= known
    written = {line.split(":")[0] for line in file.read_text().splitlines() if line[:1].isalpha()}
    assert written == set(ScoreConfig.__dataclass_fields__)
    with pytest.raises(ConfigError, match="did you mean replicates"):
        load_config(ScoreConfig, "score", [file], ["score.replicate=5"])
