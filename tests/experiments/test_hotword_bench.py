"""`asrlib bench hotwords`: which words are rare, what counts as found, and the figures."""

from __future__ import annotations

import shutil

import pytest
import torch
from test_align import TEXTS, write_recipe

from asrlib.errors import DataError
from asrlib.experiments.hotword_bench import Recall, rare_words, recall_of
from asrlib.experiments.hotword_record import HotwordRow, Hotwords
from asrlib.experiments.run_record import GitState
from asrlib.experiments.store import read_plan
from asrlib.scoring.records import Machine, Utterance
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
    (row,) = read_plan(recipe, "hotwords").hotwords.rows
    # b is private: its words THREE and ONE do not make ONE and TWO rarer or become hotwords.
    assert "THREE" not in result.output
    assert (row.model, row.set, row.language_model) == ("m", "test", False)
    assert (row.hotwords, row.said, row.boost) == (2, 4, 40.0)
    # With a huge boost, even an untrained model says nothing but hotwords.
    assert row.alarms > row.alarms_without
    assert row.real_time_ratio > 0
    assert row.command.startswith("python -m asrlib bench hotwords")
    page = (recipe / "results/hotwords/README.md").read_text()
    assert f"{row.alarms} ({row.alarms_without})" in page
    assert row.command in page


def test_a_newer_measurement_replaces_its_row_alone():
    git, machine = GitState("0" * 40, dirty=False), Machine("EPYC", 2, "AVX2")
    told = {"hotwords": 20, "boost": 1.5, "said": 9, "found_without": 4, "command": "bench"}
    told |= {"alarms_without": 0, "alarms": 1, "wer_without": 9.0, "wer": 8.0}
    told |= {"real_time_factor": 0.1, "real_time_ratio": 1.2, "machine": machine, "git": git}

    def row(model: str, with_lm: bool, found: int) -> HotwordRow:
        return HotwordRow(model=model, set="dev", language_model=with_lm, found=found, **told)

    old = Hotwords(rows=(row("b", False, 5), row("b", True, 6)))
    new = Hotwords(rows=(row("b", True, 7), row("a", True, 8))).joined(old)
    assert [(r.model, r.language_model, r.found) for r in new.rows] == [
        *(("a", True, 8), ("b", False, 5), ("b", True, 7)),
    ]
