"""The speech_commands recipe, on the corpus and on a small folder of its layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from lhotse.recipes import speechcommands
from recipe_steps import cuts, noise, prepare, raw, speakers, step

CLIPS = {
    "train": ["yes/0a_nohash_0", "no/0a_nohash_0", "no/0a_nohash_1", "yes/0b_nohash_0"],
    "dev": ["yes/1a_nohash_0", "no/1a_nohash_0"],
    "test": ["no/2a_nohash_0"],
}


def small(folder: Path, suffix: str) -> Path:
    """Four speakers, two words, and noise that nobody says."""
    for clip in (c for clips in CLIPS.values() for c in clips):
        noise(folder / f"{clip}{suffix}")
    noise(folder / "_background_noise_" / "running_tap.wav", 3.0)
    for name, part in (("validation", "dev"), ("testing", "test")):
        text = "".join(f"{clip}{suffix}\n" for clip in CLIPS[part])
        (folder / f"{name}_list.txt").write_text(text)
    return folder


def test_sets_agree_with_lhotse(repo, tmp_path):
    corpus = small(tmp_path / "speech_commands_v0.02", ".wav")
    prepare(repo, "speech_commands", tmp_path, tmp_path, "raw.py")
    ours = raw(tmp_path)
    train, dev = speechcommands._split_train_valid("2", tmp_path)
    theirs = {
        "train": speechcommands._prepare_train("2", train, tmp_path),
        "dev": speechcommands._prepare_valid("2", dev, tmp_path),
    }
    for name, (_, supervisions) in theirs.items():
        expected = {
            (s.id, s.text, s.speaker)
            for s in supervisions
            if s.speaker  # lhotse keeps the noise
        }
        assert {(r["id"], r["text"], r["speaker"]) for r in ours[name]} == expected
    assert [r["id"] for r in ours["test"]] == ["no_2a_nohash_0"]
    assert ours["test"][0]["audio"] == str(corpus / "no" / "2a_nohash_0.wav")


def test_train_speakers_of_six_words_fill_up_dev(repo, tmp_path):
    corpus = small(tmp_path / "corpus", ".ogg")
    for word in range(6):
        noise(corpus / f"word{word}" / "0c_nohash_0.ogg")
        noise(corpus / "yes" / f"0d_nohash_{word}.ogg")  # six times one word
    prepare(repo, "speech_commands", tmp_path, corpus, "raw.py")
    sets = raw(tmp_path)
    assert {row["speaker"] for row in sets["dev"]} == {"1a", "0c"}
    assert {row["speaker"] for row in sets["train"]} == {"0a", "0b", "0d"}
    assert {row["speaker"] for row in sets["test"]} == {"2a"}


def test_a_missing_clip_is_quarantined(repo, tmp_path):
    corpus = small(tmp_path / "corpus", ".ogg")
    lost = corpus / "yes" / "1a_nohash_0.ogg"
    lost.unlink()
    where = ("--recipe-dir", tmp_path)
    found = step(repo, "speech_commands", "corpus.sh", *where, "--corpus-dir", corpus)
    assert found.returncode == 0, found.stderr
    budget = ("--set", "manifests.error_budget=0.2")
    done = step(repo, "speech_commands", "make_manifests.sh", *where, *budget)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "data" / "quarantine.tsv").read_text().splitlines()
    assert table[1].startswith(f"yes_1a_nohash_0\t{lost}\t")
    assert {c.supervisions[0].text for c in cuts(tmp_path, "train")} == {"YES", "NO"}


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("testing_list.txt", "", "testing_list.txt: missing or empty"),
        ("validation_list.txt", "yes/wrong.ogg\n", "yes/wrong.ogg: not a name <word>/<speaker>"),
    ],
)
def test_a_faulty_list_is_named(repo, tmp_path, name, content, named):
    corpus = small(tmp_path / "corpus", ".ogg")
    (corpus / name).write_text(content)
    where = ("--recipe-dir", tmp_path)
    assert (
        step(repo, "speech_commands", "corpus.sh", *where, "--corpus-dir", corpus).returncode == 0
    )
    done = step(repo, "speech_commands", "raw.py", *where)
    assert done.returncode == 1
    assert named in done.stderr
    assert "fix:" in done.stderr


@pytest.mark.realdata
def test_the_corpus(repo, shared_data, tmp_path):
    prepare(repo, "speech_commands", tmp_path, shared_data / "speech_commands", "raw.py")
    sets = raw(tmp_path)
    assert {name: len(rows) for name, rows in sets.items()} == {
        "train": 5384,
        "dev": 981,
        "test": 5045,
    }
    rows = [row for rows in sets.values() for row in rows]
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["text"] for row in rows}) == 35
    assert sum(len(speakers(r)) for r in sets.values()) == len(speakers(rows)) == 2160
