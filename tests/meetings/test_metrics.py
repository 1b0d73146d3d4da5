"""Scores of turns."""

import json
import subprocess
import sys
from pathlib import Path

import meeteval
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.errors import DataError
from asrlib.meetings.metrics import (
    Session,
    hypotheses,
    make_sessions,
    score_sessions,
    summary,
)
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.wer import ErrorRate
from asrlib.text.turns import Turn, write_turns

FEW = Resampling(replicates=200)
MEETEVAL = Path(sys.executable).parent / "meeteval-wer"


def true(start, end, words, speaker, channel=0, session="m"):
    return Turn(session, channel, start, end, words, speaker=speaker)


def heard(start, end, words, channel=0, session="m", **times):
    return Turn(session, channel, start, end, words, **times)


def session_of(true_turns, heard_turns, condition="OV20"):
    return Session("m", condition, tuple(true_turns), tuple(heard_turns))


def errors_of(true_turns, heard_turns, measure):
    return score_sessions([session_of(true_turns, heard_turns)])[0].errors[measure]


TWO = [true(0, 2, "A B C", "ann"), true(1, 3, "D E", "bob", 1), true(4, 5, "F", "ann")]


@pytest.mark.parametrize(
    ("turns", "orc", "cp"),
    [
        # all right, on whichever channel
        ([(0, "A B C"), (1, "D E"), (0, "F")], (0, 0, 0), (0, 0, 0)),
        ([(1, "A B C"), (0, "D E"), (1, "F")], (0, 0, 0), (0, 0, 0)),
        # F on the other channel: right for ORC; for cp, ann lost it and bob gained it
        ([(0, "A B C"), (1, "D E"), (1, "F")], (0, 0, 0), (1, 1, 0)),
        # a substitution, a deletion and an insertion
        ([(0, "A X C"), (1, "D"), (0, "F G")], (1, 1, 1), (1, 1, 1)),
        # one channel alone: the second talker is lost
        ([(0, "A B C"), (0, "F")], (0, 2, 0), (0, 2, 0)),
        ([], (0, 6, 0), (0, 6, 0)),
    ],
)
def test_errors_of_hand_made_cases(turns, orc, cp):
    heard_turns = [heard(2.0 * i, 2.0 * i + 1, w, c) for i, (c, w) in enumerate(turns)]
    for measure, (insertions, deletions, substitutions) in {"orcwer": orc, "cpwer": cp}.items():
        expected = ErrorRate(insertions, deletions, substitutions, 6)
        assert errors_of(TWO, heard_turns, measure) == expected


def test_tcpwer_wants_words_near_their_time():
    late = [heard(0, 2, "A B C"), heard(1, 3, "D E", 1), heard(40, 41, "F")]
    assert errors_of(TWO, late, "cpwer").errors == 0
    assert errors_of(TWO, late, "tcpwer") == ErrorRate(1, 1, 0, 6)


def test_a_long_turn_with_few_words_is_no_cause_for_alarm(caplog):
    errors_of([true(0, 30, "A B", "x")], [heard(0, 30, "A")], "tcpwer")
    assert not caplog.records


def test_known_speakers_are_streams_for_cpwer_alone():
    mixed_up = [
        heard(0, 2, "A B C", 0, speaker="x"),
        heard(1, 3, "D E", 1, speaker="y"),
        heard(4, 5, "F", 1, speaker="x"),
    ]
    assert errors_of(TWO, mixed_up, "orcwer").errors == 0
    assert errors_of(TWO, mixed_up, "cpwer").errors == 0


words = st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=4).map(" ".join)
times = st.integers(0, 30).map(float)


@st.composite
def meetings(draw):
    sessions = {f"m{i}": "OV20" for i in range(draw(st.integers(1, 3)))}
    said, got = [], []
    for session in sessions:
        for speaker in draw(
            st.lists(st.sampled_from(["ann", "bob", "cy"]), min_size=1, max_size=4)
        ):
            start = draw(times)
            said.append(true(start, start + 2, draw(words), speaker, session=session))
        for channel in draw(st.lists(st.integers(0, 1), max_size=4)):
            start = draw(times)
            got.append(heard(start, start + 2, draw(words), channel, session=session))
    return make_sessions(sessions, said, got)


