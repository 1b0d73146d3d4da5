"""The libricss recipe, on a small folder in the corpus's layout."""

import json
import subprocess

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

NAMES = {
    "0L": "overlap_ratio_0.0_sil2.9_3.0_session{}_actual0.0",
    "0S": "overlap_ratio_0.0_sil0.1_0.5_session{}_actual0.0",
    "OV10": "overlap_ratio_10.0_sil0.1_1.0_session{}_actual10.1",
    "OV20": "overlap_ratio_20.0_sil0.1_1.0_session{}_actual20.0",
    "OV30": "overlap_ratio_30.0_sil0.1_1.0_session{}_actual29.7",
    "OV40": "overlap_ratio_40.0_sil0.1_1.0_session{}_actual39.5",
}
# Two groups: three turns of which each overlaps the next, then one alone.
TURNS = [
    (0.5, 2.5, "1089", "HE HOPED"),
    (2.0, 4.0, "121", "THERE WOULD"),
    (3.5, 5.0, "1089", "BE STEW"),
    (6.0, 7.0, "61", "FOR DINNER"),
]
THREE = [(0.0, 4.0, "1", "A"), (1.0, 4.0, "2", "B"), (2.0, 3.0, "3", "C"), (5.0, 6.0, "1", "D")]


def session(folder, turns):
    text = "start_time\tend_time\tspeaker\tutterance_id\ttranscription\n"
    text += "".join(f"{a}\t{b}\t{s}\t{s}-{i}\t{t}\n" for i, (a, b, s, t) in enumerate(turns))
    (folder / "transcription").mkdir(parents=True)
    (folder / "transcription" / "meeting_info.txt").write_text(text)
    samples_NC = 0.1 * np.random.default_rng(1).standard_normal((8 * 16000, 7))
    for path, channels in (("record/raw_recording.wav", 7), ("clean/mix.wav", 1)):
        (folder / path).parent.mkdir()
        soundfile.write(folder / path, samples_NC[:, :channels], 16000)


@pytest.fixture
def recipe(tmp_path):
    corpus = tmp_path / "libricss" / "for_release"
    for condition, name in NAMES.items():
        for number in (0, 1):
            turns = THREE if (condition, number) == ("OV40", 1) else TURNS
            session(corpus / condition / name.format(number), turns)
    recipe = tmp_path / "egs" / "mine"
    data = recipe / "data" / "parts" / "libricss" / "data"
    data.mkdir(parents=True)
    (data / "corpus.json").write_text(json.dumps({"corpus_dir": str(corpus)}))
    return recipe


def make(repo, recipe, *options):
    command = [repo / "steps" / "make_mixtures.sh", "--recipe", "libricss", "--recipe-dir", recipe]
    (recipe / "conf").mkdir(exist_ok=True)
    (recipe / "conf" / "libricss.yaml").write_text("audio: sdm\n")
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=200)


def read(recipe, name):
    return list(CutSet.from_file(recipe / "data" / name / "cuts.jsonl.gz"))


def test_sessions_become_groups_of_dev_and_test(repo, recipe):
    done = make(repo, recipe)
    assert done.returncode == 0, done.stderr
    assert "left out: OV40_session1-000: three talkers at once" in done.stderr
    dev, test = read(recipe, "mix_dev"), read(recipe, "mix_test")
    assert {c.custom["condition"] for c in dev} == {c.custom["condition"] for c in test}
    assert len(dev) == 12
    assert len(test) == 11  # one has three at once
    group = next(c for c in dev if c.id == "OV20_session0-000")
    assert [
        (s.start, s.end, s.speaker, s.custom["talker_channel"]) for s in group.supervisions
    ] == [
        (0.0, 2.0, "1089", 0),
        (1.5, 3.5, "121", 1),
        (3.0, 4.5, "1089", 0),
    ]
    assert group.load_audio().shape == (1, int(4.5 * 16000))
    assert group.custom["overlap_ratio"] == pytest.approx(1 / 4.5, abs=1e-3)
    truth = json.loads((recipe / "data" / "mix_dev" / "truth.seglst.json").read_text())
    assert len(truth) == 6 * 4
    assert (recipe / "data" / "mix_test" / "truth.stm").exists()


def test_settings_choose_microphone_and_groups(repo, recipe):
    done = make(repo, recipe, "--set", "libricss.audio=ihm-mix", "--set", "libricss.max_pause=1.5")
    assert done.returncode == 0, done.stderr
    dev = read(recipe, "mix_dev")
    assert len(dev) == 6
    assert all(len(c.supervisions) == 4 for c in dev)
    assert all(c.recording.sources[0].source.endswith("mix.wav") for c in dev)


def test_a_part_that_is_missing_is_an_error(repo, recipe, tmp_path):
    (tmp_path / "libricss" / "for_release" / "OV10").rename(tmp_path / "gone")
    done = make(repo, recipe)
    assert done.returncode == 1
    assert "not LibriCSS as released" in done.stderr
    assert "Traceback" not in done.stderr


def test_stage_0_says_what_to_fetch(repo, tmp_path):
    script = repo / "egs" / "libricss" / "local" / "corpus.sh"
    where = ["--recipe-dir", tmp_path / "mine", "--corpus-dir", tmp_path]
    done = subprocess.run([script, *where], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "no LibriCSS there" in done.stderr
