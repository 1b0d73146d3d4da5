"""Whose speech is used, its labels, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
from lhotse import CutSet
from mitigation_fakes import adapt, ids, weights, write_cohort_recipe, write_cohorts
from small_transducer import transducer

from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.experiments.run_record import read_record
from asrlib.mitigation.build import _with_speech, epoch_mix
from asrlib.mitigation.cohort_speech import choosers, cohort_speech, speaker_of
from asrlib.mitigation.config import AdaptationConfig, CohortsConfig, MitigationConfig
from asrlib.training.training_inputs import read_inputs

METHOD, SPEECH = "mitigation.adaptation.method=", "mitigation.adaptation.speech="
DIRECTORY = "exp/cohorts/tree"


@pytest.fixture
def recipe(tmp_path):
    return write_cohort_recipe(tmp_path / "egs")


def speech(recipe, **settings):
    data = recipe / "data"
    train = CutSet.from_file(data / "train" / "cuts_fbank.jsonl.gz").to_eager()
    settings = {"directory": DIRECTORY, "sets": ("discovery",), **settings}
    return cohort_speech(CohortsConfig(**settings), data, train)


def speakers(cuts) -> set[str]:
    return {speaker_of(cut) for cut in cuts}


def test_no_speaker_of_confirmation_is_used_and_choosers_are_apart(recipe):
    found = speech(recipe)
    assert speakers(found.train) | speakers(found.choose) == {"d0", "d1", "d2"} == found.speakers
    assert not speakers(found.train) & speakers(found.choose)
    assert len(speakers(found.choose)) == 1
    assert speakers(found.pool) == {"d0", "d1", "d2", "d4", "d5"} - speakers(found.choose)
    every = speech(recipe, split="any", choose=0.0)
    assert speakers(every.train) == {"d0", "d1", "d2", "d3"}
    assert not len(every.choose)


def test_speakers_that_were_assigned_later_are_trained_on(recipe):
    path = write_cohorts(recipe, {"d0": "bottom", "d1": "bottom", "d4": "top"}, set())
    path.write_text(path.read_text().replace(', "split": "discovery"', ""))
    assert speakers(speech(recipe, choose=0.0).train) == {"d0", "d1"}
    with pytest.raises(DataError, match="split confirmation: has no speaker"):
        speech(recipe, split="confirmation")


def test_choosers_are_a_fifth_whatever_the_order():
    names = [f"speaker{i}" for i in range(50)]
    assert len(choosers(names, 0.2)) == 10
    assert choosers(names[::-1], 0.2) == choosers(names, 0.2) != frozenset(names[:10])
    assert len(choosers([*names, "late"], 0.2) & choosers(names, 0.2)) >= 9


def write_hypotheses(recipe, texts: dict[str, str]) -> str:
    directory = recipe / "exp/start/decode_discovery_greedy"
    directory.mkdir(parents=True, exist_ok=True)
    rows = [{"id": i, "ref": "ONE", "hyp": text} for i, text in texts.items()]
    (directory / "hyp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "exp/start/decode_discovery_greedy"


def test_hypotheses_replace_transcripts_of_the_cohort_that_is_trained_on(recipe):
    plain = speech(recipe)
    texts = dict.fromkeys(ids(plain.train), "TWO THREE") | {ids(plain.train)[0]: ""}
    found = speech(recipe, labels=write_hypotheses(recipe, texts))
    assert ids(found.train) == ids(plain.train)[1:]
    assert {cut.supervisions[0].text for cut in found.train} == {"TWO THREE"}
    assert all(cut.supervisions[0].alignment is None for cut in found.train)
    assert list(found.choose) == list(plain.choose)


def test_an_utterance_that_was_not_decoded_is_named(recipe):
    first, *others = ids(speech(recipe).train)
    labels = write_hypotheses(recipe, dict.fromkeys(others, "ONE"))
    with pytest.raises(DataError, match=f"lacks 1 of .* for example {first}"):
        speech(recipe, labels=labels)


def test_cohorts_of_another_corpus(recipe):
    write_cohorts(recipe, {"d0": "bottom", "x9": "bottom"}, set())
    with pytest.raises(DataError, match=r"1 of 2 speakers are not in .* x9: .* another corpus"):
        adapt(recipe, "a", f"{METHOD}finetune")


def test_a_cohort_without_training_data(recipe):
    with pytest.raises(DataError, match=r"0 of its 3 speakers speak in train: no training data"):
        adapt(recipe, "a", f"{METHOD}finetune", "mitigation.cohorts.sets=[train]")
    with pytest.raises(DataError, match=r"cohort worst.*has no speaker\n.*bottom, top"):
        adapt(recipe, "a", f"{METHOD}finetune", "mitigation.cohorts.cohort=worst")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{METHOD}distil", r"adaptation\.method: .*finetune.*not 'distil'"),
        (
            "mitigation.adaptation.strength=-1",
            r"adaptation\.strength: .*greater than or equal to 0",
        ),
        ("mitigation.adaptation.part=lips", r"adaptation\.part: .*joiner"),
        ("mitigation.adaptation.replay=1.0", r"adaptation\.replay: .*less than 1"),
        ("mitigation.oversampling.times=0.5", r"oversampling\.times: .*greater than or equal to 1"),
        ("mitigation.adaptation.strenght=1", r"unknown key adaptation\.strenght\n.*strength"),
        ("train.weight_decay=0.1", r"train\.weight_decay: 0\.1 in an adaptation"),
        ("mitigation.adaptation.train={peak_lrr: 1}", r"adaptation\.train: no key peak_lrr"),
        ('mitigation.cohorts.directory=""', r"speech: cohort, but no cohorts are known"),
    ],
)
def test_settings_that_cannot_be(recipe, override, message):
    with pytest.raises(ConfigError, match=message):
        adapt(recipe, "a", f"{METHOD}finetune", override)


def test_an_adaptation_needs_a_start(recipe):
    with pytest.raises(ConfigError, match=r"finetune needs a trained model.*\n.*--init"):
        adapt(recipe, "a", f"{METHOD}finetune", init=None)


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 7 does not"), ('{"speaker": "v0"}', "line 7"), (None, "d0 comes twice")],
)
def test_a_broken_file_of_cohorts(recipe, line, message):
    path = recipe / DIRECTORY / "cohorts.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, line or lines[0]]) + "\n")
    with pytest.raises(DataError, match=message):
        speech(recipe)
    path.unlink()
    with pytest.raises(DataError, match=r"cohorts\.jsonl: missing"):
        speech(recipe)


def test_training_from_nothing_may_repeat_a_cohort_of_its_own_set(recipe):
    write_cohorts(recipe, {"t0": "bottom", "t1": "bottom", "t2": "top"}, set())
    own, more_often = "mitigation.cohorts.sets=[train]", "mitigation.oversampling.times=3"
    none = "mitigation.cohorts.choose=0"
    plain = adapt(recipe, "plain", 'mitigation.cohorts.directory=""', init=None)
    same = adapt(recipe, "same", own, none, init=None)
    more = adapt(recipe, "more", own, none, more_often, init=None)
    before, after = weights(plain), weights(more)
    assert all((weights(same)[name] == before[name]).all() for name in before)
    assert any((after[name] != before[name]).any() for name in before)


def test_speakers_who_choose_are_not_trained_on_as_general_speech(recipe):
    write_cohorts(recipe, {"t0": "bottom", "t1": "bottom", "t2": "top"}, set())
    data = recipe / "data"
    cohorts = CohortsConfig(directory=DIRECTORY, sets=("train",))
    before = read_inputs(data, data / "lang" / "bpe.model")
    inputs, own = _with_speech(MitigationConfig(cohorts=cohorts), transducer(seed=3), before, data)
    (chosen,) = speakers(own.choose)
    assert speakers(inputs.train) == speakers(before.train) - {chosen}
    for kind in ("general", "oversampled"):
        adaptation = AdaptationConfig(method="finetune", speech=kind)
        config = MitigationConfig(cohorts=cohorts, adaptation=adaptation)
        mix = epoch_mix(config, inputs.train, own, 1)
        assert chosen not in speakers(mix.of_epoch(0))


def test_an_adaptation_is_the_same_wherever_its_cohorts_lie(recipe):
    adapt(recipe, "a", f"{METHOD}finetune")
    shutil.move(recipe / DIRECTORY, recipe / "elsewhere")
    moved = "mitigation.cohorts.directory=elsewhere"
    adapt(recipe, "b", f"{METHOD}finetune", moved)
    a, b = (read_record(recipe / "exp" / name) for name in "ab")
    assert a.identity == b.identity
    (recipe / "exp/a/final.pt").unlink()
    adapt(recipe, "a", f"{METHOD}finetune", moved)  # is continued


def test_changed_cohorts_do_not_continue_a_run(recipe):
    adapt(recipe, "a", f"{METHOD}finetune")
    (recipe / "exp/a/final.pt").unlink()
    write_cohorts(recipe, {"d0": "bottom", "d1": "bottom", "d4": "top"}, set())
    with pytest.raises(CheckpointError, match=r"input\.cohorts\.jsonl"):
        adapt(recipe, "a", f"{METHOD}finetune")


DRO = "group_dro.groups=cohorts"


def test_group_dro_knows_the_cohorts_of_repeated_speech(recipe):
    repeated = ("mitigation.oversampling.times=1.5", "train.log_interval=1")
    adapt(recipe, "a", f"{METHOD}finetune", f"{SPEECH}oversampled", *repeated, DRO)
    log = (recipe / "exp/a/log/train.log").read_text()
    assert "group DRO on cohorts: bottom, unknown" in log
    assert "weight_bottom " in log
    record = read_record(recipe / "exp/a")
    assert "speakers.tsv" not in record.data
    assert "cohorts.jsonl" in record.data


def test_group_dro_on_cohorts_needs_cohorts(recipe):
    with pytest.raises(ConfigError, match=r"group_dro\.groups: cohorts, but no cohorts are known"):
        adapt(recipe, "a", 'mitigation.cohorts.directory=""', DRO, init=None)
