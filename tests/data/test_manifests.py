"""Stage 1: cuts of the good, quarantine of the bad, each once, and the same every time."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from lhotse import CutSet

from asrlib.__main__ import cli
from asrlib.data.manifests import audio_digest, judge, write_manifests
from asrlib.data.raw import RawUtterance, raw_sets, raw_table, write_raw
from asrlib.data.raw_index import RawIndex
from asrlib.data.validation import Quarantined, ValidationConfig
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.text.normalise import normalise

RATE = 16000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def row(id_: str, audio: str = "good.wav", text: str = "private words", **more) -> RawUtterance:
    return RawUtterance(id=id_, audio=audio, text=text, speaker=more.pop("speaker", "s"), **more)


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe directory with one good file and one of each kind of bad file."""
    soundfile.write(tmp_path / "good.wav", noise(2), RATE)
    soundfile.write(tmp_path / "rate.wav", noise(2), 8000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack([noise(1)] * 2, 1), RATE)
    nan = noise(1)
    nan[5] = np.nan
    soundfile.write(tmp_path / "nan.wav", nan, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.wav", noise(2), RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:9000])
    (tmp_path / "empty.wav").touch()
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF, but no more than that")
    return tmp_path


BAD = [
    (row("b1", "none.wav"), "missing"),
    (row("b2", "corrupt.wav"), "unreadable"),
    (row("b3", "cut.wav"), "truncated"),
    (row("b4", "empty.wav"), "zero-length"),
    (row("b5", "rate.wav"), "wrong rate: 8000 Hz, expected 16000 Hz"),
    (row("b6", "nan.wav"), "not finite"),
    (row("b7", "silent.wav"), "silent"),
    (row("b8", text=" . "), "transcript empty"),
    (row("b9", text="private words " * 9), "transcript too long"),
    (row("ok1"), "duplicate id"),
    (row("b11", start=0.5, end=0.6), "too short"),
    (row("b12", start=1.5, end=2.5), "segment outside the file"),
    (row("b13", start=2.5), "segment outside the file"),
    (row("b14", "stereo.wav"), "not mono: 2 channels"),
]


def build(recipe: Path, sets: dict, num_jobs: int = 1, **overrides):
    """Return the verdicts, and a function that writes them."""
    config = Recipe(recipe).config(ValidationConfig, "manifests")
    config = dataclasses.replace(config, **overrides)
    verdicts = list(judge(sets, recipe, normalise, config, num_jobs))
    return verdicts, lambda: write_manifests(verdicts, sets, recipe / "data", config)


def cuts_of(verdicts, name="train"):
    found = [v for v in verdicts if v.set == name and not isinstance(v.outcome, Quarantined)]
    assert all(v.utterance.id == v.outcome.id for v in found)
    return [v.outcome for v in found]


def quarantined(verdicts):
    return [v.outcome for v in verdicts if isinstance(v.outcome, Quarantined)]


def test_each_bad_one_is_quarantined_with_its_reason_and_the_good_stay(recipe):
    sets = {"train": [row("ok1"), *(r for r, _ in BAD), row("ok2")]}
    found, _ = build(recipe, sets)
    assert [cut.id for cut in cuts_of(found)] == ["ok1", "ok2"]
    reasons = {q.id: str(q.reason) for q in quarantined(found)}
    assert list(reasons) == [r.id for r, _ in BAD]
    for bad, expected in BAD:
        assert reasons[bad.id].startswith(expected)
        assert any(q.path.endswith(bad.audio) for q in quarantined(found) if q.id == bad.id)


def test_names_that_cannot_be_printed_are_told_in_one_line(recipe):
    bad = [row("nul\x00l"), row("two\nlines"), row("b", "no\x00ne.wav")]
    _, write = build(recipe, {"train": [row("ok"), *bad]}, error_budget=1.0)
    write()
    lines = (recipe / "data" / "quarantine.tsv").read_text(encoding="utf-8").splitlines()
    told = [line.split("\t")[:2] for line in lines[1:]]
    assert [name for name, _ in told] == [r"nul\x00l", r"two\nlines", "b"]
    assert told[2][1].endswith(r"no\x00ne.wav")


def test_every_utterance_is_a_cut_or_quarantined(recipe):
    sets = {"train": [row("ok1")] + [r for r, _ in BAD], "test": [row("c"), row("d", "none.wav")]}
    sets["test"] = [dataclasses.replace(u, speaker="t") for u in sets["test"]]
    found, _ = build(recipe, sets, num_jobs=3)
    cuts = [cut.id for name in sets for cut in cuts_of(found, name)]
    given = [u.id for name in sets for u in sets[name]]
    assert sorted(cuts + [q.id for q in quarantined(found)]) == sorted(given)
    assert [v.utterance.id for v in found] == given


def test_what_a_cut_holds(recipe):
    words = (("one", 0.1, 0.4), ("two", 0.5, 0.9))
    utterance = row(
        "u",
        start=0.5,
        end=1.75,
        gender="f",
        age=9.0,
        speaker_meta={"accent": "x"},
        custom={"private": True},
        words=words,
    )
    _, write = build(recipe, {"train": [utterance, row("v", speaker="t")]})
    write()
    cut, other = CutSet.from_file(recipe / "data" / "train" / "cuts.jsonl.gz")
    (supervision,) = cut.supervisions
    assert (supervision.text, supervision.speaker, supervision.gender) == (
        "PRIVATE WORDS",
        "s",
        "f",
    )
    assert supervision.custom == {"age": 9.0, "accent": "x", "private": True}
    assert (supervision.start, supervision.duration, cut.duration) == (0, 1.25, 1.25)
    assert [
        (w.symbol, w.start, pytest.approx(w.end)) for w in supervision.alignment["word"]
    ] == list(words)
    whole, _ = soundfile.read(recipe / "good.wav", dtype="float32")
    np.testing.assert_array_equal(cut.load_audio()[0], whole[RATE // 2 : RATE // 4 * 7])
    np.testing.assert_array_equal(other.load_audio()[0], whole)
    assert other.supervisions[0].alignment is None


def test_jobs_and_repetition_change_no_byte(recipe):
    sets = {"train": [row(f"ok{i}") for i in range(9)] + [r for r, _ in BAD]}
    contents = []
    for num_jobs in (1, 1, 4):
        _, write = build(recipe, sets, num_jobs, error_budget=1.0)
        write()
        files = sorted(p for p in (recipe / "data").rglob("*") if p.is_file())
        contents.append([(p.name, p.read_bytes()) for p in files])
    assert contents[0] == contents[1] == contents[2]


def test_rows_of_a_file_that_stand_apart_are_decoded_together_and_stay_in_order(
    recipe, monkeypatch
):
    """Also rows of two sets, and with duplicates between them."""
    import asrlib.data.manifests as module

    decoded = []
    original = module.decode
    monkeypatch.setattr(
        module, "decode", lambda path, config: decoded.append(path.name) or original(path, config)
    )
    for name in "abc":
        shutil.copy(recipe / "good.wav", recipe / f"{name}.wav")
    sets = {
        "train": [row(f"t{i}", f"{name}.wav") for i, name in enumerate("abacab")],
        "test": [
            row("e0", "c.wav", speaker="x"),
            row("t0", "c.wav", speaker="x"),
            row("e1", "good.wav", speaker="x"),
            row("e1", "a.wav", speaker="x"),
        ],
    }
    found, _ = build(recipe, sets, num_jobs=2)
    assert [v.utterance for v in found] == [*sets["train"], *sets["test"]]
    assert sorted(decoded) == ["a.wav", "b.wav", "c.wav", "good.wav"]
    assert [q.id for q in quarantined(found)] == ["t0", "e1"]
    # A recording is named after its utterance if it has one, duplicates apart.
    assert cuts_of(found, "test")[1].recording_id == "e1"
    assert cuts_of(found)[0].recording_id == str(recipe / "a.wav")


def test_a_table_on_disk_is_judged_as_in_memory(recipe):
    sets = {"train": [row("ok1"), *(r for r, _ in BAD)], "dev": [row("d", speaker="t")]}
    write_raw(recipe / "data" / "raw", sets)
    tables = {name: raw_table(path) for name, path in raw_sets(recipe / "data" / "raw").items()}
    assert {name: list(table) for name, table in tables.items()} == sets
    in_memory, _ = build(recipe, sets)
    on_disk, _ = build(recipe, tables)
    assert in_memory == on_disk
    assert audio_digest(tables, recipe) == audio_digest(sets, recipe)


def test_the_digest_of_the_audio_does_not_depend_on_the_order_of_rows(recipe):
    rows = [r for r, _ in BAD]
    digest = audio_digest({"train": rows}, recipe)
    assert digest == audio_digest({"a": rows[5:], "b": rows[:6][::-1]}, recipe)
    soundfile.write(recipe / "nan.wav", noise(2), RATE)
    assert digest != audio_digest({"train": rows}, recipe)


def test_memory_does_not_grow_with_the_rows(recipe):
    """But by the arrays of a `RawIndex`; a row in memory would take 2,000 bytes."""
    import tracemalloc

    def peak(number):
        rows = [row(f"u{i:05d}", "none.wav" if i % 2 else f"n{i // 8}.wav") for i in range(number)]
        write_raw(recipe / "data" / "raw", {"train": rows})
        del rows
        sets = {"train": raw_table(recipe / "data" / "raw" / "train.jsonl")}
        tracemalloc.start()
        index = RawIndex(sets, recipe)
        assert sum(1 for _ in index.rows()) == len(index) == number
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    assert peak(8000) - peak(2000) < 6000 * 60


def test_resampling_when_asked_for(recipe):
    found, _ = build(recipe, {"train": [row("u", "rate.wav")]}, resample=True)
    (cut,) = cuts_of(found)
    assert cut.sampling_rate == RATE
    assert cut.duration == pytest.approx(4.0)
    assert cut.load_audio().shape == (1, 4 * RATE)


def test_past_the_budget_the_table_is_there_and_no_manifest(recipe):
    _, write = build(recipe, {"train": [row("ok1"), *(r for r, _ in BAD)]})
    with pytest.raises(DataError, match=r"14 of 15 .* 1 missing \(b1\)"):
        write()
    assert [p.name for p in (recipe / "data").iterdir()] == ["quarantine.tsv"]
    with open(recipe / "data" / "quarantine.tsv", newline="") as f:
        rows = list(csv.reader(f, delimiter="\t"))
    assert rows[0] == ["id", "path", "reason"]
    assert [r[0] for r in rows[1:]] == [r.id for r, _ in BAD]


def test_a_set_without_a_good_one_is_an_error(recipe):
    sets = {"train": [row(f"u{i}") for i in range(9)], "test": [row("t", "none.wav", speaker="t")]}
    _, write = build(recipe, sets, error_budget=1.0)
    with pytest.raises(DataError, match="no usable utterance in set test"):
        write()


def run(recipe: Path, *options: str):
    return CliRunner().invoke(cli, ["manifests", "--recipe-dir", str(recipe), *options])


def test_command_skips_what_is_unchanged_and_redoes_what_is_not(recipe):
    out = recipe / "data" / "train" / "cuts.jsonl.gz"

    def done() -> bool:
        before = out.stat().st_mtime_ns if out.exists() else 0
        assert run(recipe).exit_code == 0
        return out.stat().st_mtime_ns != before

    write_raw(recipe / "data" / "raw", {"train": [row("u")]})
    assert done()
    assert not done()
    write_raw(recipe / "data" / "raw", {"train": [row("u"), row("v")]})
    assert done()
    soundfile.write(recipe / "good.wav", noise(3), RATE)
    assert done()
    shutil.rmtree(out.parent)
    assert done()
    assert not done()
    assert run(recipe, "--force").exit_code == 0
    (recipe / "data" / "speakers.tsv").unlink()
    assert done()


def test_command_ends_with_a_summary_past_the_budget(recipe):
    write_raw(recipe / "data" / "raw", {"train": [row("u"), row("v", "none.wav")]})
    result = run(recipe)
    assert isinstance(result.exception, DataError)
    assert not (recipe / "data" / "train").exists()
    assert run(recipe, "--set", "manifests.error_budget=0.5").exit_code == 0


def test_command_refuses_training_speakers_in_the_test_set_before_it_decodes(recipe):
    write_raw(recipe / "data" / "raw", {"train": [row("u")], "test": [row("v", "none.wav")]})
    result = run(recipe)
    assert isinstance(result.exception, DataError)
    assert "s in train, test" in str(result.exception)
    assert not (recipe / "data" / "quarantine.tsv").exists()
    write_raw(recipe / "data" / "raw", {"train": [row("u")], "test": [row("v")]})
    assert run(recipe, "--set", "manifests.permit_shared_speakers=true").exit_code == 0
    table = (recipe / "data" / "speakers.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in table[1:]] == [["s", "train"], ["s", "test"]]


def test_no_transcript_leaves_the_manifests(recipe):
    sets = {"train": [row("ok1", custom={"private": True}), *(r for r, _ in BAD)]}
    write_raw(recipe / "data" / "raw", sets)
    result = run(recipe, "--set", "manifests.error_budget=1")
    assert result.exit_code == 0, result.exception
    written = "".join(p.read_text() for p in recipe.glob("data/**/*.tsv"))
    written += (recipe / "data" / "log" / "manifests.log").read_text() + result.output
    assert "quarantined: 14 of 15" in written
    assert "private words" not in written.lower()


def test_nothing_to_do_names_the_stage(recipe):
    result = run(recipe)
    assert isinstance(result.exception, DataError)
    assert "stages 0 and 1" in str(result.exception)
