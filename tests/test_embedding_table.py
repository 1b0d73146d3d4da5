"""The file of speaker embeddings."""

import numpy as np
import pytest

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError


def table() -> EmbeddingTable:
    vectors = np.array([[3, 4], [0, 2], [np.nan, 1]], dtype=np.float32)
    return EmbeddingTable(("u1", "u2", "u3"), ("b", "b", "a"), vectors)


def test_written_and_read_is_equal(tmp_path):
    table().write(tmp_path / "x.npz")
    read = EmbeddingTable.read(tmp_path / "x.npz")
    assert (read.ids, read.speakers) == (table().ids, table().speakers)
    np.testing.assert_array_equal(read.vectors_ND, table().vectors_ND)


def test_a_speaker_is_the_mean_of_unit_vectors():
    names, means = table().finite().by_speaker()
    assert names == ("b",)
    np.testing.assert_allclose(means, [[0.3, 0.9]], rtol=1e-6)


def test_joined_tables_share_no_utterance_and_have_one_width():
    other = EmbeddingTable(("u4",), ("a",), np.ones((1, 2), np.float32))
    both = EmbeddingTable.joined([table(), other])
    assert (both.ids, both.speakers) == (("u1", "u2", "u3", "u4"), ("b", "b", "a", "a"))
    assert both.vectors_ND[[0, 3]].tolist() == [[3, 4], [1, 1]]
    with pytest.raises(DataError, match="utterance u4 is in two"):
        EmbeddingTable.joined([other, other])
    wider = EmbeddingTable(("u5",), ("a",), np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match=r"different widths, \[2, 3\]"):
        EmbeddingTable.joined([other, wider])


@pytest.mark.parametrize("damage", ["missing", "text", "pickled", "short", "twice"])
def test_a_bad_file_is_named(tmp_path, damage):
    path = tmp_path / "x.npz"
    ids, speakers, vectors = np.array(["a", "b"]), np.array(["s", "s"]), np.ones((2, 3))
    if damage == "text":
        path.write_text("a b c")
    elif damage == "pickled":
        np.savez(path, ids=np.array(["a", None], dtype=object), speakers=speakers, vectors=vectors)
    elif damage == "short":
        np.savez(path, ids=ids, speakers=speakers, vectors=vectors[:1])
    elif damage == "twice":
        np.savez(path, ids=np.array(["a", "a"]), speakers=speakers, vectors=vectors)
    with pytest.raises(DataError, match=r"x\.npz"):
        EmbeddingTable.read(path)
