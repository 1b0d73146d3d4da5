"""What the archive gives back is what went in, to 16 bits."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.features.storage import Float16ArchiveReader, Float16ArchiveWriter


@settings(deadline=None, max_examples=30)
@given(
    frames=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    left=st.integers(0, 9),
    right=st.none() | st.integers(0, 12),
)
def test_reads_what_was_written(tmp_path_factory, frames, left, right):
    path = tmp_path_factory.mktemp("store") / "a.f16"
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-16, 16, (n, 4)).astype(np.float32) for n in frames]
    with open(path, "wb") as f:
        writer = Float16ArchiveWriter(path, f)
        keys = [writer.write("", array) for array in arrays]
    reader = Float16ArchiveReader(path)
    for key, array in zip(keys, arrays, strict=True):
        assert reader.read(key).dtype == np.float32
        np.testing.assert_allclose(reader.read(key), array, atol=2**-8)
        np.testing.assert_allclose(reader.read(key, left, right), array[left:right], atol=2**-8)


def test_non_contiguous_input_is_stored_right(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    with open(tmp_path / "a.f16", "wb") as f:
        key = Float16ArchiveWriter(tmp_path / "a.f16", f).write("", array)
    assert np.array_equal(Float16ArchiveReader(tmp_path / "a.f16").read(key), array)


def test_a_shortened_archive_is_an_error(tmp_path):
    path = tmp_path / "a.f16"
    file = io.BytesIO()
    key = Float16ArchiveWriter(path, file).write("", np.zeros((3, 4), np.float32))
    path.write_bytes(file.getvalue()[:-2])
    with pytest.raises(OSError, match="shorter"):
        Float16ArchiveReader(path).read(key)
