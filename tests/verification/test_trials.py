import itertools
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verification_fakes import planted_table

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.verification.scores import ScoredTrials, _dense, _sparse, cosine_scores
from asrlib.verification.trial_list import read_trials
from asrlib.verification.trials import (
    Trials,
    all_pairs,
    enrol_and_test,
    same_group,
    without_idle_rows,
)


def table_of(speakers, vectors=None):
    vectors = np.ones((len(speakers), 2), np.float32) if vectors is None else vectors
    return EmbeddingTable(tuple(f"u{i}" for i in range(len(speakers))), tuple(speakers), vectors)


def as_set(trials: Trials):
    columns = (trials.enrol_T.tolist(), trials.test_T.tolist(), trials.target_T.tolist())
    found = list(zip(*columns, strict=True))
    assert len(set(found)) == len(found)
    return set(found)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12),
    known=st.sets(st.integers(0, 11)),
)
def test_all_pairs_are_those_of_itertools_without_pairs_of_one_session(rows, known):
    table = table_of([speaker for speaker, _ in rows])
    sessions = {f"u{i}": rows[i][1] for i in known if i < len(rows)}
    expected = set()
    for i, j in itertools.combinations(range(len(rows)), 2):
        target = rows[i][0] == rows[j][0]
        together = {i, j} <= known and rows[i][1] == rows[j][1]
        if not (target and together):
            expected.add((i, j, target))
    assert as_set(all_pairs(table, sessions)) == expected


def test_more_pairs_than_memory_holds_are_refused_with_a_way_out():
    table = EmbeddingTable(tuple(map(str, range(148_642))), ("a",) * 148_642, np.ones((148_642, 1)))
    with pytest.raises(DataError, match="148,642 utterances make 11,047,147,761 pairs") as caught:
        all_pairs(table, {})
    assert "--trials" in caught.value.fix


def test_rows_without_a_trial_are_left_out():
    table = table_of("abcd", np.arange(8, dtype=np.float32).reshape(4, 2))
    columns = (np.array(side, np.int32) for side in ([3, 1], [1, 3]))
    kept, trials = without_idle_rows(table, Trials(*columns, np.array([False, False]), False))
    assert (kept.ids, kept.speakers) == (("u1", "u3"), ("b", "d"))
    assert kept.vectors_ND.tolist() == [[2, 3], [6, 7]]
    assert (trials.enrol_T.tolist(), trials.test_T.tolist()) == ([1, 0], [0, 1])


def test_impostors_of_the_same_group_are_of_one_known_group():
    speakers = ["a", "a", "b", "c", "d"]
    pairs = all_pairs(table_of(speakers), {})
    kept = same_group(pairs, speakers, {"a": "f", "b": "f", "c": "m"})
    assert as_set(kept) == {(0, 1, True), (0, 2, False), (1, 2, False)}


def words_of(table, count):
    return {id_: f"w{i % count}" for i, id_ in enumerate(table.ids)}


def test_both_sides_differ_in_the_attribute_and_are_means_of_unit_vectors():
    table = planted_table([1.0] * 5, utterances=8)
    words = {id_: f"w{int(id_[-1]) // 2}" for id_ in table.ids}  # four words, twice each
    sides, trials = enrol_and_test(table, 2, words, {}, seed=1)
    assert len(sides.ids) == 10
    assert len(trials) == 25
    assert trials.target_T.sum() == 5
    unit = table.vectors_ND / np.linalg.norm(table.vectors_ND, axis=1, keepdims=True)
    for speaker in sorted(set(table.speakers)):
        rows = [i for i, s in enumerate(table.speakers) if s == speaker]
        possible = [
            (a, b, (unit[a] + unit[b]) / 2)
            for a, b in itertools.combinations(rows, 2)
            if words[table.ids[a]] != words[table.ids[b]]
        ]
        used = []
        for side in ("enrol", "test"):
            vector = sides.vectors_ND[sides.ids.index(f"{speaker}/{side}")]
            a, b, _ = next(p for p in possible if np.allclose(p[2], vector, atol=1e-6))
            used += [words[table.ids[a]], words[table.ids[b]]]
        assert len(set(used)) == 4


def test_the_choice_of_utterances_depends_on_names_and_seed_alone():
    table = planted_table([1.0] * 5, utterances=8)
    order = np.random.default_rng(0).permutation(len(table.ids))
    mixed = EmbeddingTable(
        tuple(table.ids[i] for i in order),
        tuple(table.speakers[i] for i in order),
        table.vectors_ND[order],
    )
    one, two = (enrol_and_test(t, 2, None, {}, seed=1)[0] for t in (table, mixed))
    assert one.ids == two.ids
    np.testing.assert_allclose(one.vectors_ND, two.vectors_ND, atol=1e-6)
    other = enrol_and_test(table, 2, None, {}, seed=2)[0]
    assert not np.allclose(one.vectors_ND, other.vectors_ND)


def test_speakers_with_too_few_values_are_left_out_and_none_is_an_error(caplog):
    table = planted_table([1.0] * 3, utterances=4)
    words = {id_: "same" if id_.startswith("s000") else id_ for id_ in table.ids}
    with caplog.at_level(logging.WARNING):
        sides, _ = enrol_and_test(table, 2, words, {}, seed=1)
    assert set(sides.speakers) == {"s001", "s002"}
    assert "1 speakers are left out" in caplog.text
    with pytest.raises(DataError, match="no speaker has 6 utterances"):
        enrol_and_test(table, 3, None, {}, seed=1)


