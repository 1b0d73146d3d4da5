"""The whole audit: a planted group is found and confirmed, chance is not, bad input is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from audit_fakes import Tables, by_method
from click.testing import CliRunner

from asrlib.audit.record import Audit
from asrlib.cli.audit import command
from asrlib.errors import ConfigError, DataError
from asrlib.report.audit_page import audit_document
from asrlib.report.document import to_html


def notes(found: dict) -> str:
    return " ".join(found["notes"])


def test_a_planted_group_is_found_and_confirmed_by_column_and_by_voice(tmp_path):
    tables = Tables(tmp_path, times=4.0)
    found, page = tables.audit(*tables.voices)
    searched = by_method(found)
    assert searched["metadata"]["bottom"] == "accent far"
    for method in ("metadata", "automatic"):
        confirmation = searched[method]["confirmation"]
        assert confirmation["p_holm"] < 0.05
        assert confirmation["confirmed"]["gap_interval"][0] > 0
        assert confirmation["null_gap"] is not None
    enriched = searched["automatic"]["explanation"]["enriched"]
    assert enriched[0]["attributes"] == {"accent": "far"}
    assert found["finding"].startswith("Worst confirmed cohort")
    given = next(g for g in found["given"] if g["columns"] == ["accent"])
    assert given["table"]["gap"]["worst"] == "far"
    assert given["p_holm"] < 0.05
    assert not searched["tree"]["tried"]
    assert "Confirmed." in page
    assert found["finding"] in page.replace("&#x27;", "'")


def test_the_page_is_a_function_of_the_json_and_needs_no_other_file(tmp_path):
    found, page = Tables(tmp_path, times=4.0).audit()
    assert to_html(audit_document(Audit.from_json(found))) == page
    for source in re.findall(r"(?:src|href)=\"([^\"]+)", page):
        assert source.startswith("#")
    assert not re.search(r"\bs0\d\d\b", page)  # no speaker's id
    assert not re.search(r"\bs0\d\d\b", json.dumps(found["searched"]))


def test_places_are_drawn_on_a_map_and_those_of_few_are_hidden(tmp_path):
    tables = Tables(tmp_path)
    places = [("41.90", "-87.65")] * 40 + [("29.76", "-95.37")] * 30 + [("46.10", "-94.20")] * 5
    places += [("", "")] * 5
    tables.rows[0] += ["latitude", "longitude"]
    tables.rows[1:] = [[*r, *place] for r, place in zip(tables.rows[1:], places, strict=True)]
    found, page = tables.audit("--group", "accent")
    cells = found["cells"]
    assert sorted(cell["speakers"] for cell in cells["cells"]) == [30, 40]
    assert (cells["hidden_cells"], cells["hidden_speakers"]) == (1, 5)
    assert cells["unplaced_speakers"] == 5
    assert page.count("<circle") == 2
    assert "47.0° N" not in page  # the middle of the small cell
    shown, page = tables.audit("--group", "accent", "--public")
    assert len(shown["cells"]["cells"]) == page.count("<circle") == 3
    assert "47.0° N" in page


def test_without_places_there_is_no_map(tmp_path):
    found, page = Tables(tmp_path).audit("--group", "accent")
    assert found["cells"] is None
    assert "WER by place" not in page


def test_a_found_gap_never_stands_without_its_confirmation(tmp_path):
    tables = Tables(tmp_path, times=1.0)
    found, page = tables.audit(*tables.voices)
    for s in by_method(found).values():
        if s["tried"] and s["bottom"]:
            assert s["confirmation"]["p_holm"] is not None
    for groups in found["given"]:
        gap = groups["table"]["gap"]
        assert bool(groups["note"]) == (gap is None)
        if gap is not None:
            assert gap["difference_interval"] is not None
            assert gap["detectable"] is not None
    assert "No cohort was confirmed" in page


def test_errors_of_confirmation_speakers_change_no_cohort(tmp_path):
    first = Tables(tmp_path / "a", times=4.0)
    first.audit(*first.voices)
    lines = (tmp_path / "a/out/cohorts/automatic/cohorts.jsonl").read_text().splitlines()
    split = {e["speaker"]: e["split"] for e in map(json.loads, lines)}
    second = Tables(tmp_path / "b", times=4.0)
    for id, speaker in second.owner.items():
        if split[speaker] == "confirmation":
            second.hyp[id] = "NOTHING"
    second.audit(*second.voices)
    for method in ("automatic", "metadata"):
        name = f"out/cohorts/{method}/cohorts.jsonl"
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()


@pytest.mark.parametrize(
    ("way", "errors"), [("upper", 0), ("case", 1), ("none", 4)], ids=["upper", "case", "none"]
)
def test_the_named_normalisation_decides_what_is_an_error(tmp_path, way, errors):
    tables = Tables(tmp_path, speakers=4)
    tables.hyp = dict(tables.text)
    tables.text["s000-0"], tables.hyp["s000-0"] = "Ça va, très bien", "ÇA VA TRÈS BIEN"
    found, page = tables.audit("--normalise", way)
    assert found["wer"]["errors"] == errors
    assert found["normalised"]["name"] == way
    assert f"Normalisation &#x27;{way}&#x27;" in page


def test_ids_that_do_not_match_at_all_are_an_error(tmp_path):
    tables = Tables(tmp_path)
    tables.hyp = {f"other-{k}": v for k, v in tables.hyp.items()}
    with pytest.raises(DataError, match=r"none of its 240 utterances is in .*text"):
        tables.audit()
    tables = Tables(tmp_path)
    tables.rows[1:] = [["x" + r[0], *r[1:]] for r in tables.rows[1:]]
    with pytest.raises(DataError, match=r"none of its 80 speakers has an utterance"):
        tables.audit()


def test_what_does_not_fit_is_left_out_and_told(tmp_path):
    tables = Tables(tmp_path)
    del tables.hyp["s001-0"], tables.owner["s002-0"]
    tables.hyp["stranger"] = "HELLO"
    tables.hyp["s003-0"] = ""
    tables.rows = [r for r in tables.rows if r[0] != "s004"]
    found, page = tables.audit()
    for sentence in (
        "1 utterances of the references have no hypothesis: they are left out.",
        "1 hypotheses have no reference: they are left out.",
        "1 utterances have no speaker in utt2spk: each counts as a speaker of its own.",
        "1 hypotheses are empty: all their words count as deleted.",
        "2 speakers are not in the table of speakers: their groups are unknown.",
    ):
        assert sentence in found["notes"]
        assert sentence in page
    assert found["utterances"] == 239
    counted, _ = tables.audit("--missing", "delete")
    assert counted["utterances"] == 240
    assert counted["wer"]["deletions"] == found["wer"]["deletions"] + 20


def test_one_speaker_gets_a_rate_and_sentences_instead_of_gaps(tmp_path):
    found, page = Tables(tmp_path, speakers=1).audit()
    assert found["interval"] is None
    assert found["given"] == []
    assert by_method(found)["metadata"]["confirmation"]["confirmed"] is None
    assert "a comparison needs two" in page


def test_no_error_at_all_is_said(tmp_path):
    tables = Tables(tmp_path)
    tables.hyp = dict(tables.text)
    found, page = tables.audit(*tables.voices)
    assert found["wer"]["errors"] == 0
    assert "makes no error at all" in found["finding"]
    assert all(g["table"]["gap"] is None for g in found["given"])
    assert found["interval"][1] > 0  # the exact Poisson bound
    assert "nothing found" in page


def test_no_words_at_all_is_an_error(tmp_path):
    tables = Tables(tmp_path)
    tables.text = dict.fromkeys(tables.text, "...")
    with pytest.raises(DataError, match="no reference has a word"):
        tables.audit()


def test_a_column_of_numbers_and_text_becomes_bands_and_unknown(tmp_path):
    tables = Tables(tmp_path)
    tables.rows[5][2], tables.rows[6][2], tables.rows[7][2] = "adult", "nan", ""
    found, _ = tables.audit()
    assert "2 speakers have no number in column age: unknown there." in found["notes"]
    ages = next(g for g in found["given"] if g["columns"] == ["age"])
    groups = {g["value"]: g["speakers"] for g in ages["table"]["groups"]}
    assert groups["unknown"] == 3
    assert len(groups) == 5
    found, _ = tables.audit("--bands", "age=30,50", "--group", "age")
    assert [g["columns"] for g in found["given"]] == [["age"]]
    assert "30, 50 (given)" in notes(found)


@pytest.mark.parametrize("bands", ["age", "age=", "age=5,x", "age=9,3", "=3", "age=nan"])
def test_wrong_bands_are_an_error(tmp_path, bands):
    with pytest.raises(ConfigError, match="ascending edges"):
        Tables(tmp_path).audit("--bands", bands)


def test_an_unknown_column_is_an_error_that_names_the_others(tmp_path):
    with pytest.raises(ConfigError, match=r"column dialect(.|\n)*gender, age, accent"):
        Tables(tmp_path).audit("--group", "dialect")


def test_a_column_that_names_speakers_makes_no_groups(tmp_path):
    tables = Tables(tmp_path)
    tables.rows = [[*row, f"name {i}" if i else "name"] for i, row in enumerate(tables.rows)]
    found, page = tables.audit()
    assert ["name"] not in [g["columns"] for g in found["given"]]
    assert "it names speakers rather than groups" in notes(found)
    assert "name 7" not in page


def test_embeddings_that_are_not_finite_are_left_out(tmp_path):
    tables = Tables(tmp_path, times=4.0)
    for u in range(3):
        tables.vectors[f"s001-{u}"] = np.full(6, np.nan)
    tables.vectors["s002-0"] = np.full(6, np.inf)
    found, _ = tables.audit(*tables.voices)
    assert "4 embeddings are not finite: they are left out." in found["notes"]
    assert "1 speakers have no embedding: automatic cohorts leave them out." in found["notes"]
    assert by_method(found)["automatic"]["confirmation"]["p_holm"] < 0.05
    tables.vectors = {f"x{k}": v for k, v in tables.vectors.items()}
    with pytest.raises(DataError, match="of other utterances"):
        tables.audit(*tables.voices)


def test_odd_names_stay_text_on_the_page_and_name_no_file(tmp_path):
    tables = Tables(tmp_path / "in", times=4.0)
    odd = {"near": "<script>alert(1)</script> $x_1$", "far": "../../etc/爱\u202e"}
    tables.rows[1:] = [[*r[:3], odd[r[3]]] for r in tables.rows[1:]]
    ids = {s: f"../../{s}é" for s in {*tables.owner.values()}}
    tables.owner = {u: ids[s] for u, s in tables.owner.items()}
    tables.rows[1:] = [[ids[r[0]], *r[1:]] for r in tables.rows[1:]]
    found, page = tables.audit("--title", "<b>ours</b>")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "爱" in page
    assert by_method(found)["metadata"]["bottom"] == f"accent {odd['far']}"
    written = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {
        *("text", "hyp.txt", "utt2spk", "speakers.tsv", "voices.npz"),
        *("audit.json", "audit.html", "found.json", "definition.json", "cohorts.jsonl"),
    }


def test_places_are_coarse_unless_public(tmp_path):
    tables = Tables(tmp_path, speakers=160, times=5.0)
    rng = np.random.default_rng(3)
    tables.rows[0] += ["latitude", "longitude"]
    for row in tables.rows[1:]:
        middle = (33.0, -88.0) if row[3] == "far" else (41.0, -110.0)
        row += [f"{x + rng.uniform(-2, 2):.5f}" for x in middle]
    found, page = tables.audit()
    circle = by_method(found)["scan"]
    assert circle["confirmation"]["p_holm"] < 0.05
    assert re.search(r"km of -?\d+\.\d, -?\d+\.\d$", circle["bottom"])
    exact, _ = tables.audit("--public")
    assert re.search(r"km of -?\d+\.\d{4}, -?\d+\.\d{4}$", by_method(exact)["scan"]["bottom"])
    for row in tables.rows[1:]:
        assert row[4] not in page
    assert [g for g in found["given"] if set(g["columns"]) & {"latitude", "longitude"}] == []


def test_places_of_few_confirmation_speakers_are_hidden(tmp_path):
    tables = Tables(tmp_path, speakers=60, times=8.0)
    rng = np.random.default_rng(3)
    tables.rows[0] += ["latitude", "longitude"]
    for row in tables.rows[1:]:
        middle = (33.0, -88.0) if row[3] == "far" else (41.0, -110.0)
        row += [f"{x + rng.uniform(-0.2, 0.2):.5f}" for x in middle]
    options = ("--min-speakers", "5", "--group", "gender")
    for method, s in by_method(tables.audit(*options)[0]).items():
        judged = s["confirmation"]
        if method in ("tree", "scan") and s["bottom"]:
            assert judged["bottom"]["speakers"] >= 11
        elif method in ("tree", "scan") and s["note"]:
            assert s["note"].startswith("Hidden")
            assert judged is None
    shown = by_method(tables.audit(*options, "--public")[0])["scan"]
    assert shown["confirmation"]["bottom"]["speakers"] < 11


def test_clips_as_units_are_said(tmp_path):
    tables = Tables(tmp_path)
    tables.owner = {u: u for u in tables.owner}
    tables.rows = [["speaker", "gender"], *([u, "f"] for u in tables.owner)]
    found, page = tables.audit()
    assert found["unit"] == "clip"
    assert "Every utterance counts as a speaker of its own" in page


def test_audio_gives_voices_without_a_network(tmp_path):
    tables = Tables(tmp_path, speakers=40, times=4.0)
    rng = np.random.default_rng(0)
    lines = []
    for id, speaker in tables.owner.items():
        far = int(speaker[1:]) % 4 == 0
        noise = rng.normal(size=8000)
        samples = 0.05 * (np.diff(noise, append=0.0) if far else np.convolve(noise, np.ones(8))[7:])
        soundfile.write(tmp_path / f"{id}.wav", samples, 16000)
        lines.append(f"{id} {id}.wav\n")
    (tmp_path / "s001-0.wav").write_bytes(b"no audio")
    (tmp_path / "wav.scp").write_text("".join(lines[:-1]))
    found, _ = tables.audit("--audio", str(tmp_path / "wav.scp"))
    assert "1 audio files cannot be read or are too short: they are left out." in found["notes"]
    assert "1 utterances have no audio in wav.scp." in found["notes"]
    assert by_method(found)["automatic"]["confirmation"]["p_holm"] < 0.05
    (tmp_path / "wav.scp").write_text("other none.wav\n")
    with pytest.raises(DataError, match="no audio of the audited utterances"):
        tables.audit("--audio", str(tmp_path / "wav.scp"))


def test_audio_and_embeddings_together_are_an_error(tmp_path):
    tables = Tables(tmp_path, speakers=4)
    with pytest.raises(ConfigError, match="give one of the two"):
        tables.audit(*tables.voices, "--audio", str(tmp_path / "text"))


def test_a_kaldi_directory_of_ones_own_reaches_the_audit(tmp_path):
    """As egs/kaldi_dir takes it, with speakers.tsv one level up and Windows line ends."""
    tables = Tables(tmp_path / "corpus" / "test", times=4.0)
    tables.write()
    table = tmp_path / "corpus" / "speakers.tsv"
    text = (tmp_path / "corpus/test/speakers.tsv").read_text()
    table.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    files = {"--ref": "text", "--hyp": "hyp.txt", "--utt2spk": "utt2spk"}
    words = [w for k, v in files.items() for w in (k, str(tmp_path / "corpus/test" / v))]
    words += ["--speakers", str(table), "--out", str(tmp_path / "out"), "--permutations", "99"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/audit.json").read_text())
    assert {g["columns"][0] for g in found["given"]} == {"gender", "age", "accent"}
    assert found["finding"].startswith("Worst confirmed cohort: accent far")


def test_the_audit_imports_nothing_of_training(tmp_path, repo):
    tables = Tables(tmp_path, speakers=20, times=4.0)
    words = [*tables.write(), *tables.voices, "--out", str(tmp_path / "out")]
    blocked = ("torch", "torchaudio", "lhotse", "k2", "kaldifeat", "sentencepiece", "meeteval",
               "tensorboard", "submitit", "tqdm")  # fmt: skip
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); sys.argv = sys.argv[:1] + "
    code += f"{['audit', *words, '--permutations', '99']}; from asrlib.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "audit.html").exists()
