"""The recipes of real corpora, on the corpora and on small ones of the same layout."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.recipes.librispeech import prepare_librispeech
from recipe_steps import cuts, noise, prepare, raw, speakers, step

SETS = {"an4": 3, "speechocean762": 3, "librispeech": 3, "pooled": 4}


@pytest.fixture(scope="module", params=SETS)
def prepared(request, repo, shared_data, tmp_path_factory) -> tuple[str, dict[str, list[dict]]]:
    """A recipe's name, and its raw tables of the real corpus."""
    recipe = request.param
    recipe_dir = tmp_path_factory.mktemp(recipe)
    corpus = shared_data if recipe == "pooled" else shared_data / recipe
    prepare(repo, recipe, recipe_dir, corpus, "raw.sh" if recipe == "pooled" else "raw.py")
    return recipe, raw(recipe_dir)


@pytest.mark.realdata
def test_nothing_is_lost_and_no_speaker_is_in_two_sets(prepared):
    recipe, sets = prepared
    totals = {"an4": 948 + 130, "speechocean762": 5000, "librispeech": 614}
    totals["pooled"] = sum(totals.values())
    rows = [row for rows in sets.values() for row in rows]
    assert len(rows) == totals[recipe]
    assert len({row["id"] for row in rows}) == len(rows)
    assert len(sets) == SETS[recipe]
    assert sum(len(speakers(r)) for r in sets.values()) == len(speakers(rows))
    assert all(Path(row["audio"]).is_file() for row in rows)
    assert all(row["gender"] in ("f", "m") and row["text"] for row in rows)


@pytest.mark.realdata
def test_the_sets(prepared):
    recipe, sets = prepared
    found = {name: (len(rows), len(speakers(rows))) for name, rows in sets.items()}
    expected = {
        "an4": {"train": (847, 66), "dev": (101, 8), "test": (130, 10)},
        "speechocean762": {"train": (2260, 113), "dev": (240, 12), "test": (2500, 125)},
        "librispeech": {"train": (564, 200), "dev": (20, 20), "test": (30, 30)},
        "pooled": {
            "train": (847 + 2260 + 614, 66 + 113 + 250),
            "dev": (341, 20),
            "test_an4": (130, 10),
            "test_so762": (2500, 125),
        },
    }
    assert found == expected[recipe]
    assert {row["gender"] for row in sets["dev"]} == {"f", "m"}
    if recipe == "speechocean762":
        groups = {(row["gender"], row["age"] < 16) for row in sets["dev"]}
        assert len(groups) == 4


@pytest.mark.realdata
def test_common_voice_can_join_the_pool(repo, shared_data, tmp_path):
    """Its short clips are trained on, its accents are a test set; the other sets stay the same."""
    members = "pool.members=[speechocean762,an4,librispeech,commonvoice]"
    where = ("--recipe-dir", tmp_path, "--set", members, "--set", "pool.max_seconds.librispeech=9")
    for done in (
        step(repo, "pooled", "corpus.sh", *where, "--corpus-dir", shared_data),
        step(repo, "pooled", "raw.sh", *where),
    ):
        assert done.returncode == 0, done.stderr
    sets = raw(tmp_path)
    joined = [row for row in sets["train"] if row["speaker_meta"]["corpus"] == "commonvoice"]
    assert len(joined) == 2089
    assert max(soundfile.info(row["audio"]).duration for row in joined) <= 6.0
    books = [row for row in sets["train"] if row["speaker_meta"]["corpus"] == "librispeech"]
    assert 0 < len(books) < 614
    assert len(sets["train"]) == 847 + 2260 + len(joined) + len(books)
    assert {name: len(rows) for name, rows in sets.items() if name != "train"} == {
        "dev": 341,
        "test_an4": 130,
        "test_so762": 2500,
        "test_accents": 1350,
    }
    assert all("accent" in row["speaker_meta"] for row in sets["test_accents"])
    assert not any("accent" in row["speaker_meta"] for row in joined)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("members=[librispeech]", "has a dev set"),
        ("members=[an5]", "an4"),
        ("max=1", "max_seconds"),
    ],
)
def test_a_wrong_pool_is_explained(repo, tmp_path, value, named):
    where = ("--recipe-dir", tmp_path, "--set", f"pool.{value}")
    done = step(repo, "pooled", "corpus.sh", *where, "--corpus-dir", tmp_path)
    assert done.returncode == 1
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.realdata
def test_private_utterances_are_marked(prepared):
    recipe, sets = prepared
    rows = [row for rows in sets.values() for row in rows]
    private = {row["id"] for row in rows if row.get("custom", {}).get("private")}
    assert private == {row["id"] for row in rows if re.match("cen[1-8]-", row["id"])}
    assert bool(private) == (recipe in ("an4", "pooled"))