@settings(max_examples=30, deadline=None)
@given(meetings())
@pytest.mark.filterwarnings("ignore")
def test_sums_equal_meetevals_own(sessions):
    scores = score_sessions(sessions)
    ref = [t.to_seglst() for s in sessions for t in s.true]
    for s, score in zip(sessions, scores, strict=True):
        ref_streams, hyp = {}, {0: [], 1: []}
        for t in s.true:
            ref_streams.setdefault(t.speaker, []).append(t.words)
        for t in s.recognised:
            hyp[t.channel].append(t.words)
        joined = {c: " ".join(w) for c, w in hyp.items()}
        orc = meeteval.wer.orc_word_error_rate([t.words for t in s.true], joined)
        said = {who: " ".join(w) for who, w in ref_streams.items()}
        cp = meeteval.wer.cp_word_error_rate(said, joined)
        assert score.errors["orcwer"].errors == orc.errors
        assert score.errors["orcwer"].words == orc.length
        assert score.errors["cpwer"].errors == cp.errors
    total = summary(scores, FEW)
    assert total.turns == len(ref)
    assert total.orcwer.errors == sum(s.errors["orcwer"].errors for s in scores)


@pytest.mark.filterwarnings("ignore")
def test_the_command_line_gives_the_same_figures(tmp_path):
    conditions = {"m0": "0S", "m1": "OV40", "silent": "0L"}
    said = [
        true(0, 2, "A B C", "ann", session="m0"),
        true(2.5, 4, "D", "bob", session="m0"),
        true(0, 3, "A B", "ann", session="m1"),
        true(1, 2, "C D E", "cy", 1, session="m1"),
        true(5, 6, "F", "bob", session="m1"),
        true(0, 1, "LOST WORDS", "ann", session="silent"),
    ]
    got = [
        heard(0.3, 4, "A X C D", session="m0"),
        heard(0.2, 3, "A B", 0, session="m1", speaker="p"),
        heard(1.2, 2, "C E", 1, session="m1", speaker="q"),
        heard(5.2, 6, "F G", 1, session="m1", speaker="p"),
    ]
    sessions = make_sessions(conditions, said, got)
    total = summary(score_sessions(sessions), FEW)
    write_turns(tmp_path / "ref.json", said)
    for by_channel, name in ((True, "channels.json"), (False, "speakers.json")):
        write_turns(tmp_path / name, hypotheses(sessions, by_channel=by_channel))
    runs = {
        "orcwer": ["-h", "channels.json"],
        "cpwer": ["-h", "speakers.json"],
        "tcpwer": ["-h", "speakers.json", "--collar", "5"],
    }
    for measure, options in runs.items():
        command = [MEETEVAL, measure, "-r", "ref.json", *options, "--average-out", "out.json"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        theirs = json.loads((tmp_path / "out.json").read_text())
        ours = getattr(total, measure)
        assert ours.errors > 0
        assert (theirs["errors"], theirs["length"]) == (ours.errors, ours.words)
        for kind in ("insertions", "deletions", "substitutions"):
            assert theirs[kind] == getattr(ours, kind)


def test_counting_of_all_and_of_long_sessions():
    sessions = {f"m{i}": "0S" for i in range(4)}
    said = [
        true(2 * j, 2 * j + 1, "A", "ann", session=f"m{i}") for i in range(4) for j in range(i + 1)
    ]
    got = [heard(t.start, t.end, "A", session=t.session) for t in said if t != said[-1]]
    total = summary(score_sessions(make_sessions(sessions, said, got)), FEW)
    assert total.turn_counting.right == 3
    assert total.turn_counting.percent == 75
    low, high = total.turn_counting.interval
    assert 0 <= low <= 75 <= high <= 100
    assert (total.turn_counting_many.right, total.turn_counting_many.sessions) == (1, 2)


def test_turns_without_words_are_not_counted():
    (session,) = make_sessions({"m": ""}, TWO, [heard(0, 1, ""), heard(1, 2, "A")])
    assert [t.words for t in session.recognised] == ["A"]


def test_turns_and_sessions_of_another_set_are_named():
    with pytest.raises(DataError, match="m: no such session"):
        make_sessions({"x": ""}, TWO, [])
    with pytest.raises(DataError, match="session y: has no true turn"):
        make_sessions({"m": "", "y": ""}, TWO, [])
