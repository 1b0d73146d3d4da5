"""`python -m asrlib cohorts`: find, assign and explain in a recipe."""

import json

import pytest
from click.testing import CliRunner
from cohort_fakes import cohort_recipe

from asrlib.cli.cohorts import command
from asrlib.cohorts.confirm import ConfirmedMethod
from asrlib.errors import ConfigError, DataError


@pytest.fixture
def recipe(tmp_path):
    return cohort_recipe(tmp_path, "permutations: 9\nautomatic: {clusters: [8]}\n")


def _run(*words):
    result = CliRunner().invoke(command, [str(w) for w in words])
    if result.exception is not None:
        raise result.exception
    return result


def _find(recipe, *words):
    return _run("find", "--recipe-dir", recipe, "--name", "m", *words)


def test_find_assign_and_explain(recipe, tmp_path):
    _find(recipe, "--embeddings", recipe / "voices.npz")
    cohorts = recipe / "exp" / "cohorts"
    assert {p.parent.name for p in cohorts.glob("*/definition.json")} >= {"scan", "automatic"}
    out = tmp_path / "out.jsonl"
    for method in ("scan", "automatic"):
        words = ("assign", cohorts / method, "--speakers", recipe / "data" / "speakers.tsv")
        voices = ("--embeddings", recipe / "voices.npz") if method == "automatic" else ()
        _run(*words, "--out", out, *voices)
        assigned = [json.loads(line) for line in out.read_text().splitlines()]
        found = [
            json.loads(x) for x in (cohorts / method / "cohorts.jsonl").read_text().splitlines()
        ]
        assert [{**a, "split": f["split"]} for a, f in zip(assigned, found, strict=True)] == found
    lines = (cohorts / "automatic" / "by_utterance" / "cohorts.jsonl").read_text().splitlines()
    told = {line["utterance"]: line["cohort"] for line in map(json.loads, lines)}
    # The speakers here have one utterance each, so that its voice is theirs.
    assert told == {f"{a['speaker']}-1": a["cohort"] for a in assigned if a["speaker"][0] == "c"}
    assert not (cohorts / "scan" / "by_utterance").exists()
    _run("explain", "--recipe-dir", recipe, "--name", "m", "--method", "scan")
    told = json.loads((cohorts / "scan" / "explanation.json").read_text())
    assert told["enriched"][0]["attributes"] == {"group": "planted"}
    assert len(told["words"]) == 5


def test_found_cohorts_are_kept_until_an_input_changes(recipe):
    definition = recipe / "exp" / "cohorts" / "metadata" / "definition.json"
    words = ("--method", "metadata")
    _find(recipe, *words)
    before = definition.stat().st_mtime_ns
    _find(recipe, *words)
    assert definition.stat().st_mtime_ns == before
    _find(recipe, *words, "--set", "cohorts.min_speakers=12")
    assert definition.stat().st_mtime_ns > before


def test_what_is_wrong_is_named(recipe):
    with pytest.raises(ConfigError, match="method forest"):
        _find(recipe, "--method", "forest")
    with pytest.raises(DataError, match=r"utt_counts.jsonl: missing"):
        _find(recipe, "--set-name", "other")
    table = recipe / "data" / "speakers.tsv"
    table.write_text(table.read_text().replace("c0003\tconfirmation", "d0003\tconfirmation"))
    with pytest.raises(DataError, match="both halves, discovery and confirmation: d0003"):
        _find(recipe)


def test_one_set_is_divided_in_halves(recipe):
    _find(recipe, "--confirm", "discovery", "--method", "scan")
    cohorts = recipe / "exp" / "cohorts" / "scan" / "cohorts.jsonl"
    splits = [json.loads(line)["split"] for line in cohorts.read_text().splitlines()]
    assert splits == ["discovery"] * 75 + ["confirmation"] * 75
    words = ("--recipe-dir", recipe, "--name", "m", "--method", "scan", "--test-set", "discovery")
    _run("explain", *words)
    told = json.loads((cohorts.parent / "explanation.json").read_text())
    assert told["bottom_speakers"] + told["other_speakers"] == 75


def _confirmed(recipe, method):
    path = recipe / "exp" / "cohorts" / method / "confirmation.json"
    return ConfirmedMethod.from_file(path, "")


def test_cohorts_are_judged_once_on_other_speakers(recipe):
    _find(recipe, "--embeddings", recipe / "voices.npz")
    words = ("confirm", "--recipe-dir", recipe, "--name", "m", "--set", "score.permutations=199")
    _run(*words)
    scan = _confirmed(recipe, "scan")
    tried = json.loads((recipe / "exp" / "cohorts" / "found.json").read_text())["methods"]
    assert set(scan.methods) == set(tried)
    assert (scan.discovery.set, scan.confirmation.set) == ("discovery", "confirmation")
    assert scan.judged.confirmation_speakers == 150
    assert scan.judged.is_confirmed  # the errors near one place are five times as many
    found = [m for m in tried if (recipe / "exp" / "cohorts" / m / "definition.json").exists()]
    judged = [_confirmed(recipe, method).judged for method in found]
    assert len(found) < len(tried)  # the table of shares and others are missing
    # Holm's smallest p-value is multiplied by the number of all methods that were tried.
    least = min(judged, key=lambda one: one.p_value)
    assert least.p_holm == pytest.approx(min(1, least.p_value * len(tried)))


def test_cohorts_of_another_corpus_are_not_judged(recipe):
    _find(recipe, "--method", "scan")
    path = recipe / "exp" / "cohorts" / "scan" / "cohorts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    strange = [{**line, "speaker": "x" + line["speaker"]} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in strange))
    with pytest.raises(DataError, match="cohorts are of another corpus"):
        _run("confirm", "--recipe-dir", recipe, "--name", "m")


def test_nothing_is_judged_before_cohorts_are_sought(recipe):
    with pytest.raises(DataError, match=r"found\.json: missing"):
        _run("confirm", "--recipe-dir", recipe, "--name", "m")


def test_one_decode_serves_both_halves_of_a_test_set(recipe):
    same = ("--set-name", "discovery", "--confirm", "discovery")
    _find(recipe, *same, "--method", "scan")
    _run("confirm", "--recipe-dir", recipe, "--name", "m", *same)
    judged = _confirmed(recipe, "scan").judged
    assert judged.discovery_speakers + judged.confirmation_speakers == 150


def test_further_speakers_get_cohorts_from_the_definition_alone(recipe):
    _find(recipe, "--method", "scan")
    path = recipe / "exp" / "cohorts" / "scan" / "cohorts.jsonl"
    before = [json.loads(line) for line in path.read_text().splitlines()]
    table = recipe / "data" / "speakers.tsv"
    header, *rows = table.read_text().splitlines()
    others = [row.replace("\tdiscovery\t", "\ttrain\t").replace("d", "t", 1) for row in rows[:150]]
    table.write_text("\n".join([header, *rows, *others]) + "\n")
    _find(recipe, "--method", "scan", "--assign", "train")
    after = [json.loads(line) for line in path.read_text().splitlines()]
    assert after[:300] == before
    assert len(after) == 450
    for twin, line in zip(before, after[300:], strict=False):
        assert "split" not in line
        assert (line["speaker"][1:], line["cohort"]) == (twin["speaker"][1:], twin["cohort"])
