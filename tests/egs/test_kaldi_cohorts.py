"""A Kaldi directory of a user's own, with speakers.tsv, reaches stage 9."""

from __future__ import annotations

import json
import subprocess

from cohort_fakes import write_counts
from recipe_steps import noise, prepare
from scoring_fakes import entry, write_decode

from asrlib.cohorts.confirm import ConfirmedMethod

SPEAKERS = 90


def kaldi(directory, name, count):
    ids = [f"{name}{n:02d}" for n in range(count)]
    for i in ids:
        noise(directory / name / f"{i}.wav")
    tables = {
        "wav.scp": [f"{i} {i}.wav" for i in ids],
        "text": [f"{i} hello world" for i in ids],
        "utt2spk": [f"{i} {i}" for i in ids],
    }
    for table, lines in tables.items():
        (directory / name / table).write_text("\n".join(lines) + "\n")
    return ids


def test_speakers_tsv_of_a_kaldi_directory_reaches_stage_nine(repo, tmp_path):
    corpus, recipe = tmp_path / "kaldi", tmp_path / "recipe"
    kaldi(corpus, "train", 3)
    ids = kaldi(corpus, "test", SPEAKERS)
    # Every third speaker lives near Boston, and has five times the errors of those near Denver.
    homes = [("42.%d", "-71.%d") if n % 3 == 0 else ("39.%d", "-105.%d") for n in range(SPEAKERS)]
    facts = ["speaker\tlatitude\tlongitude"]
    facts += [
        f"{i}\t{a % (n % 7)}\t{o % (n % 5)}"
        for n, (i, (a, o)) in enumerate(zip(ids, homes, strict=True))
    ]
    (corpus / "speakers.tsv").write_text("\n".join(facts) + "\n")
    prepare(repo, "kaldi_dir", recipe, corpus, "make_manifests.sh")
    ref = ["WORD"] * 50
    entries = []
    for n, i in enumerate(ids):
        wrong = 25 + n % 2 if n % 3 == 0 else 5 + n % 2
        entries.append(entry(i, i, " ".join(ref), " ".join(["X"] * wrong + ref[wrong:])))
    decode = write_decode(recipe / "exp" / "m" / "decode_test_greedy", entries)
    write_counts(decode)
    same = ["--name", "m", "--set-name", "test", "--confirm", "test", "--recipe-dir", recipe]
    small = ["--set", "cohorts.min_speakers=11", "--set", "cohorts.permutations=19"]
    small += ["--set", "score.permutations=199"]
    for script in ("find_cohorts", "confirm_cohorts"):
        words = [repo / "steps" / f"{script}.sh", *same, *small]
        done = subprocess.run(words, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        if script == "find_cohorts":
            assert "no embeddings of stage 8" in done.stdout
    found = json.loads((recipe / "exp/cohorts/found.json").read_text())["methods"]
    assert found["automatic"].startswith("nothing found: There are no embeddings")
    scan = ConfirmedMethod.from_file(recipe / "exp/cohorts/scan/confirmation.json", "").judged
    assert scan.discovery_speakers + scan.confirmation_speakers == SPEAKERS
    assert scan.is_confirmed
    assert scan.bottom.percent > 40