@pytest.mark.realdata
def test_an4_manifests(repo, shared_data, tmp_path):
    prepare(repo, "an4", tmp_path, shared_data / "an4", "make_manifests.sh")
    assert (tmp_path / "data" / "quarantine.tsv").read_text() == "id\tpath\treason\n"
    table = (tmp_path / "data" / "speakers.tsv").read_text().splitlines()
    assert len(table) == 1 + 66 + 8 + 10
    test = cuts(tmp_path, "test")
    assert sum(len(cut.supervisions[0].text.split()) for cut in test) == 773
    assert sum(cut.duration for cut in test) == pytest.approx(6.0 * 60, rel=0.02)
    again = step(repo, "an4", "make_manifests.sh", "--recipe-dir", tmp_path)
    assert "up to date" in again.stderr


@pytest.fixture
def small_an4(tmp_path) -> Path:
    """Four training speakers, one of test, SPHERE audio: the original's layout."""
    corpus = tmp_path / "an4"
    (corpus / "etc").mkdir(parents=True)
    for name, people in (("train", ["fone", "ftwo", "mone", "mtwo"]), ("test", ["mtst"])):
        folder = "an4_clstk" if name == "train" else "an4test_clstk"
        ids = [f"{folder}/{p}/an{n}-{p}-b" for p in people for n in (1, 2)]
        lines = [f"<s> YES </s> ({i.rsplit('/', 1)[1]})\n" for i in ids]
        (corpus / "etc" / f"an4_{name}.fileids").write_text("\n".join(ids) + "\n")
        (corpus / "etc" / f"an4_{name}.transcription").write_text("".join(lines))
        for file_id in ids:
            noise(corpus / "wav" / f"{file_id}.sph", format="NIST", subtype="PCM_16")
    return corpus


def test_an4_as_it_comes(repo, tmp_path, small_an4):
    """SPHERE audio becomes something lhotse reads, sample for sample; a broken file is named."""
    lost = small_an4 / "wav" / "an4_clstk" / "fone" / "an1-fone-b.sph"
    lost.write_bytes(lost.read_bytes()[:5000])
    where = ("--recipe-dir", tmp_path)
    assert step(repo, "an4", "corpus.sh", *where, "--corpus-dir", small_an4).returncode == 0
    done = step(repo, "an4", "make_manifests.sh", *where, "--set", "manifests.error_budget=0.2")
    assert done.returncode == 0, done.stderr
    found = {cut.id: cut for name in ("train", "dev", "test") for cut in cuts(tmp_path, name)}
    assert len(found) == 9
    assert {cut.supervisions[0].text for cut in found.values()} == {"YES"}
    sphere, _ = soundfile.read(
        small_an4 / "wav" / "an4test_clstk" / "mtst" / "an2-mtst-b.sph", dtype="float32"
    )
    np.testing.assert_array_equal(found["an2-mtst-b"].load_audio()[0], sphere)
    table = (tmp_path / "data" / "quarantine.tsv").read_text().splitlines()
    assert len(table) == 2
    assert table[1].startswith(f"an1-fone-b\t{lost}\ttruncated")


