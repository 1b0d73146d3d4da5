"""The voxceleb recipe, on a small folder in the corpus's layout."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from lhotse.recipes import voxceleb
from recipe_steps import copied, cuts, noise, prepare, raw, speakers, step

from asrlib.installation import HERE
from asrlib.verification.records import Verification

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
SMALL = {
    "augment": {"speeds": [1.0]},
    "model/speaker/ecapa": {"extractor": {"channels": 16, "aggregate_dim": 16, "se_dim": 8}},
    "speaker": {"speakers": 2, "per_epoch": 2, "dev_utts": 4, "crop_seconds": 1.0}
    | {"train": {"max_steps": 2, "warmup_steps": 1, "valid_interval": 1}},
}


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


def add_voxceleb2(corpus: Path) -> Path:
    second = corpus.parent / "voxceleb2"
    clips(second / "dev", [f"id0000{n}" for n in range(4)])
    (second / "vox2_meta.csv").write_text(META_2)
    return second


def test_with_voxceleb2_all_of_voxceleb1_is_for_testing(repo, tmp_path, corpus):
    add_voxceleb2(corpus)
    prepare(repo, "voxceleb", tmp_path, corpus.parent, "raw.py")
    sets = raw(tmp_path)
    assert speakers(sets["train"] + sets["dev"]) == {f"id0000{n}" for n in range(4)}
    assert len(speakers(sets["test"])) == 2
    assert len(speakers(sets["test_rest"])) == 4
    assert sorted(p.stem for p in (tmp_path / "data" / "trials").iterdir()) == ["H", "O"]


def every_trial() -> str:
    """A list of all speakers of VoxCeleb1: each against itself, and against each other."""
    ids = [line.split("\t")[0] for line in META.splitlines()[1:]]
    lines = [f"1 {s}/vid0/00001.wav {s}/vid1/00001.wav\n" for s in ids]
    pairs = itertools.combinations(ids, 2)
    return "".join([*lines, *(f"0 {a}/vid0/00001.wav {b}/vid0/00001.wav\n" for a, b in pairs)])


def small_house(repo: Path, folder: Path) -> Path:
    """A copy of the project whose recipe trains a tiny model for two steps."""
    house = copied(repo, folder)
    (house / HERE.name).symlink_to(repo / HERE.name)
    for name, values in SMALL.items():
        path = house / f"egs/voxceleb/conf/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    return house


def test_stage_8_scores_each_list_by_gender_and_nationality(repo, tmp_path, corpus):
    """The lists E and H span two sets; two clips of a video are no target trial on dev."""
    for video in (add_voxceleb2(corpus) / "dev" / "wav").glob("*/vid0"):
        noise(video / "00002.wav", 2.0)
    (corpus / "list_test_all2.txt").write_text(every_trial())
    house = small_house(repo, tmp_path / "house")
    recipe = house / "egs/voxceleb"
    where = ("--recipe-dir", recipe, "--corpus-dir", corpus.parent)
    assert step(house, "voxceleb", "corpus.sh", *where).returncode == 0
    quick = [f"verification.{key}=100" for key in ("replicates", "permutations")]
    quick = [word for value in quick for word in ("--set", value)]
    models = ["--speaker-models", "speaker/ecapa", *quick]
    for stages in (["--stage", "1", "--stop-stage", "2"], ["--stage", "8", "--stop-stage", "8"]):
        command = [recipe / "run.sh", "--nj", "2", *stages, *models]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
    scored = sorted((recipe / "exp/speaker_ecapa").glob("verify_*"))
    assert [path.name for path in scored] == ["verify_E", "verify_H", "verify_O"]
    found = {p.name[-1]: Verification.from_file(p / "verification.json", "") for p in scored}
    counts = {name: (v.speakers, v.targets, v.impostor_trials) for name, v in found.items()}
    assert counts == {"E": (6, 6, 15), "H": (2, 1, 1), "O": (2, 1, 1)}
    for name, one in found.items():
        assert (one.set, one.trials, list(one.groups)) == (name, "list", ["gender", "nationality"])
        assert one.threshold.dev_misses.trials == 2 * 2
    nations = {g.value: g.speakers for g in found["E"].groups["nationality"].groups}
    assert nations == {"India": 1, "Ireland": 1, "UK": 1, "USA": 3}


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
