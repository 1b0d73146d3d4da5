"""Cuts on disk are those in memory, and damaged manifests are named."""

import pytest
from speech_fakes import make_cuts

from asrlib.data.cuts import chosen_cuts, index_cuts, iter_cuts, read_cuts
from asrlib.errors import DataError


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "cuts.jsonl.gz"
    make_cuts(tmp_path / "wav", 12).to_file(path)
    return path


def test_indexed_cuts_are_those_of_the_manifest(manifest):
    seen = []
    indexed = index_cuts(manifest, "", lambda cut: seen.append(cut.id))
    eager = read_cuts(manifest, "")
    assert indexed.is_lazy
    assert list(indexed) == list(eager) == list(iter_cuts(manifest, ""))
    assert len(indexed) == len(eager) == len(seen)
    assert indexed[5] == eager[5]
    for cuts in (indexed, eager):
        assert [cut.id for cut in chosen_cuts(cuts, [7, 2])] == [eager[7].id, eager[2].id]
    manifest.unlink()
    assert indexed[3] == eager[3]  # it is a copy


def test_a_check_and_a_damaged_line_stop_it(manifest, tmp_path):
    def refuse(cut):
        raise DataError(f"{cut.id}: no", "")

    with pytest.raises(DataError, match="u000: no"):
        index_cuts(manifest, "", refuse)
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz: unreadable or half-written"):
        index_cuts(manifest, "", lambda cut: None)
    plain = tmp_path / "cuts.jsonl"
    plain.write_text('{"id": "r", "sources": [], "sampling_rate": 1, "num_samples": 1}\n')
    with pytest.raises(DataError, match="unreadable"):
        list(iter_cuts(plain, ""))
    plain.write_text("\n")
    with pytest.raises(DataError, match="holds no utterance"):
        list(iter_cuts(plain, ""))
