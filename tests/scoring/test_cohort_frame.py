import json

import numpy as np
import pytest
from scoring_fakes import planted_entries, planted_speakers, write_decode, write_speakers

from asrlib.errors import DataError
from asrlib.scoring.cohort_frame import (
    MEASURES,
    CohortScores,
    cohort_frame,
    read_cohort_map,
    score_cohorts,
)
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.records import parse_utterance
from asrlib.scoring.utt_counts import UtteranceCounts, counts_of
from asrlib.scoring.wer import align

FEW = Resampling(permutations=199)


@pytest.fixture(scope="module")
def rows():
    entries = planted_entries(planted_speakers(24)[0], 1)
    for number, entry in enumerate(entries):
        entry["encoder_work"] = 0.5 + 0.01 * (number % 7)
    return [counts_of(a) for a in align([parse_utterance(e) for e in entries])]


@pytest.fixture(scope="module")
def accents():
    return {r["speaker"]: r["accent"] for r in planted_speakers(24)[1]}


def row(utterance: str, speaker: str, errors: int = 0, words: int = 10, **known):
    values = dict.fromkeys(("substitutions", "insertions", "character_errors"), 0)
    values |= {"symbol_delay_ms_sum": 0.0, "symbol_delays": 0, "finalisation_ms": None}
    values |= {"encoder_work": None, "seconds": 2.0, "characters": 40}
    values |= {"deletions": errors, "words": words, **known}
    return UtteranceCounts(utterance=utterance, speaker=speaker, **values)


def test_the_sums_of_the_cohorts_are_those_of_the_set(rows, accents):
    some = {s: c for s, c in accents.items() if s > "s03"}  # the others are unknown
    by_utterance = {r.utterance: "even" if r.utterance[-1] in "02468" else "odd" for r in rows}
    for cohorts in (accents, some, by_utterance):
        frame = cohort_frame(rows, cohorts, FEW)
        assert set(frame.measures) == set(MEASURES)
        for measured in frame.measures.values():
            for key in ("total", "per"):
                parts = [getattr(e, key) for e in measured.cohorts.values()]
                assert sum(parts) == pytest.approx(getattr(measured.overall, key), rel=1e-12)
        sizes = frame.sizes.values()
        assert sum(s.utterances for s in sizes) == len(rows)
        assert sum(s.audio_share for s in sizes) == pytest.approx(100)


def test_kinds_of_errors_add_up_to_the_word_error_rate(rows, accents):
    measures = cohort_frame(rows, accents, FEW).measures
    for cohort in ("rare", "common"):
        kinds = [measures[k].cohorts[cohort].value for k in MEASURES if k.endswith("ions")]
        assert sum(kinds) == pytest.approx(measures["wer"].cohorts[cohort].value)


def test_the_planted_cohort_is_the_worst(rows, accents):
    wer = cohort_frame(rows, accents, FEW).measures["wer"]
    assert (wer.gap.worst, wer.gap.best) == ("rare", "common")
    assert wer.gap.p_value < 0.05
    assert wer.ratio == pytest.approx(wer.cohorts["rare"].value / wer.cohorts["common"].value)
    assert 1 < wer.ratio_interval.low < wer.ratio < wer.ratio_interval.high
    delay = cohort_frame(rows, accents, FEW).measures["finalisation_ms"]
    assert delay.gap.p_value > 0.05
    assert (delay.gap.gap, delay.ratio) == (None, None)
    assert delay.gap.difference_interval.low < 0 < delay.gap.difference_interval.high
    assert delay.gap.detectable > 0


def test_delays_have_the_mean_over_words_and_work_over_seconds():
    rows = [
        row("a1", "a", symbol_delay_ms_sum=-300.0, symbol_delays=3, encoder_work=0.2, seconds=1.0),
        row("a2", "a", symbol_delay_ms_sum=100.0, symbol_delays=1, encoder_work=0.8, seconds=3.0),
        row("b1", "b", symbol_delay_ms_sum=50.0, symbol_delays=1, finalisation_ms=640.0),
    ]
    measures = cohort_frame(rows, {"a": "x", "b": "y"}, FEW).measures
    assert measures["symbol_delay_ms"].cohorts["x"].value == -50
    assert measures["encoder_work"].cohorts["x"].value == pytest.approx(0.65)
    assert measures["encoder_work"].cohorts["y"].value is None
    assert measures["finalisation_ms"].overall.value == 640


def test_what_was_not_measured_is_left_out():
    measures = cohort_frame([row("a1", "a", 1)], {"a": "x"}, FEW).measures
    assert set(measures) == {"wer", "cer", "deletions", "insertions", "substitutions"}


def test_renaming_a_cohort_changes_no_number(rows, accents):
    names = {"rare": "a-new-name", "common": "zzz"}
    one = cohort_frame(rows, accents, FEW).to_json()
    other = cohort_frame(rows, {s: names[c] for s, c in accents.items()}, FEW).to_json()
    text = json.dumps(one)
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    assert sorted(numbers(json.loads(text))) == pytest.approx(sorted(numbers(other)))
    assert json.loads(text)["measures"]["wer"]["gap"] == other["measures"]["wer"]["gap"]


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [float(value)] if isinstance(value, (int, float)) else []


