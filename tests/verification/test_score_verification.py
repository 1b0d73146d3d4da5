"""From embeddings to verification.json and to comparisons, through the commands."""

import csv
import gzip
import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from command_fakes import call, explained
from verification_fakes import planted_table

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.verification.config import VerificationConfig
from asrlib.verification.metrics import det_curve, equal_errors
from asrlib.verification.records import Rate, Verification, VerificationComparison
from asrlib.verification.score import (
    TrialSource,
    fix_threshold,
    judge,
    score_trials,
    usable,
)
from asrlib.verification.text import verification_text

QUICK = ("--set", "verification.replicates=100", "--set", "verification.permutations=100")
NOISES = [0.5, 1.0] * 8


def write_speakers(path):
    genders = ["f" if noise < 1 else "m" for noise in NOISES]
    with open(path, "w", newline="") as f:
        rows = csv.writer(f, delimiter="\t")
        rows.writerow(["speaker", "set", "gender"])
        for name in ("test", "dev"):
            rows.writerows([f"{name}{s:03d}", name, g] for s, g in enumerate(genders))


@pytest.fixture
def recipe(tmp_path):
    """Two systems on the same utterances; the second one is better."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "data").mkdir()
    for name, factor in (("weak", 1.0), ("strong", 0.6)):
        for set_name, seed in (("test", 1), ("dev", 2)):
            noises = [factor * n for n in NOISES]
            table = planted_table(noises, seed=seed, prefix=set_name)
            folder = tmp_path / "exp" / name / f"embeddings_{set_name}"
            table.write(folder / "utterances.npz")
    write_speakers(tmp_path / "data" / "speakers.tsv")
    return tmp_path


def run(recipe, *arguments):
    return call(*arguments, "--recipe-dir", recipe, *QUICK)


def score(recipe, name="weak", *arguments, scored="test"):
    outcome = run(recipe, "score-verification", "--name", name, *arguments)
    assert outcome.code == 0, outcome.err
    out = recipe / "exp" / name / f"verify_{scored}"
    return Verification.from_file(out / "verification.json", "")


def test_the_command_scores_at_the_threshold_of_dev(recipe):
    found = score(recipe)
    assert (found.speakers, found.utterances) == (16, 96)
    assert (found.targets, found.impostor_trials) == (16 * 15, 96 * 95 // 2 - 16 * 15)
    assert found.threshold.rule == "eer"
    assert found.threshold.dev_eer == pytest.approx(found.threshold.dev_misses.percent, abs=1)
    groups = {g.value: g for g in found.groups["gender"].groups}
    assert sum(g.misses.errors for g in groups.values()) == found.misses.errors
    assert sum(g.misses.trials for g in groups.values()) == found.targets
    assert groups["m"].misses.percent > groups["f"].misses.percent
    assert found.groups["gender"].disparities["misses"].worst == "m"


def test_no_figure_depends_on_the_order_of_the_utterances(recipe):
    first = score(recipe)
    for name in ("dev", "test"):
        path = recipe / "exp" / "weak" / f"embeddings_{name}" / "utterances.npz"
        table = EmbeddingTable.read(path)
        order = np.random.default_rng(0).permutation(len(table.ids))
        EmbeddingTable(
            tuple(table.ids[i] for i in order),
            tuple(table.speakers[i] for i in order),
            table.vectors_ND[order],
        ).write(path)
    again = score(recipe)
    assert again.misses == first.misses
    assert again.eer.percent == pytest.approx(first.eer.percent, abs=0.2)


def test_a_comparison_is_paired_and_averages_seeds(recipe):
    for name in ("weak", "strong"):
        score(recipe, name)
    out = recipe / "out.json"
    weak, strong = "weak/verify_test", "strong/verify_test"
    sides = ("--baseline", weak, "--other", strong, "--out", out)
    outcome = run(recipe, "compare-verification", *sides)
    assert outcome.code == 0, outcome.err
    found = VerificationComparison.from_file(out, "")
    assert found.all["eer"].difference < 0
    assert found.all["eer"].interval.high < 0
    assert found.all["eer"].baseline == pytest.approx(score(recipe).eer.percent)
    assert set(found.groups["gender"].groups) == {"f", "m"}
    assert found.groups["gender"].worst_and_best["misses"] == ("m", "f")
    eer = found.all["eer"]
    standard_error = (eer.interval.high - eer.interval.low) / (2 * 1.96)
    assert eer.detectable(0.95) == pytest.approx(2.80 * standard_error, rel=0.01)
    assert f"] ±{eer.detectable(0.95):.2f}" in outcome.out
    assert replace(eer, interval=None).detectable(0.95) is None
    sides = ("--baseline", weak, "--baseline", strong, "--other", weak, "--other", strong)
    run(recipe, "compare-verification", *sides, "--out", out)
    same = VerificationComparison.from_file(out, "")
    for change in same.all.values():
        assert change.each == (0, 0)
        assert change.interval == (0, 0)


def test_seeds_that_differ_widen_the_interval(recipe):
    """Of two systems whose seeds are one good and one bad run each, neither is better."""
    for name in ("weak", "strong"):
        score(recipe, name)
    out = recipe / "out.json"
    weak, strong = "weak/verify_test", "strong/verify_test"
    sides = ("--baseline", weak, "--baseline", strong, "--other", strong, "--other", weak)
    run(recipe, "compare-verification", *sides, "--out", out)
    found = VerificationComparison.from_file(out, "").all["eer"]
    assert found.difference == pytest.approx(0, abs=1e-9)
    assert found.each[0] == pytest.approx(-found.each[1])
    # Half the width is t(1 degree of freedom) standard errors of two seeds, |each|.
    assert found.interval.high == pytest.approx(12.7 * abs(found.each[0]), rel=0.01)


def test_without_trials_there_is_no_rate():
    assert Rate(0, 0, None).percent is None
    assert Rate(1, 4, None).percent == 25.0


def test_different_trials_are_not_compared(recipe):
    score(recipe, "strong", "--set", "verification.trials=same_group")
    score(recipe, "weak")
    sides = ("--baseline", "weak/verify_test", "--other", "strong/verify_test")
    assert explained(run(recipe, "compare-verification", *sides), "weak", "strong", "trials")


def test_without_dev_or_scores_the_rest_is_scored(recipe):
    outcome = run(recipe, "score-verification", "--name", "weak", "--dev-set", "absent")
    assert outcome.code == 0
    assert "no threshold is fixed" in outcome.err
    found = score(recipe, "weak", "--dev-set", "absent", "--no-scores")
    assert (found.threshold, found.misses, found.false_alarms) == (None, None, None)
    assert found.eer is not None
    assert all(g.eer is not None for g in found.groups["gender"].groups)


def test_a_given_threshold_and_a_list_of_trials(recipe):
    path = recipe / "trials.txt"
    path.write_text("1 test000-0 test000-1.wav\n0 test000-0 test001-0\n0 test002-0 lost\n")
    given = ("--threshold", "0.5", "--trials", path)
    found = score(recipe, "weak", *given, scored="trials")
    assert (found.set, found.trials, found.targets) == ("trials", "list", 1)
    assert (found.impostor_trials, found.speakers, found.utterances) == (1, 2, 3)
    assert found.threshold.rule == "given"


def test_a_list_does_not_take_the_place_of_a_set(recipe):
    (recipe / "data" / "test").mkdir()
    path = recipe / "test.txt"
    path.write_text("1 test000-0 test000-1\n0 test000-0 test001-0\n")
    given = ("--name", "weak", "--threshold", "0.5", "--trials", path)
    outcome = run(recipe, "score-verification", *given)
    assert explained(outcome, "results would replace those of the set test", "--out")
    assert not (recipe / "exp/weak/verify_test").exists()
    run(recipe, "score-verification", *given, "--out", recipe / "own")
    assert (recipe / "own" / "verification.json").exists()


def test_a_list_of_trials_spans_several_sets(recipe):
    path = recipe / "both.txt"
    path.write_text("1 test000-0 test000-1\n0 test000-0 dev001-0\n0 dev000-0 dev002-0\n")
    given = ("--threshold", "0.5", "--trials", path)
    outcome = run(recipe, "score-verification", "--name", "weak", *given)
    assert f"{path}:2: 2 trials are left out" in outcome.err
    assert "dev001-0" in outcome.err
    sets = ("--test-set", "test", "--test-set", "dev")
    found = score(recipe, "weak", *sets, *given, scored="both")
    assert (found.targets, found.impostor_trials, found.speakers) == (1, 2, 4)
    groups = {g.value: g.speakers for g in found.groups["gender"].groups}
    assert groups == {"f": 3, "m": 1}


def test_sessions_and_words_come_from_the_cuts(recipe):
    table = EmbeddingTable.read(recipe / "exp/weak/embeddings_test/utterances.npz")
    (recipe / "data" / "test").mkdir()
    with gzip.open(recipe / "data" / "test" / "cuts.jsonl.gz", "wt") as f:
        for id_, speaker in zip(table.ids, table.speakers, strict=True):
            place = {"start": 0, "duration": 1, "channel": 0}
            supervision = {
                **place,
                "id": id_,
                "recording_id": id_,
                "speaker": speaker,
                "text": f"W{int(id_[-1]) // 2}",
                "custom": {"day": f"{speaker}-{int(id_[-1]) % 2}"},
            }
            cut = {**place, "id": id_, "type": "MonoCut"}
            f.write(json.dumps({**cut, "supervisions": [supervision]}) + "\n")
    found = score(recipe, "weak", "--set", "verification.session=day")
    assert found.targets == 16 * 9  # 15 pairs without the 2 x 3 of one day
    words = ("--set", "verification.trials=enrol", "--set", "verification.enrol_attribute=text")
    outcome = run(recipe, "score-verification", "--name", "weak", *words)
    assert explained(outcome, "data/dev/cuts.jsonl.gz: missing", "verification.enrol_attribute")
    words += ("--threshold", "0.5")
    outcome = run(recipe, "score-verification", "--name", "weak", *words)
    assert explained(outcome, "no speaker has 6 utterances")  # there are three words
    found = score(recipe, "weak", *words, "--set", "verification.enrol=1")
    assert (found.trials, found.targets, found.impostor_trials) == ("enrol", 16, 16 * 15)


def source(noises=(1.0,) * 4, **kwargs):
    return TrialSource(planted_table(noises), **kwargs)


def judged(scored, threshold=None, **changes):
    config = VerificationConfig(replicates=100, permutations=100, **changes)
    return judge(scored, threshold, lambda speakers: [], config, 3, "x", "test")


def test_embeddings_without_a_direction_are_left_out_with_a_warning(caplog):
    table = planted_table([1.0] * 4)
    vectors = table.vectors_ND.copy()
    vectors[3, 0], vectors[5, 2], vectors[9] = np.nan, np.inf, 0
    with caplog.at_level(logging.WARNING):
        kept = usable(EmbeddingTable(table.ids, table.speakers, vectors), "x.npz")
    assert len(kept.ids) == 21
    assert all(name in caplog.text for name in ("s000-3", "s000-5", "s001-3", "x.npz"))
    with pytest.raises(DataError, match="no usable embedding"):
        usable(EmbeddingTable(table.ids, table.speakers, vectors * np.nan), "x.npz")


def with_speakers(table, speakers):
    return EmbeddingTable(table.ids, tuple(speakers), table.vectors_ND)


def test_utterances_without_a_speaker_are_nobodys_and_the_rest_is_scored(caplog):
    """Two utterances of unknown speakers once were a target trial."""
    table = planted_table([1.0] * 4, utterances=2)
    unknown = with_speakers(table, ["", *table.speakers[1:5], "", " ", table.speakers[7]])
    with caplog.at_level(logging.WARNING):
        kept = usable(unknown, "x.npz")
    assert kept.ids == ("s000-1", "s001-0", "s001-1", "s002-0", "s003-1")
    np.testing.assert_array_equal(kept.vectors_ND, table.vectors_ND[[1, 2, 3, 4, 7]])
    assert "x.npz: 3 utterances are left out: they have no speaker or several" in caplog.text
    assert "s000-0, s002-1, s003-0" in caplog.text
    assert score_trials(TrialSource(kept), VerificationConfig(), "x").trials.target_T.sum() == 1
    with pytest.raises(DataError, match="names the speaker of no utterance"):
        usable(with_speakers(table, [""] * 8), "x.npz")


def test_the_command_counts_utterances_without_a_speaker_as_unusable(recipe):
    path = recipe / "exp" / "weak" / "embeddings_test" / "utterances.npz"
    table = EmbeddingTable.read(path)
    with_speakers(table, ["", "", *table.speakers[2:]]).write(path)
    found = score(recipe)
    assert (found.unusable, found.utterances, found.speakers) == (2, 94, 16)
    assert found.targets == 15 * 15 + 6


def test_speakers_with_one_utterance_are_counted_and_named(recipe, caplog):
    table = planted_table([1.0] * 4, utterances=3)
    keep = [0, 3, 4, 5, 6, 7, 8, 9, 10, 11]  # one utterance of the first speaker
    lone = EmbeddingTable(
        tuple(table.ids[i] for i in keep),
        tuple(table.speakers[i] for i in keep),
        table.vectors_ND[keep],
    )
    with caplog.at_level(logging.WARNING):
        scored = score_trials(TrialSource(lone), VerificationConfig(), "x")
    assert "x: 1 of 4 speakers have no target trial (1 of them have one utterance" in caplog.text
    assert "s000" in caplog.text
    text = verification_text(judged(scored))
    assert "10 utterances, 4 speakers (3 with target trials); 9 target" in text
    caplog.clear()
    one_day = {id_: "day" for id_ in table.ids if id_.startswith("s003")}
    scored = score_trials(TrialSource(table, one_day), VerificationConfig(), "x")
    assert "1 of 4 speakers have no target trial (0 of them" in caplog.text
    caplog.clear()
    score_trials(TrialSource(table), VerificationConfig(), "x")
    assert caplog.text == ""


def test_groups_show_how_many_speakers_have_target_trials(recipe):
    path = recipe / "exp" / "weak" / "embeddings_test" / "utterances.npz"
    table = EmbeddingTable.read(path)
    keep = [0, *range(6, len(table.ids))]
    EmbeddingTable(
        tuple(table.ids[i] for i in keep),
        tuple(table.speakers[i] for i in keep),
        table.vectors_ND[keep],
    ).write(path)
    outcome = run(recipe, "score-verification", "--name", "weak")
    rows = [line.split("  ")[:2] for line in outcome.out.splitlines() if line[:2] in ("f ", "m ")]
    assert [row[0] for row in rows] == ["f", "m"]
    assert "8 (7 with target trials)" in outcome.out


def test_unknown_columns_of_the_same_group_are_named(recipe):
    options = ("--set", "verification.trials=same_group", "--set", "verification.same_group=")
    outcome = run(
        recipe, "score-verification", "--name", "weak", *options[:3], options[3] + "[gendr]"
    )
    assert explained(outcome, "verification.same_group: gendr", "columns are gender")
    assert "hold out" not in outcome.err
    (recipe / "data" / "speakers.tsv").unlink()
    outcome = run(recipe, "score-verification", "--name", "weak", *options[:2])
    assert explained(outcome, "verification.same_group: gender", "speakers.tsv", "missing")


def test_enrolled_impostors_leave_the_counts_of_target_trials(recipe):
    """Of one group that holds everybody, misses are those of the total."""
    path = recipe / "data" / "speakers.tsv"
    path.write_text(path.read_text().replace("\tf\n", "\tm\n").replace("\tf\r", "\tm\r"))
    found = score(recipe, "weak", "--set", "verification.impostors=enrolled")
    (group,) = found.groups["gender"].groups
    counts = (group.misses.errors, group.misses.trials, group.eer.targets)
    assert counts == (found.misses.errors, found.misses.trials, found.targets)
    # Each pair of two speakers is a claim on either of them.
    assert group.false_alarms.trials == 2 * found.false_alarms.trials
    assert group.false_alarms.percent == found.false_alarms.percent
    assert group.eer.percent == pytest.approx(found.eer.percent)


def test_without_target_trials_false_alarms_are_still_measured(caplog):
    table = planted_table([1.0] * 6, utterances=1)
    with caplog.at_level(logging.WARNING):
        scored = score_trials(TrialSource(table), VerificationConfig(), "x")
    assert "no target trial" in caplog.text
    fixed = fix_threshold(
        score_trials(source(), VerificationConfig(), "d"), VerificationConfig(), "d"
    )
    found = judged(scored, fixed)
    assert (found.eer, found.min_dcf, found.misses) == (None, None, None)
    assert found.false_alarms.trials == 15
    assert found.det == ()
    with pytest.raises(DataError, match=r"no target trial .* fixes no threshold"):
        fix_threshold(scored, VerificationConfig(), "x")


def test_without_impostor_trials_misses_are_still_measured(caplog):
    with caplog.at_level(logging.WARNING):
        scored = score_trials(source([1.0]), VerificationConfig(), "x")
    assert "no impostor trial" in caplog.text
    assert judged(scored).eer is None


def test_no_trial_at_all_is_an_error():
    lone = TrialSource(planted_table([1.0], utterances=1))
    with pytest.raises(DataError, match="makes no trial"):
        score_trials(lone, VerificationConfig(), "x")
    with pytest.raises(DataError, match="no list of trials"):
        score_trials(source(), VerificationConfig(trials="list"), "x")


def test_impostors_of_the_same_group_share_all_columns():
    metadata = {f"s00{i}": {"gender": "f", "age": str(i // 2)} for i in range(3)}
    config = VerificationConfig(trials="same_group", same_group=("gender", "age"))
    scored = score_trials(source(metadata=metadata), config, "x")
    impostors = ~scored.trials.target_T
    assert impostors.sum() == 6 * 6  # s000 and s001 alone
    assert scored.trials.target_T.sum() == 4 * 15


def test_the_threshold_at_a_false_alarm_rate_is_fixed_on_dev():
    config = VerificationConfig(threshold="false_alarm", dev_false_alarm=0.05)
    scored = score_trials(source([0.8] * 12), config, "x")
    fixed = fix_threshold(scored, config, "x")
    assert 4 < fixed.dev_false_alarms.percent <= 5
    found = judged(scored, fixed)
    assert found.false_alarms.errors == fixed.dev_false_alarms.errors
    assert found.misses.errors == fixed.dev_misses.errors
    curve = det_curve(scored.scores_T, scored.trials.target_T)
    assert fixed.dev_eer == pytest.approx(100 * equal_errors(curve).rate)


def test_a_threshold_from_few_dev_speakers_is_a_warning(caplog):
    scored = score_trials(source(), VerificationConfig(), "dev.npz")
    with caplog.at_level(logging.WARNING):
        fix_threshold(scored, VerificationConfig(), "dev.npz")
    assert "dev.npz: only 4 speakers" in caplog.text


def test_the_record_survives_its_file(tmp_path):
    scored = score_trials(source([0.8] * 12), VerificationConfig(), "x")
    found = judged(scored, fix_threshold(scored, VerificationConfig(), "x"))
    found.to_file(tmp_path / "verification.json")
    assert Verification.from_file(tmp_path / "verification.json", "") == found
