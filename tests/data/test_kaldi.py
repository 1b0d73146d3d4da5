"""Kaldi data directories: what lhotse reads from good ones, and clear errors for the others."""

from __future__ import annotations

from pathlib import Path

import lhotse.kaldi
import numpy as np
import pytest
import soundfile

from asrlib.data.kaldi import read_kaldi_dir, read_table
from asrlib.errors import DataError


@pytest.fixture
def kaldi_dir(tmp_path) -> Path:
    """Two recordings of two speakers, three segments, one up to the end (-1)."""
    path = tmp_path / "train"
    path.mkdir()
    rng = np.random.default_rng(0)
    for name in ("r1", "r2"):
        soundfile.write(path / f"{name}.wav", 0.1 * rng.standard_normal(32000), 16000)
    tables = {
        "wav.scp": [f"{name} {path / name}.wav" for name in ("r1", "r2")],
        "segments": ["u1 r1 0.25 1.0", "u2 r1 1.0 -1", "u3 r2 0 2.0"],
        "text": ["u1 HELLO THERE", "u2 YES", "u3 NO"],
        "utt2spk": ["u1 a", "u2 b", "u3 b"],
        "spk2gender": ["a f", "b m"],
        "spk2age": ["a 7", "b 31.5"],
    }
    for name, lines in tables.items():
        (path / name).write_text("\n".join(lines) + "\n")
    return path


def test_agrees_with_lhotse(kaldi_dir):
    recordings, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(kaldi_dir, 16000)
    rows = {row.id: row for row in read_kaldi_dir(kaldi_dir)}
    assert list(rows) == [s.id for s in supervisions]
    for s in supervisions:
        row = rows[s.id]
        end = recordings[s.recording_id].duration if row.end is None else row.end
        assert (row.start, end) == pytest.approx((s.start, s.end))
        assert (row.speaker, row.gender) == (s.speaker, s.gender)
        assert row.audio == recordings[s.recording_id].sources[0].source
        assert row.text == read_table(kaldi_dir / "text")[s.id]


def test_without_segments_an_utterance_is_a_file(kaldi_dir):
    (kaldi_dir / "segments").unlink()
    (kaldi_dir / "wav.scp").write_text("u1 r1.wav\nu9 train/r2.wav\n")
    (kaldi_dir / "text").write_text("u1 ONE\n")
    first, second = read_kaldi_dir(kaldi_dir)
    assert (first.start, first.end, first.age) == (None, None, 7.0)
    assert Path(first.audio).samefile(kaldi_dir / "r1.wav")
    assert Path(second.audio).samefile(kaldi_dir / "r2.wav")
    assert (second.text, second.speaker, second.gender) == ("", "u9", None)


@pytest.mark.parametrize("table", ["segments", "wav.scp"])
def test_utterances_without_audio_are_refused_by_name(kaldi_dir, table):
    if table == "wav.scp":
        (kaldi_dir / "segments").unlink()
    first = (kaldi_dir / table).read_text().splitlines()[0]
    (kaldi_dir / table).write_text(first + "\n")
    (kaldi_dir / "text").write_text(f"{first.split()[0]} ONE\nu8 TWO\nu9 THREE\n")
    with pytest.raises(DataError, match=f"{table}: lacks utterances that text has: u8, u9"):
        read_kaldi_dir(kaldi_dir)


def test_tabs_separate_too(kaldi_dir):
    spaces = read_kaldi_dir(kaldi_dir)
    for name in ("wav.scp", "segments", "text", "utt2spk"):
        path = kaldi_dir / name
        path.write_text(path.read_text().replace(" ", "\t", 1))
    assert read_kaldi_dir(kaldi_dir) == spaces


def test_missing_audio_is_left_for_the_quarantine(kaldi_dir):
    (kaldi_dir / "r1.wav").unlink()
    assert len(read_kaldi_dir(kaldi_dir)) == 3


@pytest.mark.parametrize(
    ("table", "content", "what"),
    [
        ("wav.scp", "r1 sph2pipe -f wav r1.sph |\nr2 r2.wav\n", "r1 is a command"),
        ("wav.scp", "r1 r1.wav\n", "r2 is not in wav.scp"),
        ("wav.scp", "r1 r1.wav\nr1 r2.wav\n", "line 2: key r1 occurs twice"),
        ("segments", "u1 r1 0.25\n", "u1: not a line `utterance recording start end`"),
        ("segments", "u1 r1 zero 1\n", "'zero' is not a number"),
        ("spk2age", "a young\n", "'young' is not a number"),
    ],
)
def test_faults_name_file_and_reason(kaldi_dir, table, content, what):
    (kaldi_dir / table).write_text(content)
    with pytest.raises(DataError, match=what) as caught:
        read_kaldi_dir(kaldi_dir)
    assert str(kaldi_dir) in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("table", ["wav.scp", "text"])
def test_needed_tables(kaldi_dir, table):
    (kaldi_dir / table).unlink()
    with pytest.raises(DataError, match=f"{table}: missing"):
        read_kaldi_dir(kaldi_dir)


def test_not_utf8(kaldi_dir):
    (kaldi_dir / "text").write_bytes(b"u1 caf\xe9\n")
    with pytest.raises(DataError, match="text: not UTF-8"):
        read_kaldi_dir(kaldi_dir)
