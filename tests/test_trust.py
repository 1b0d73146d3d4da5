"""Files of unknown origin run no code, and names in them reach no shell and leave no directory."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from command_fakes import call, explained, sound, write_recipe
from damage_families import program_of
from hypothesis import given
from hypothesis import strategies as st

from asrlib import checkpoint_file
from asrlib.config import ConfigError, configclass, load_config
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import CheckpointError, DataError
from asrlib.files import file_name, is_plain_name

REPO = Path(__file__).resolve().parents[1]


class Malice:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def torch_file(path: Path, malice: Malice) -> None:
    torch.save({"format": 1, "tree": malice, "kind": "transducer", "tensors": []}, path)


def old_torch_file(path: Path, malice: Malice) -> None:
    torch.save(malice, path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path, malice: Malice) -> None:
    path.write_bytes(pickle.dumps(malice))


def pickle_in_zip(path: Path, malice: Malice) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(malice))
        archive.writestr("archive/version", "3\n")


@pytest.mark.parametrize("write", [torch_file, old_torch_file, plain_pickle, pickle_in_zip])
def test_a_checkpoint_runs_no_code(tmp_path, write):
    path, proof = tmp_path / "final.pt", tmp_path / "proof"
    write(path, Malice(proof))
    with pytest.raises(CheckpointError, match=r"final\.pt"):
        checkpoint_file.load(path, "transducer")
    done = call("transcribe", "--model", path, path)
    assert explained(done, path)
    assert not proof.exists()


def test_the_malice_of_these_tests_would_work(tmp_path):
    pickle.loads(pickle.dumps(Malice(tmp_path / "proof")))
    assert (tmp_path / "proof").is_dir()


def test_embeddings_run_no_code(tmp_path):
    path, proof = tmp_path / "utterances.npz", tmp_path / "proof"
    file = io.BytesIO()
    np.save(file, np.array([Malice(proof)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("ids", "speakers", "vectors"):
            archive.writestr(f"{name}.npy", file.getvalue())
    with pytest.raises(DataError, match=r"utterances\.npz"):
        EmbeddingTable.read(path)
    assert not proof.exists()


@configclass
class Config:
    value: int = 1


@pytest.mark.parametrize(
    "text",
    [
        "value: !!python/object/apply:os.mkdir [{proof}]",
        "value: !!python/object/new:os.mkdir [{proof}]",
        "value: !!python/name:os.mkdir",
        "value: ${{oc.create:{proof}}}",
        'value: ${{eval:\'__import__("os").mkdir("{proof}")\'}}',
    ],
)
def test_a_configuration_runs_no_code(tmp_path, text):
    path, proof = tmp_path / "conf.yaml", tmp_path / "proof"
    path.write_text(text.format(proof=proof))
    with pytest.raises(ConfigError, match=r"conf\.yaml"):
        load_config(Config, "conf", [path])
    assert not proof.exists()


UNSAFE = {
    "pickle.load": None,
    "pickle.loads": None,
    "marshal.loads": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "os.system": None,
    "os.popen": None,
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
}


def _calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_no_reader_can_run_code_and_nothing_is_given_to_a_shell():
    seen = set()
    for folder in ("asrlib", "local", "egs", "tools"):
        for path in sorted((REPO / folder).rglob("*.py")):
            for name, options in _calls(ast.parse(path.read_text(encoding="utf-8"))):
                where = f"{path.relative_to(REPO)}: {name}"
                assert options.get("shell", "False") == "False", where
                assert name not in ("eval", "exec"), where
                if name == "yaml.load":
                    assert options.get("Loader") in ("yaml.SafeLoader", "yaml.BaseLoader"), where
                if name in UNSAFE:
                    seen.add(name)
                    required = UNSAFE[name]
                    assert required is not None, where
                    assert options.get(required[0]) == str(required[1]), where
    assert seen == {"torch.load", "np.load"}


@given(st.text(max_size=300))
def test_a_file_name_of_an_id_stays_in_its_directory(id):
    name = file_name(id, ".svg")
    assert is_plain_name(name)
    assert len(os.fsencode(name)) < 200
    assert Path("a", name).resolve().parent == Path("a").resolve()


@given(st.lists(st.text(alphabet="a./-é \n\0", max_size=5), unique=True, max_size=20))
def test_different_ids_have_different_file_names(ids):
    assert len({file_name(id) for id in ids}) == len(ids)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+=@,-]{0,90}", fullmatch=True))
def test_a_plain_id_is_its_file_name(id):
    assert file_name(id, ".x") == f"{id}.x"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "a\0"])
def test_a_path_is_no_plain_name(name):
    assert not is_plain_name(name)
    assert is_plain_name("a.b-c_d e")


@pytest.mark.parametrize("plan", ["../../climbed", "/tmp/climbed", ".hidden", ""])
def test_a_record_cannot_publish_outside_the_results(tmp_path, plan):
    """run.json names its plan, and publishing makes a directory of that name."""
    from asrlib.experiments.publish import collect_run
    from asrlib.recipe import Recipe

    path = tmp_path / "exp" / "m" / "run.json"
    path.parent.mkdir(parents=True)
    machine = {"cpu": "c", "cores": 1, "matrix_code": None}
    nothing = {"factors": {}, "argv": [], "git": None, "config": {}, "data": {}, "start": None}
    record = {"name": "m", "model": "m", "plan": plan, **nothing, "processor": machine}
    record |= {"device": "cpu", "versions": {}, "started": ""}
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="its plan"):
        collect_run(Recipe(tmp_path), "m")


SHELLY = "$(touch pwned); `touch pwned`; ../../x | touch pwned"


def test_ids_with_shell_words_and_climbing_paths_pass_the_pipeline(tmp_path, monkeypatch):
    """Stage 1 to 6 with ids, speakers and file names that a shell would run."""
    recipe = tmp_path / "deep" / "er" / "recipe"
    recipe.mkdir(parents=True)
    monkeypatch.chdir(recipe)
    monkeypatch.setattr("asrlib.cli.fbank.run_array", lambda f, shards, **_: [f(s) for s in shards])
    write_recipe(recipe)
    audio = recipe / "wav" / "$(touch pwned); -rf `touch pwned`.wav"
    (recipe / "wav" / "test-0.wav").rename(audio)
    table = recipe / "data" / "raw" / "test.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[0] |= {"id": SHELLY, "speaker": SHELLY, "audio": str(audio)}
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("--recipe-dir", recipe)
    stages = (("manifests",), ("fbank", "--nj", "1"), ("tokens",), ("train", "--model", "tiny"))
    stages += (("decode", "--name", "tiny"), ("score", "--name", "tiny"), ("publish",))
    for stage in stages:
        done = call(*stage, *where)
        assert done.code == 0, done.err
    with gzip.open(recipe / "data" / "test" / "cuts.jsonl.gz", "rt") as lines:
        assert SHELLY in {json.loads(line)["id"] for line in lines}
    counts = recipe / "exp" / "tiny" / "decode_test_greedy" / "utt_counts.jsonl"
    assert SHELLY in {json.loads(line)["utterance"] for line in counts.read_text().splitlines()}
    assert [path.name for path in recipe.parent.iterdir()] == ["recipe"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert not list(tmp_path.rglob("pwned"))


def test_copies_of_sphere_files_stay_in_the_recipe(tmp_path):
    """wav.scp may name files by paths with `..`; their copies must not climb, too."""
    corpus, copies = tmp_path / "corpus" / "train", tmp_path / "recipe" / "data" / "audio"
    corpus.mkdir(parents=True)
    path = tmp_path / "a" / "b" / "speech.sph"
    path.parent.mkdir(parents=True)
    soundfile.write(path, sound(0.5, 16000, 1), 16000, format="NIST", subtype="PCM_16")
    up = "/".join([".."] * 40)
    (corpus / "wav.scp").write_text(f"u1 {up}{path}\nu2 {tmp_path}/x/../a/b/speech.sph\n")
    (corpus / "text").write_text("u1 ONE\nu2 TWO\n")
    read_set = program_of("kaldi_dir").read_set
    for row in read_set(corpus, copies):
        copy = Path(row.audio).resolve()
        assert copy.is_relative_to(copies), copy
        assert soundfile.info(copy).format == "FLAC"
    before = copy.stat().st_mtime_ns
    soundfile.write(path, sound(0.5, 16000, 2), 16000, format="NIST", subtype="PCM_16")
    os.utime(path, (1, 1))  # another source with an older date
    read_set(corpus, copies)
    assert copy.stat().st_mtime_ns != before


def test_yaml_of_this_test_is_what_it_says():
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load("value: !!python/object/apply:os.mkdir [x]")