def test_utterance_cohorts_share_speakers():
    rng = np.random.default_rng(1)
    rows, cohorts = [], {}
    for speaker in range(20):
        rate = rng.gamma(2, 0.1)
        for number in range(10):
            noisy = number % 2 == 1
            id = f"s{speaker}-{number}"
            cohorts[id] = "noisy" if noisy else "quiet"
            errors = int(rng.poisson(20 * rate * (2 if noisy else 1)))
            rows.append(row(id, f"s{speaker}", errors, 20))
    frame = cohort_frame(rows, cohorts, FEW)
    assert (frame.speakers, frame.shared_speakers) == (20, 20)
    assert frame.sizes["noisy"].speakers == 20
    assert frame.measures["wer"].gap.p_value < 0.05


def test_bad_input_gives_what_can_be_given():
    one = cohort_frame([row("a1", "a", 2), row("a2", "a")], {"a": "x"}, FEW)
    assert one.measures["wer"].gap is None
    assert one.measures["wer"].overall.interval is None
    lone = cohort_frame([row("a", "a", 2), row("b", "b"), row("c", "c")], {"a": "x"}, FEW)
    assert lone.measures["wer"].gap is None  # unknown takes no part
    nothing = cohort_frame([row(s, s) for s in "abcd"], dict(zip("abcd", "xxyy", strict=True)), FEW)
    wer = nothing.measures["wer"]
    assert (wer.overall.value, wer.gap.difference, wer.gap.gap, wer.ratio) == (0, 0, None, None)
    assert wer.cohorts["x"].interval.low == 0 < wer.cohorts["x"].interval.high
    with pytest.raises(ValueError, match="needs utterances"):
        cohort_frame([], {}, FEW)


def test_small_cohorts_take_no_part_in_the_gap(rows, accents):
    cohorts = accents | {"s00": "lone"}
    frame = cohort_frame(rows, cohorts, FEW, min_speakers=3)
    assert not frame.sizes["lone"].large_enough
    assert frame.measures["wer"].gap.groups == 2


# ---- files


def cohort_lines(path, lines):
    path.mkdir(exist_ok=True)
    (path / "cohorts.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    return path


@pytest.fixture
def recipe(tmp_path, cli):
    rates, rows = planted_speakers(12)
    write_speakers(tmp_path / "data" / "speakers.tsv", rows)
    write_decode(tmp_path / "exp" / "m" / "decode_test_greedy", planted_entries(rates, 1))
    lines = [
        {"speaker": r["speaker"], "cohort": r["accent"], "method": "tree", "split": split}
        for r, split in zip(rows, ["discovery", "confirmation"] * 6, strict=True)
    ]
    cohort_lines(tmp_path / "cohorts", lines)
    return tmp_path


def test_command_writes_cohort_scores_beside_the_scores(recipe, cli):
    args = ["score", "--recipe-dir", recipe, "--name", "m", "--set", "score.permutations=99"]
    assert "cohorts" not in cli(*args).output
    first = cli(*args, "--cohorts", recipe / "cohorts")
    assert first.exit_code == 0
    assert "cohorts by tree, discovery speakers: rare against common" in first.output
    path = recipe / "exp" / "m" / "decode_test_greedy" / "cohort_scores_cohorts.json"
    scores = CohortScores.from_file(path, "")
    assert (scores.method, set(scores.frames)) == ("tree", {"discovery", "confirmation"})
    assert all(f.speakers == 6 for f in scores.frames.values())
    assert "up to date" in cli(*args, "--cohorts", recipe / "cohorts").output.splitlines()[-1]
    lines = (recipe / "cohorts" / "cohorts.jsonl").read_text().splitlines()
    cohort_lines(recipe / "cohorts", [{**json.loads(x), "cohort": "one"} for x in lines])
    assert "no two cohorts" in cli(*args, "--cohorts", recipe / "cohorts").output


def test_speakers_of_no_half_are_kept_apart(recipe, cli):
    cli("score", "--recipe-dir", recipe, "--name", "m", "--set", "score.permutations=99")
    decode = recipe / "exp" / "m" / "decode_test_greedy"
    lines = [{"speaker": "s00", "cohort": "x", "split": "confirmation"}]
    lines += [{"speaker": "s01", "cohort": "x"}]
    scores = score_cohorts(decode, cohort_lines(recipe / "few", lines), FEW)
    assert {k: f.speakers for k, f in scores.frames.items()} == {"confirmation": 1, "other": 11}
    assert scores.method == "few"
    assert list(scores.frames["other"].sizes) == ["x", "unknown"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([{"speaker": "other", "cohort": "x"}], "another corpus"),
        ([{"speaker": "s00"}], "line 1 names no speaker with a cohort"),
        ([{"speaker": "s00", "cohort": "x", "split": "train"}], "split 'train' is unknown"),
        ([{"speaker": "s00", "cohort": c} for c in "xy"], "s00 has two cohorts"),
        (
            [{"speaker": "s00", "cohort": "x", "split": s} for s in ("discovery", "confirmation")],
            "in both halves",
        ),
    ],
)
def test_cohort_files_that_cannot_be_used(recipe, cli, lines, says):
    cohorts = cohort_lines(recipe / "bad", lines)
    args = ["score", "--recipe-dir", recipe, "--name", "m", "--set", "score.permutations=99"]
    with pytest.raises(DataError, match=says):
        cli(*args, "--cohorts", cohorts)


def test_a_directory_without_cohorts(tmp_path):
    with pytest.raises(DataError, match=r"cohorts\.jsonl: missing"):
        read_cohort_map(tmp_path)
