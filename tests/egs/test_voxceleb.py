"""The voxceleb recipe, on a small folder in the corpus's layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lhotse.recipes import voxceleb
from recipe_steps import cuts, noise, prepare, raw, speakers, step

META = """VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet
id10001\tA_Name\tm\tIreland\tdev
id10002\tB_Name\tf\tUSA\tdev
id10003\tC_Name\tm\tUSA\tdev
id10004\tD_Name\tf\tIndia\tdev
id10270\tE_Name\tm\tUK\ttest
id10271\tF_Name\tf\tUSA\ttest
"""
META_2 = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \n" + "".join(
    f"id0000{n} ,n00000{n} ,{'fm'[n % 2]} ,dev\n" for n in range(4)
)
TRIALS = "1 id10270/vid0/00001.wav id10270/vid1/00001.wav\n"
TRIALS += "0 id10270/vid0/00001.wav id10271/vid0/00001.wav\n"


def clips(folder: Path, ids: list[str]) -> None:
    for speaker in ids:
        for video in ("vid0", "vid1"):
            noise(folder / "wav" / speaker / video / "00001.wav", 2.0)


@pytest.fixture
def corpus(repo, tmp_path) -> Path:
    """A recipe directory's conf, and VoxCeleb1 with six speakers."""
    shutil.copytree(repo / "egs" / "voxceleb" / "conf", tmp_path / "conf")
    corpus = tmp_path / "vox" / "voxceleb1"
    clips(corpus, [line.split("\t")[0] for line in META.splitlines()[1:]])
    (corpus / "vox1_meta.csv").write_text(META)
    (corpus / "veri_test2.txt").write_text(TRIALS)
    (corpus / "list_test_hard.txt").write_text(TRIALS.replace("id10271", "id10001"))
    return corpus


def test_stages_1_and_2_need_no_text(repo, tmp_path, corpus):
    prepare(repo, "voxceleb", tmp_path, corpus, "make_manifests.sh")
    found = {name: cuts(tmp_path, name) for name in ("train", "dev", "test")}
    assert [len(c) for c in found.values()] == [4, 4, 4]  # one woman and one man stay in train
    assert {c.supervisions[0].speaker for c in found["test"]} == {"id10270", "id10271"}
    table = (tmp_path / "data" / "speakers.tsv").read_text()
    assert "id10270\ttest\tm\t\tvoxceleb1\tUK\n" in table
    assert "Name" not in table
    assert (tmp_path / "data" / "quarantine.tsv").read_text() == "id\tpath\treason\n"
    features = step(repo, "voxceleb", "make_fbank.sh", "--recipe-dir", tmp_path)
    assert features.returncode == 0, features.stderr
    assert (tmp_path / "data" / "test" / "cuts_fbank.jsonl.gz").exists()


def test_utterances_agree_with_lhotse(repo, tmp_path, corpus):
    prepare(repo, "voxceleb", tmp_path, corpus, "raw.py")
    ours = raw(tmp_path)
    theirs = voxceleb._prepare_voxceleb_v1(corpus, 1)
    for part, names in (("train", ("train", "dev")), ("test", ("test",))):
        expected = {
            (s.id, s.speaker, s.gender, s.custom["nationality"])
            for s in theirs[part]["supervisions"]
        }
        rows = [row for name in names for row in ours[name]]
        assert {
            (r["id"], r["speaker"], r["gender"], r["speaker_meta"]["nationality"]) for r in rows
        } == expected


def test_trials_of_trained_speakers_are_left_out(repo, tmp_path, corpus):
    prepare(repo, "voxceleb", tmp_path, corpus, "raw.py")
    trials = tmp_path / "data" / "trials"
    assert [p.name for p in trials.iterdir()] == ["O.txt"]
    ids = {row["id"] for row in raw(tmp_path)["test"]}
    lines = [line.split() for line in (trials / "O.txt").read_text().splitlines()]
    assert [label for label, *_ in lines] == ["1", "0"]
    assert {clip for _, *pair in lines for clip in pair} <= ids
    log = (tmp_path / "data" / "log" / "raw.log").read_text()
    assert "no trials VoxCeleb1-H: its speakers are trained on" in log
    assert "no trials VoxCeleb1-E: list_test_all2.txt is missing" in log


def test_with_voxceleb2_all_of_voxceleb1_is_for_testing(repo, tmp_path, corpus):
    second = corpus.parent / "voxceleb2"
    clips(second / "dev", [f"id0000{n}" for n in range(4)])
    (second / "vox2_meta.csv").write_text(META_2)
    prepare(repo, "voxceleb", tmp_path, corpus.parent, "raw.py")
    sets = raw(tmp_path)
    assert speakers(sets["train"] + sets["dev"]) == {f"id0000{n}" for n in range(4)}
    assert len(speakers(sets["test"])) == 2
    assert len(speakers(sets["test_rest"])) == 4
    assert sorted(p.stem for p in (tmp_path / "data" / "trials").iterdir()) == ["H", "O"]


def broken(corpus: Path, fault: str) -> None:
    if fault == "unknown speaker":
        clips(corpus, ["id99999"])
    elif fault == "half a table":
        (corpus / "vox1_meta.csv").write_text(META + "id10272\tG\n")
    elif fault == "malformed trial":
        (corpus / "veri_test2.txt").write_text(TRIALS + "1 id10270/vid0/00001.wav\n")
    else:
        for path in corpus.rglob("*.wav"):
            path.rename(path.with_suffix(".m4a"))


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("unknown speaker", "speaker id99999 is not in the table"),
        ("half a table", "vox1_meta.csv: line 8: half-written"),
        ("malformed trial", "veri_test2.txt: line 3: not a line"),
        ("m4a", "ffmpeg -i IN.m4a"),
    ],
)
def test_faults_are_named(repo, tmp_path, corpus, fault, named):
    broken(corpus, fault)
    where = ("--recipe-dir", tmp_path)
    assert step(repo, "voxceleb", "corpus.sh", *where, "--corpus-dir", corpus).returncode == 0
    done = step(repo, "voxceleb", "raw.py", *where)
    assert done.returncode == 1
    assert named in done.stderr
    assert "Traceback" not in done.stderr
