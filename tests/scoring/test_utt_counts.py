"""utt_counts.jsonl: sums of its rows are the scores."""

from __future__ import annotations

import json

import pytest

from asrlib.scoring.score import Scores
from asrlib.scoring.utt_counts import COUNTS_FILE, UtteranceCounts


@pytest.fixture
def rows(scored_recipe):
    path = scored_recipe / "exp" / "lstm" / "decode_test_greedy" / COUNTS_FILE
    lines = path.read_text().splitlines()
    return [UtteranceCounts.from_json(json.loads(line)) for line in lines]


@pytest.fixture
def scores(scored_recipe):
    path = scored_recipe / "exp" / "lstm" / "decode_test_greedy" / "scores.json"
    return Scores.from_file(path, "")


def total(rows, *names):
    return sum(getattr(row, name) for row in rows for name in names)


def test_rows_add_up_to_the_scores(rows, scores):
    wer, cer = scores.wer, scores.cer
    assert [row.utterance for row in rows] == sorted(row.utterance for row in rows)
    assert len(rows) == scores.utterances
    assert total(rows, "insertions") == wer.insertions
    assert total(rows, "deletions") == wer.deletions
    assert total(rows, "substitutions") == wer.substitutions
    assert total(rows, "words") == wer.words
    assert (total(rows, "characters"), total(rows, "character_errors")) == (cer.words, cer.errors)
    assert total(rows, "seconds") == scores.meta.audio_seconds


def test_delays_add_up_to_the_mean_delay(rows, scores):
    delay, final = scores.latency.symbol_delay_ms, scores.latency.finalisation_ms
    assert total(rows, "symbol_delays") == delay.count
    mean = total(rows, "symbol_delay_ms_sum") / total(rows, "symbol_delays")
    assert mean == pytest.approx(delay.mean, abs=0.01)
    known = [row.finalisation_ms for row in rows if row.finalisation_ms is not None]
    assert len(known) == final.count
    assert sum(known) / len(known) == pytest.approx(final.mean, abs=0.01)
