"""Kaldi tables of a recipe's set, and of what its model wrote: the audit reads them."""

from __future__ import annotations

import json
from pathlib import Path

from command_fakes import call, explained

from asrlib.data.raw import RawUtterance, write_raw
from local.kaldi_tables import command

TEXTS = {"u1": "ONE TWO", "u2": "THREE", "u3": "FOUR"}


def recipe(folder: Path) -> Path:
    rows = [
        RawUtterance(id=name, audio=f"{name}.wav", text=text, speaker=f"s{name}", age=9.0)
        for name, text in TEXTS.items()
    ]
    read = RawUtterance(id="t1", audio="t1.wav", text=TEXTS["u2"], speaker="st1")
    write_raw(folder / "data" / "raw", {"test": rows, "train": [read]})
    return folder


def tables(folder: Path, *more: str) -> dict[str, str]:
    """Decode a recipe's set, write its tables, and return them by name."""
    home, out, decode = recipe(folder / "demo"), folder / "out", folder / "decode"
    decode.mkdir()
    hyps = {"u3": "FORE", "u1": "ONE TWO", "u2": ""}
    with open(decode / "hyp.jsonl", "w") as f:
        for name, hyp in hyps.items():
            row = {"id": name, "speaker": f"s{name}", "ref": TEXTS[name], "hyp": hyp}
            f.write(json.dumps({**row, "duration": 1.0, "words": []}) + "\n")
    done = call(
        *("--recipe-dir", home, "--set-name", "test", "--out", out, "--decode", decode, *more),
        command=command,
    )
    assert done.code == 0, done.err
    return {path.name: path.read_text() for path in out.iterdir()}


def test_tables_and_hypotheses_of_a_set(tmp_path):
    written = tables(tmp_path)
    assert written["text"] == "u1 ONE TWO\nu2 THREE\nu3 FOUR\n"
    assert written["hyp.txt"] == "u1 ONE TWO\nu2\nu3 FORE\n", "an empty hypothesis keeps its id"
    assert written["utt2spk"] == "u1 su1\nu2 su2\nu3 su3\n"
    assert written["speakers.tsv"].splitlines()[:2] == ["speaker\tage", "su1\t9"]


def test_sentences_that_training_had_can_be_left_out(tmp_path):
    written = tables(tmp_path, "--unlike", "train")
    assert written["text"] == "u1 ONE TWO\nu3 FOUR\n"
    assert written["hyp.txt"] == "u1 ONE TWO\nu3 FORE\n"
    assert [row.split()[0] for row in written["speakers.tsv"].splitlines()[1:]] == ["su1", "su3"]


def test_a_set_that_was_not_decoded_is_named(tmp_path):
    home, decode = recipe(tmp_path / "demo"), tmp_path / "nothing"
    done = call(
        *("--recipe-dir", home, "--set-name", "test", "--out", tmp_path / "out"),
        *("--decode", decode),
        command=command,
    )
    assert explained(done, decode / "hyp.jsonl", "decode stage")