def test_enrolment_and_test_in_one_session_are_no_target_trial():
    table = planted_table([1.0] * 3, utterances=4)
    sessions = {id_: "evening" for id_ in table.ids if id_.startswith("s001")}
    _, trials = enrol_and_test(table, 2, None, sessions, seed=1)
    assert trials.target_T.sum() == 2
    assert len(trials) == 8


def test_a_list_names_utterances_by_id_file_or_path(tmp_path):
    table = EmbeddingTable(
        ("id1-v-1", "id1-w-2", "b", "c.5"), ("id1", "id1", "b", "c"), np.ones((4, 2), np.float32)
    )
    path = tmp_path / "trials.txt"
    path.write_text("1 id1/v/1.wav id1-w-2\n\n0 b.flac id1/w/2.wav\n0 c.5 b\n")
    assert as_set(read_trials(path, table)) == {(0, 1, True), (2, 1, False), (3, 2, False)}


def test_unknown_utterances_are_named_and_the_rest_is_scored(tmp_path, caplog):
    table = planted_table([1.0, 1.0], utterances=2)
    path = tmp_path / "trials.txt"
    path.write_text("1 s000-0 s000-1\n0 s000-0 s001-0\n0 s000-0 lost-7\n1 gone lost-7\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_trials(path, table)) == 2
    assert "2 trials are left out" in caplog.text
    assert "lost-7, gone" in caplog.text


def test_labels_that_contradict_the_speakers_are_left_out(tmp_path, caplog):
    table = planted_table([1.0, 1.0], utterances=2)
    path = tmp_path / "trials.txt"
    path.write_text("1 s000-0 s001-1\n0 s000-0 s000-1\n1 s000-0 s000-1\n")
    with caplog.at_level(logging.WARNING):
        assert as_set(read_trials(path, table)) == {(0, 1, True)}
    assert "contradict" in caplog.text


def test_kaldi_lists_hold_the_same_trials(tmp_path):
    table = planted_table([1.0, 1.0], utterances=2)
    voxceleb, kaldi = tmp_path / "voxceleb.txt", tmp_path / "trials"
    voxceleb.write_text("1 s000-0 s000-1\n0 s000-0 s001-0\n")
    kaldi.write_text("s000-0 s000-1 target\ns000-0 s001-0 nontarget\n")
    assert as_set(read_trials(kaldi, table)) == as_set(read_trials(voxceleb, table))


def test_pairs_of_one_utterance_and_repeated_lines_are_left_out(tmp_path, caplog):
    table = planted_table([1.0, 1.0], utterances=2)
    path = tmp_path / "trials.txt"
    lines = [
        "1 s000-0 s000-1",
        "1 s001-0 s001-0.wav",
        "0 s000-0 s001-0",
        "1 s000-0.wav s000-1",
        "0 s001-1 s001-1",
        "0 s001-0 s000-0",  # the other side is enrolled: another trial
        "0 s000-0 s001-0",
        "1 s000-0 s000-1",
    ]
    path.write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        found = read_trials(path, table)
    assert as_set(found) == {(0, 1, True), (0, 2, False), (2, 0, False)}
    assert "trials.txt:2: 2 trials are left out" in caplog.text
    assert "with itself" in caplog.text
    assert "trials.txt:4: 3 trials are left out" in caplog.text
    assert "an earlier line holds the same trial" in caplog.text
    assert found.enrol_T.dtype == found.test_T.dtype == np.int32
    assert found.target_T.dtype == bool


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 s000-0 s000-0", "no trial is left"),
        ("1 nobody someone\n", "no trial is left"),
        ("", "no trial is left"),
        ("1 s000-0 s000-1\ntarget s000-0 s000-1\n", "trials.txt:2"),
        ("1 s000-0\n", "trials.txt:1"),
        (None, "not readable"),
    ],
)
def test_an_unusable_list_is_an_error(tmp_path, text, message):
    path = tmp_path / "trials.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_trials(path, planted_table([1.0], utterances=2))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_blocks_of_any_size_give_the_cosine(rows):
    table = planted_table([0.5, 2.0, 1.0], utterances=5)
    trials = all_pairs(table, {}).keep(np.arange(105) % 3 > 0)
    unit = table.vectors_ND / np.linalg.norm(table.vectors_ND, axis=1, keepdims=True)
    expected = [
        float(unit[i] @ unit[j]) for i, j in zip(trials.enrol_T, trials.test_T, strict=True)
    ]
    shuffled = np.random.default_rng(0).permutation(len(trials))
    np.testing.assert_allclose(_dense(unit, trials, rows), expected, atol=1e-6)
    np.testing.assert_allclose(_sparse(unit, trials, rows), expected, atol=1e-6)
    mixed = _dense(unit, trials.keep(shuffled), rows)
    np.testing.assert_allclose(mixed, np.array(expected)[shuffled], atol=1e-6)
    np.testing.assert_allclose(cosine_scores(table, trials).scores_T, expected, atol=1e-6)


def test_scores_survive_their_file(tmp_path):
    table = planted_table([0.5, 2.0])
    made = cosine_scores(table, all_pairs(table, {}))
    made.write(tmp_path / "scores.npz")
    read = ScoredTrials.read(tmp_path / "scores.npz")
    assert (read.ids, read.speakers) == (made.ids, made.speakers)
    assert as_set(read.trials) == as_set(made.trials)
    assert read.trials.symmetric
    np.testing.assert_array_equal(read.scores_T, made.scores_T)


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_file_without_scores_is_an_error(tmp_path, content):
    path = tmp_path / "scores.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"scores\.npz"):
        ScoredTrials.read(path)
