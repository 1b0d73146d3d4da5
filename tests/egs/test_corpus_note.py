"""data/corpus.json, in which stage 0 notes where the corpus is, broken or on a full disk."""

from __future__ import annotations

from command_fakes import call, explained, full_disk

from local.corpus import command as corpus_command


def test_the_note_of_where_the_corpus_is_may_be_broken(tmp_path):
    note = tmp_path / "data" / "corpus.json"
    note.parent.mkdir()
    note.write_text('{"corpus_d')
    options = ("--recipe-dir", tmp_path, "--home", tmp_path, "--title", "T", "--probe", "x")
    assert explained(call(*options, command=corpus_command), note, "run stage 0")


def test_full_disk_where_the_corpus_is_noted(tmp_path):
    note = tmp_path / "data" / "corpus.json"
    (tmp_path / "x").touch()
    options = ("--recipe-dir", tmp_path, "--home", tmp_path, "--title", "T", "--probe", "x")
    with full_disk(20):
        told = call(*options, "--corpus-dir", tmp_path, command=corpus_command)
    assert explained(told, note, "free some space")
    assert [path.name for path in note.parent.iterdir()] == ["log"]
