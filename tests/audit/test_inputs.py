"""Voice measures and columns, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_fakes import Tables

from asrlib.audit.columns import choose_columns, quartiles
from asrlib.audit.inputs import Inputs, read_inputs
from asrlib.audit.mfcc import mfcc_statistics
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError


def test_statistics_do_not_hear_the_level_but_the_spectrum():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=16000) * 0.1
    dull = np.convolve(noise, np.ones(8) / 8, mode="same")
    first, louder, other = (mfcc_statistics(x, 16000) for x in (noise, 2 * noise, dull))
    assert first.shape == (40,)
    np.testing.assert_allclose(first, louder, atol=1e-3)
    assert np.abs(first - other)[:20].max() > 1


def test_a_tone_that_does_not_change_has_no_deviation():
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)  # 10 ms: whole periods
    np.testing.assert_allclose(mfcc_statistics(tone, 16000)[20:], 0, atol=1e-6)


def test_audio_shorter_than_a_frame_is_refused():
    with pytest.raises(ValueError, match="shorter than 25 ms"):
        mfcc_statistics(np.zeros(399), 16000)


def test_quartiles_are_few_and_readable():
    assert quartiles(np.arange(101.0)) == (25.0, 50.0, 75.0)
    assert quartiles(np.full(5, 3.14159)) == (3.14,)


def test_places_and_empty_columns_are_no_groups():
    names = tuple(f"s{i}" for i in range(20))
    columns = {
        "zip": tuple(["02134", "10001"] * 10),
        "latitude": tuple(["1"] * 20),
        "gender": tuple(["f", "m"] * 10),
        "hair": tuple([""] * 20),
        "height": tuple(str(150 + i) for i in range(20)),
    }
    chosen, bands, notes = choose_columns(SpeakerTable(names, columns), (), {})
    assert chosen == ("gender", "height")
    assert set(bands) == {"height"}
    assert "Column hair is empty." in notes


def read(tables: Tables) -> Inputs:
    tables.write()
    ref, hyp, utt2spk = (tables.folder / name for name in ("text", "hyp.txt", "utt2spk"))
    return read_inputs(ref, hyp, utt2spk, None, "upper")


@pytest.mark.parametrize("known", [True, False])
def test_speakers_of_other_utterances_are_an_error(tmp_path: Path, known: bool):
    tables = Tables(tmp_path, speakers=2)
    tables.owner = {f"other-{u}": s for u, s in tables.owner.items()} if known else {}
    with pytest.raises(DataError, match=rf"utt2spk: none of its {6 * known} utterances") as e:
        read(tables)
    assert "s000-0" in e.value.fix


def test_utterances_without_a_speaker_are_counted_and_the_first_is_named(tmp_path, caplog):
    tables = Tables(tmp_path, speakers=2)
    assert len(read(tables).table) == 2
    assert caplog.text == ""
    del tables.owner["s001-1"]
    tables.owner["s001-2"] = ""
    tables.owner["more"] = "s009"  # of an utterance that is not audited
    found = read(tables)
    assert "utt2spk: no speaker for 2 of 6 utterances, the first is s001-1" in caplog.text
    assert len(found.table) == 4
    assert not any("s001-1" in note for note in found.notes)  # the page may be public