def test_an4_half_there(repo, tmp_path, small_an4):
    transcription = small_an4 / "etc" / "an4_test.transcription"
    transcription.write_text("".join(transcription.open().readlines()[:-1]))
    where = ("--recipe-dir", tmp_path)
    assert step(repo, "an4", "corpus.sh", *where, "--corpus-dir", small_an4).returncode == 0
    done = step(repo, "an4", "make_manifests.sh", *where)
    assert done.returncode == 1
    assert "an4_test.fileids has 2 lines, .transcription 1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_librispeech(tmp_path) -> Path:
    """Two parts of two readers each, in the original's layout."""
    corpus = tmp_path / "LibriSpeech"
    readers = {"train-clean-100": ("19", "26"), "dev-clean": ("84", "174")}
    for part, ids in readers.items():
        for reader in ids:
            chapter = corpus / part / reader / "7"
            lines = [f"{reader}-7-000{n} SOME WORDS OF {reader}\n" for n in (0, 1)]
            for line in lines:
                noise(chapter / f"{line.split()[0]}.flac", 2.0)
            (chapter / f"{reader}-7.trans.txt").write_text("".join(lines))
    (corpus / "SPEAKERS.TXT").write_text(
        "; head\n19 | F | train-clean-100 | 25 | |A|B\n26|M|train-clean-100|2|A\n84 | f | x | 1 | A"
    )
    return corpus


def test_librispeech_agrees_with_lhotse(repo, tmp_path, small_librispeech):
    theirs = prepare_librispeech(small_librispeech)
    where = ("--recipe-dir", tmp_path)
    found = step(repo, "librispeech", "corpus.sh", *where, "--corpus-dir", tmp_path)
    assert found.returncode == 0, found.stderr
    assert step(repo, "librispeech", "raw.py", *where).returncode == 0
    ours = raw(tmp_path)
    assert {row["gender"] for row in ours["train"]} == {"f", "m"}
    for part, name in (("train-clean-100", "train"), ("dev-clean", "dev")):
        rows = ours[name] + (ours["test"] if name == "train" else [])
        expected = {
            s.id: (s.text, s.speaker, theirs[part]["recordings"][s.id].sources[0].source)
            for s in theirs[part]["supervisions"]
        }
        assert {r["id"]: (r["text"], r["speaker"], r["audio"]) for r in rows} == expected


def test_kaldi_dir(repo, tmp_path):
    """Sets are what is there; dev comes out of train where there is none; facts are joined."""
    for name in ("train", "test_far"):
        for n in range(4):
            noise(tmp_path / "kaldi" / name / f"{name}{n}.sph", format="NIST", subtype="PCM_16")
        ids = [f"{name}{n}" for n in range(4)]
        tables = {
            "wav.scp": [f"{i} {i}.sph" for i in ids],
            "text": [f"{i} hello, world!" for i in ids],
            "utt2spk": [f"{i} {i}" for i in ids],
        }
        for table, lines in tables.items():
            (tmp_path / "kaldi" / name / table).write_text("\n".join(lines) + "\n")
    facts = ["speaker\tzip\tlatitude\tlongitude\tdialect"]
    facts += [f"test_far{n}\t0213{n}\t42.{n}\t-71\teast" for n in range(3)]
    (tmp_path / "kaldi" / "speakers.tsv").write_text("\n".join(facts) + "\n")
    prepare(repo, "kaldi_dir", tmp_path, tmp_path / "kaldi", "make_manifests.sh")
    found = {name: cuts(tmp_path, name) for name in ("train", "dev", "test_far")}
    assert [len(c) for c in found.values()] == [3, 1, 4]
    assert {c.supervisions[0].text for cs in found.values() for c in cs} == {"HELLO WORLD"}
    assert all(c.load_audio().shape == (1, 16000) for cs in found.values() for c in cs)
    table = (tmp_path / "data" / "speakers.tsv").read_text().splitlines()
    assert table[0] == "speaker\tset\tgender\tage\tdialect\tlatitude\tlongitude\tzip"
    assert "test_far1\ttest_far\t\t\teast\t42.1\t-71\t02131" in table
    assert "test_far3\ttest_far" + 6 * "\t" in table


def test_manifests_before_the_corpus_name_the_stage(repo, tmp_path):
    done = step(repo, "an4", "make_manifests.sh", "--recipe-dir", tmp_path)
    assert done.returncode == 1
    assert "run stage 0" in done.stderr
    assert "Traceback" not in done.stderr
