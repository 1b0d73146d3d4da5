import numpy as np
import pytest

from asrlib.cohorts.table import SpeakerTable, read_table
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError


def _write(path, *lines):
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_table_keeps_the_rows_of_the_sets(tmp_path):
    rows = ("speaker", "set", "age"), ("a", "test", " 7 "), ("b", "dev", "x"), ("a", "dev", "8")
    path = _write(tmp_path / "s.tsv", *rows)
    assert read_table(path, ["test"]) == SpeakerTable(("a",), {"set": ("test",), "age": ("7",)})
    assert read_table(path, ["dev"]).speakers == ("b", "a")
    with pytest.raises(DataError, match="speaker a has two rows"):
        read_table(path)


def test_short_rows_and_byte_order_marks_do_no_harm(tmp_path):
    path = tmp_path / "s.tsv"
    path.write_bytes(b"\xef\xbb\xbfspeaker\tage\na\nb\t9\n")
    assert read_table(path).column("age") == ("", "9")


def test_a_table_that_was_cut_short_is_an_error(tmp_path):
    """A short row is one thing, a short row without the newline at its end another."""
    path = tmp_path / "s.tsv"
    path.write_text("speaker\tage\na\t7\nb")
    with pytest.raises(DataError, match="is cut short"):
        read_table(path)
    path.write_text("speaker\tage\na\t7\nb\t8")
    assert read_table(path).speakers == ("a", "b")


def test_a_missing_column_or_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no column 'speaker'"):
        read_table(_write(tmp_path / "s.tsv", ("name", "age"), ("a", "3")))
    with pytest.raises(DataError, match="missing"):
        read_table(tmp_path / "none.tsv")
    (tmp_path / "b.tsv").write_bytes(b"speaker\tage\na\t\xff\n")
    with pytest.raises(DataError, match="is not a table"):
        read_table(tmp_path / "b.tsv")


def test_text_in_a_column_of_numbers_is_nan():
    table = SpeakerTable(("a", "b", "c", "d"), {"age": ("7", "seven", "", "inf")})
    assert np.isnan(table.numbers("age")).tolist() == [False, True, True, True]
    assert np.isnan(table.numbers("height")).all()


def test_embeddings_are_means_and_nan_without_a_usable_one():
    table = SpeakerTable(("b", "a", "c", "d"), {})
    first = EmbeddingTable(
        ("u1", "u2", "u3"), ("a", "a", "c"), np.array([[2, 0], [0, 3], [np.nan, 1]], np.float32)
    )
    second = EmbeddingTable(("u1",), ("b",), np.array([[0, 5]], np.float32))
    vectors = table.with_embeddings([first, second]).vectors_SD
    assert vectors[:2] == pytest.approx(np.array([[0, 1], [0.5, 0.5]]))
    assert np.isnan(vectors[2:]).all()
    wide = EmbeddingTable(("u",), ("a",), np.zeros((1, 3), np.float32))
    with pytest.raises(DataError, match="different widths"):
        table.with_embeddings([first, wide])
