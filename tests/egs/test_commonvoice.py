"""The commonvoice recipe, on the corpus and on a small folder of its layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_steps import cuts, noise, prepare, raw, speakers, step

COLUMNS = ["client_id", "path", "sentence", "age", "gender", "accents"]
# anna names her accent once; bert never; carl is in the dev list; dora's clip is not there.
CLIPS = {
    "train": [
        ["anna", "a1.ogg", 'He said: "Don’t!"', "", "", ""],
        ["bert", "b1.ogg", 'An unmatched " quote', "thirties", "male_masculine", ""],
        ["dora", "d1.ogg", "Nobody hears this", "", "", ""],
    ],
    "dev": [["carl", "c1.ogg", "Well — yes", "", "other", ""]],
    "other": [["anna", "a2.ogg", "Hello", "twenties", "female", "scotland"]],
}


def write_list(path: Path, rows: list[list[str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in [COLUMNS, *rows]), encoding="utf-8")


@pytest.fixture
def small(tmp_path) -> Path:
    corpus = tmp_path / "cv" / "en"
    for rows in CLIPS.values():
        for row in rows:
            if row[0] != "dora":
                noise(corpus / "clips" / row[1], 2.0)
    for name in ("train", "dev"):
        write_list(corpus / f"{name}.tsv", CLIPS[name])
    write_list(corpus / "validated.tsv", [row for rows in CLIPS.values() for row in rows])
    return corpus


def test_speakers_with_an_accent_are_held_out_with_all_their_clips(repo, tmp_path, small):
    where = ("--recipe-dir", tmp_path)
    found = step(repo, "commonvoice", "corpus.sh", *where, "--corpus-dir", tmp_path / "cv")
    assert found.returncode == 0, found.stderr
    budget = ("--set", "manifests.error_budget=0.2")
    done = step(repo, "commonvoice", "make_manifests.sh", *where, *budget)
    assert done.returncode == 0, done.stderr
    texts = {
        name: {c.id: c.supervisions[0].text for c in cuts(tmp_path, name)}
        for name in ("train", "dev", "test_accents")
    }
    assert texts == {
        "train": {"b1": "AN UNMATCHED QUOTE"},
        "dev": {"c1": "WELL YES"},
        "test_accents": {"a1": "HE SAID DON'T", "a2": "HELLO"},
    }
    table = (tmp_path / "data" / "speakers.tsv").read_text().splitlines()
    assert "anna\ttest_accents\tf\t\tscotland\ttwenties\tcommonvoice" in table
    assert "bert\ttrain\tm\t\t\tthirties\tcommonvoice" in table
    assert "d1\t" in (tmp_path / "data" / "quarantine.tsv").read_text()


def test_dev_is_held_out_where_there_is_no_list(repo, tmp_path, small):
    (small / "dev.tsv").unlink()
    validated = small / "validated.tsv"
    validated.write_text(validated.read_text().replace("male_masculine", ""))
    lists = [list(row) for row in CLIPS["train"]]
    lists[1][4] = ""  # the two who stay are of one stratum, so that one of them can be held out
    write_list(small / "train.tsv", lists)
    prepare(repo, "commonvoice", tmp_path, small, "raw.py")
    sets = raw(tmp_path)
    assert speakers(sets["train"]) | speakers(sets["dev"]) == {"bert", "dora"}
    assert len(speakers(sets["dev"])) == 1


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([["bert", "b1.ogg"]], "train.tsv: line 2: half-written"),
        ([["", "b1.ogg", "Hello", "", "", ""]], "train.tsv: line 2: half-written"),
    ],
)
def test_a_half_written_list_is_named(repo, tmp_path, small, rows, named):
    write_list(small / "train.tsv", rows)
    where = ("--recipe-dir", tmp_path)
    assert step(repo, "commonvoice", "corpus.sh", *where, "--corpus-dir", small).returncode == 0
    done = step(repo, "commonvoice", "raw.py", *where)
    assert done.returncode == 1
    assert named in done.stderr


@pytest.mark.realdata
def test_the_corpus(repo, shared_data, tmp_path):
    prepare(repo, "commonvoice", tmp_path, shared_data / "commonvoice", "raw.py")
    sets = raw(tmp_path)
    assert {name: len(rows) for name, rows in sets.items()} == {
        "train": 2560,
        "dev": 166,
        "test_accents": 1350,
    }
    assert all(Path(row["audio"]).is_file() for rows in sets.values() for row in rows)
    assert not any(c.isdigit() for rows in sets.values() for row in rows for c in row["text"])
    told = [row["speaker_meta"].get("accent") for row in sets["test_accents"]]
    assert told.count("us") == 637
    assert not any("accent" in row["speaker_meta"] for row in sets["train"] + sets["dev"])
    dev_texts = {row["text"] for row in sets["dev"]}
    assert not dev_texts & {row["text"] for row in sets["train"]}
