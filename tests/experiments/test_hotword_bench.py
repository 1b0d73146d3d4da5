"""`asrlib bench hotwords`: which words are rare, what counts as found, and the figures."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from test_align import TEXTS, write_recipe

from asrlib.errors import DataError
from asrlib.experiments.hotword_bench import Recall, rare_words, recall_of
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import ErrorRate, align


def test_the_rarest_words_of_the_set_are_chosen():
    train = ["PLAY THE BLUES", "PLAY THE MUSIC", "THE RED BOX"]
    assert rare_words(train, ["PLAY THE ZITHER", "A RED BOX"], 3) == ("ZITHER", "BOX", "RED")
    with pytest.raises(DataError, match="fewer than 9"):
        rare_words(train, ["PLAY THE ZITHER"], 9)


def test_found_means_in_its_place_and_an_alarm_anywhere_else():
    pairs = [
        ("PLAY THE ZITHER", "PLAY THE ZITHER"),  # found
        ("A ZITHER", "A SITTER"),  # missed
        ("A SITTER", "A ZITHER"),  # false alarm
        ("PLAY IT", "PLAY IT ZITHER"),  # false alarm
        ("A BOX", "A ZITHER"),  # both
    ]
    aligned = align(
        [
            Utterance(str(i), "s", tuple(r.split()), tuple(h.split()))
            for i, (r, h) in enumerate(pairs)
        ]
    )
    assert recall_of(aligned, ["ZITHER", "BOX"]) == Recall(3, 1, 3, ErrorRate(1, 0, 3, 11))


def test_figures_of_one_run(tmp_path, cli):
    recipe = write_recipe(tmp_path, TEXTS)
    shutil.copytree(recipe / "data/test", recipe / "data/train")
    threads = torch.get_num_threads()
    boost = ("--set", "decode.hotwords.boost=40.0", "--set", "features.num_bins=12")
    options = ("--words", "2", "--timed", "2", "--rounds", "1", "--test-set", "test", *boost)
    try:
        result = cli("bench", "hotwords", "--recipe-dir", recipe, "--name", "m", *options)
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.exception
    figures = json.loads((recipe / "exp/bench/hotwords_m_test.json").read_text())
    # b is private: its words THREE and ONE do not make ONE and TWO rarer or become hotwords.
    assert "THREE" not in result.output
    assert figures["hotwords"] == 2
    assert figures["hotwords_said"] == 4
    # With a huge boost, even an untrained model says nothing but hotwords.
    assert figures["hotword_alarms"] > figures["hotword_alarms_without"]
    assert figures["real_time_ratio"] > 0
    assert figures["command"].startswith("python -m asrlib bench hotwords")
