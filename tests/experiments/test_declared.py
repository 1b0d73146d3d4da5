"""Declared factors may differ, nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_fakes import run_record

from asrlib.experiments.declared import declared_keys, refusal, undeclared
from asrlib.experiments.run_record import GitState
from asrlib.experiments.systems import group_systems, label_of
from asrlib.scoring.records import Machine


def keys(a, b, *declared, **decode):
    return [d.key for d in undeclared(a, b, declared, **decode)]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"train__epochs": 2}, "train.epochs"),
        ({"data__max_frames": 8000}, "data.max_frames"),
        ({"model__loss__ctc_scale": 0.0}, "model.loss.ctc_scale"),
        ({"features__num_bins": 64}, "features.num_bins"),
        ({"seed": 2}, "train.seed"),
        ({"data": "other"}, "data/train"),
    ],
)
def test_a_difference_is_found_unless_it_is_declared(changed, key):
    a, b = run_record(name="a"), run_record(name="b", **changed)
    assert keys(a, b) == [key]
    assert keys(a, b, key) == []
    (found,) = undeclared(a, b, ())
    assert refusal("a", "b", found).startswith("a had " + key)


def test_a_declared_section_covers_its_keys():
    a, b = run_record(), run_record(model__loss__ctc_scale=0.0)
    assert keys(a, b, "model.loss") == []
    assert keys(a, b, "model.lo") == ["model.loss.ctc_scale"]


def test_of_two_models_the_whole_model_may_differ_but_nothing_else():
    a = run_record(model="lstm")
    b = run_record(model="conv_rnnt", model__encoder={"name": "conv_rnnt"}, train__epochs=9)
    assert keys(a, b) == ["train.epochs"]


def told(record, cohorts="geo", unknown=0.1):
    """The same run with memberships of the encoder."""
    model = {**record.config["model"], "encoder": {"name": "lstm", "condition": 2}}
    membership = {"cohorts": cohorts, "unknown": unknown}
    config = {**record.config, "model": model, "membership": membership}
    return replace(record, config=config, data={**record.data, "cohorts.jsonl": cohorts})


def test_memberships_follow_from_a_declared_condition_but_other_cohorts_do_not():
    plain = run_record(model__encoder={"name": "lstm", "condition": 0})
    a, b = told(plain), told(plain, cohorts="auto")
    both = ["data/cohorts.jsonl", "membership.unknown", "model.encoder.condition"]
    assert keys(plain, a) == both
    assert keys(plain, a, "model.encoder.condition") == []
    assert keys(a, b, "model.encoder.condition") == ["data/cohorts.jsonl"]
    assert keys(a, b, "membership.cohorts") == []
    assert keys(a, told(plain, unknown=0.5), "model.encoder.condition") == ["membership.unknown"]


def adapted(record, directory, cohorts):
    """The same run as an adaptation to the cohorts of a directory."""
    mitigation = {"cohorts": {"directory": directory, "cohort": "bottom", "labels": ""}}
    config = {**record.config, "mitigation": mitigation}
    return replace(record, config=config, data={**record.data, "cohorts.jsonl": cohorts})


def test_the_directory_of_cohorts_is_a_name_but_its_file_counts_unless_the_key_is_declared():
    a, moved, b = (adapted(run_record(), *told) for told in (("x", "1"), ("y", "1"), ("y", "2")))
    assert keys(a, moved) == []
    assert a.identity == moved.identity != b.identity
    assert keys(a, b) == ["data/cohorts.jsonl"]
    assert keys(a, b, "mitigation.cohorts.directory") == []
    assert keys(a, b, "mitigation.adaptation") == ["data/cohorts.jsonl"]
    assert keys(run_record(), a, "mitigation") == []


def test_another_start_is_a_difference():
    assert keys(run_record(), replace(run_record(), start="x")) == ["start"]


def test_code_and_machine_are_not_compared():
    other = replace(
        run_record(train__num_threads=4, train__device="cuda"),
        git=GitState("other", True),
        processor=Machine("another", 64),
        device="a GPU",
        versions={},
    )
    assert keys(run_record(), other) == []


def test_how_it_was_decoded_is_compared_but_for_what_changes_nothing():
    usual = {"search": "modified_beam", "modified_beam": {"beam": 4}, "max_streams": 1}
    wider = {**usual, "modified_beam": {"beam": 8}, "max_streams": 32}
    found = keys(run_record(), run_record(), decode_a=usual, decode_b=wider)
    assert found == ["decode.modified_beam.beam"]


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ({}, []),
        ({"hotwords": {"path": "words.txt"}}, ["hotwords.boost"]),
        ({"hotwords": {"phrases": ["NEW YORK"]}}, ["hotwords.boost"]),
        ({"lm": {"path": "lm.arpa"}}, ["lm.scale"]),
        ({"lm": {"path": "a", "lodr_path": "b"}}, ["lm.lodr_scale", "lm.scale"]),
    ],
)
def test_weights_of_what_is_not_there_are_no_difference(there, told):
    """A new default of the hotwords' boost once kept all older results from being compared."""

    def decode(weight: float) -> dict:
        off = {"lm": {"path": "", "lodr_path": ""}, "hotwords": {"path": "", "phrases": []}}
        weights = {"lm": ("scale", "lodr_scale"), "hotwords": ("boost",)}
        return {
            part: off[part] | there.get(part, {}) | dict.fromkeys(weights[part], weight)
            for part in off
        }

    found = keys(run_record(), run_record(), decode_a=decode(0.1), decode_b=decode(0.2))
    assert found == [f"decode.{key}" for key in told]


def test_factors_and_the_seed_are_declared():
    records = [run_record(factors={"data.max_frames": n}) for n in (1, 2)]
    assert declared_keys(records) == {"data.max_frames", "train.seed"}


@given(st.lists(st.tuples(st.sampled_from(["lstm", "conv"]), st.integers(1, 3)), unique=True))
def test_runs_of_one_system_differ_in_their_seed_only(runs):
    records = [run_record(name=f"{m}{s}", model=m, seed=s) for m, s in runs]
    found = group_systems(records, lambda r: r, lambda r: r.name)
    assert sorted(r.name for g in found.values() for r in g) == sorted(r.name for r in records)
    for label, group in found.items():
        assert {r.model for r in group} == {label}
        assert [r.seed for r in group] == sorted(r.seed for r in group)


def test_systems_of_one_label_are_told_apart_by_a_run():
    records = [run_record(name="a"), run_record(name="b", train__epochs=9)]
    found = group_systems(records, lambda r: r, lambda r: r.name)
    assert list(found) == ["lstm (a)", "lstm (b)"]


def test_a_run_that_was_trained_again_in_another_way_is_a_system_of_its_own():
    """Both are called alike, in every part of the label; one of them was lost once."""
    first, again = run_record(), run_record(train__epochs=9)
    git = GitState("fedcba9876543210", False)
    found = group_systems([first, replace(again, git=git)], lambda r: r, lambda r: r.name)
    assert list(found) == ["lstm (lstm, commit 0123456)", "lstm (lstm, commit fedcba9)"]
    found = group_systems([first, again], lambda r: r, lambda r: r.name)
    names = {f"lstm (lstm, commit 0123456, {r.identity[:8]})": [r] for r in (first, again)}
    assert found == names


def test_labels_name_factors_and_sort_by_their_value():
    records = [
        run_record(name=str(v), factors={"train.seed": 1, "data.max_frames": v}, data__max_frames=v)
        for v in (1000, 900, 20)
    ]
    found = list(group_systems(records, lambda r: r, lambda r: r.name))
    assert found == [f"lstm, data.max_frames={v}" for v in (20, 900, 1000)]
    assert label_of(run_record(factors={"train.peak_lr": 0.002})) == "lstm, train.peak_lr=0.002"


def test_a_start_may_differ_where_what_is_taken_from_it_may():
    a, b = run_record(train__init_part="all"), run_record(train__init_part="encoder")
    b = replace(b, start="x")
    assert keys(a, b) == ["start", "train.init_part"]
    assert keys(a, b, "train.init_part") == []


def test_tokens_may_differ_where_their_directory_may():
    a, b = run_record(data__lang="lang"), run_record(data__lang="letters")
    a, b = (replace(r, data={**r.data, f"{n}/bpe.model": n}) for r, n in ((a, "lang"), (b, "x")))
    assert keys(a, b) == ["data.lang", "data/lang/bpe.model", "data/x/bpe.model"]
    assert keys(a, b, "data.lang") == []
