"""The store: what is published stays, and what cannot be read is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_fakes import plant_run, run_record

from asrlib.errors import DataError
from asrlib.experiments.publish import collect_run, publish, shown_ids
from asrlib.experiments.run_scores import Counts, PublishedRun
from asrlib.experiments.store import FORMAT, Imported, read_plan, read_store, write_run
from asrlib.recipe import Recipe


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    (tmp_path / "demo").mkdir()
    return Recipe(tmp_path / "demo")


def published(recipe: Recipe, **record) -> PublishedRun:
    """A run that was planted and published."""
    made = run_record(**record)
    plant_run(recipe.dir, made)
    publish(recipe, [made.name])
    return collect_run(recipe, made.name)[0]


def content(recipe: Recipe) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (recipe.dir / "results").rglob("*.json")}


def test_what_is_written_comes_back_equal(recipe):
    run = published(recipe)
    assert read_store(recipe.dir)[0].runs == (run,)
    assert read_plan(recipe.dir, "main").runs == (run,)
    assert sum(c.words for c in run.sets[0].speakers.values()) == run.sets[0].wer.words


numbers = st.integers(0, 10**6)


@given(
    counts=st.dictionaries(st.text(max_size=4), st.tuples(numbers, numbers, numbers, numbers)),
    seed=st.integers(0, 2**31),
)
def test_any_counts_come_back_equal(tmp_path_factory, counts, seed):
    folder = tmp_path_factory.mktemp("store")
    plant = tmp_path_factory.getbasetemp() / "planted"
    if not plant.exists():
        plant_run(plant, run_record())
    base, _ = collect_run(Recipe(plant), "lstm")
    speakers = {id: Counts(*c) for id, c in counts.items()}
    run = replace(
        base, record=run_record(seed=seed), sets=(replace(base.sets[0], speakers=speakers),)
    )
    write_run(folder, run)
    assert read_plan(folder, "main").runs == (run,)


def test_a_speaker_has_a_line_of_its_own(recipe):
    run = published(recipe)
    text = (recipe.dir / "results" / "main" / "lstm.json").read_text()
    for id, counts in run.sets[0].speakers.items():
        assert f'"{id}": {json.dumps(list(counts))}' in text
    lines = [line for line in text.splitlines() if '"1": [' in line]
    assert len(lines) == 1
    assert len(text) < 12_000


def test_publishing_again_changes_no_byte(recipe):
    published(recipe)
    before = content(recipe)
    publish(recipe)
    assert content(recipe) == before


def test_another_run_of_the_same_name_replaces_nothing(recipe):
    first = published(recipe, train__epochs=30)
    before = content(recipe)
    second = published(recipe, train__epochs=2)
    assert before.items() <= content(recipe).items()
    assert {r.record.identity for r in read_plan(recipe.dir, "main").runs} == {
        first.record.identity,
        second.record.identity,
    }


def test_scores_of_other_sets_of_the_run_are_kept(recipe):
    run = published(recipe)
    meta = replace(run.sets[0].meta, search="modified_beam")
    write_run(recipe.dir, replace(run, sets=(replace(run.sets[0], meta=meta),)))
    (found,) = read_plan(recipe.dir, "main").runs
    assert [s.meta.search for s in found.sets] == ["greedy", "modified_beam"]


def spoil_format(values: dict) -> None:
    values["format"] = FORMAT + 1


def spoil_rate(values: dict) -> None:
    values["run"]["sets"][0]["wer"]["insertions"] = 0


def spoil_keys(values: dict) -> None:
    values.clear()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_format, f"of format {FORMAT + 1}, this version reads {FORMAT}"),
        (spoil_rate, "was changed after it was published"),
        (spoil_keys, "no published run"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_and_stays(recipe, spoil, reason):
    published(recipe)
    published(recipe, name="other", model="other")
    path = recipe.dir / "results" / "main" / "lstm.json"
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    found = read_plan(recipe.dir, "main")
    assert [r.record.name for r in found.runs] == ["other"]
    assert [(s.path, s.reason) for s in found.skipped] == [("results/main/lstm.json", reason)]
    before = path.read_bytes()
    done = publish(recipe)
    assert path.read_bytes() == before  # nothing of it is lost
    assert any(reason in s.reason for s in done.skipped)
    assert [p.stem for p in done.files] == ["other"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"[" * 100_000])
def test_whatever_lies_in_a_folder_reading_does_not_fail(recipe, raw):
    published(recipe)
    folder = recipe.dir / "results" / "main"
    for name in ("zzz.json", "about.json", "tuning.json", "imported.json"):
        (folder / name).write_bytes(raw)
    (folder / "a_folder.json").mkdir()
    found = read_plan(recipe.dir, "main")
    assert len(found.runs) == 1
    assert len(found.skipped) == 5


def test_a_file_in_another_plans_folder_is_foreign(recipe):
    published(recipe)
    other = recipe.dir / "results" / "other"
    other.mkdir()
    (recipe.dir / "results" / "main" / "lstm.json").rename(other / "lstm.json")
    (skipped,) = read_plan(recipe.dir, "other").skipped
    assert skipped.reason == "is of run lstm of plan main"


def test_speakers_are_numbers_that_all_runs_share_unless_the_corpus_is_public(recipe):
    hidden = [published(recipe, name=n, seed=s).sets[0] for n, s in (("a", 1), ("b", 2))]
    assert set(hidden[0].speakers) == {str(n) for n in range(1, 9)}
    assert {id: c.words for id, c in hidden[0].speakers.items()} == {
        id: c.words for id, c in hidden[1].speakers.items()
    }
    assert not any(b"s03" in raw for raw in content(recipe).values())
    (recipe.dir / "conf").mkdir()
    (recipe.dir / "conf" / "publish.yaml").write_text("public: true\n")
    assert set(collect_run(recipe, "a")[0].sets[0].speakers) == {f"s{n:02d}" for n in range(8)}


def test_numbers_do_not_follow_the_order_of_ids():
    ids = [f"{n:03d}" for n in range(100)]
    shown = shown_ids(ids, "test", public=False)
    assert sorted(map(int, shown.values())) == list(range(1, 101))
    assert [int(shown[id]) for id in ids] != list(range(1, 101))
    assert shown_ids(reversed(ids), "test", public=False) == shown


def test_scores_of_a_model_that_was_trained_anew_are_not_published(recipe):
    published(recipe)
    run_record(train__epochs=9).to_file(recipe.exp / "lstm" / "run.json")
    done = publish(recipe)
    assert not done.files
    assert "decoded by another training" in done.skipped[0].reason


def test_runs_without_a_record_are_told(recipe):
    published(recipe)
    (recipe.exp / "lstm" / "run.json").unlink()
    (skipped,) = publish(recipe).skipped
    assert "run.json: missing" in skipped.reason


def test_counts_that_do_not_add_up_are_not_published(recipe):
    published(recipe)
    path = recipe.exp / "lstm" / "decode_test_greedy" / "utt_counts.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    (skipped,) = publish(recipe).skipped
    assert "does not add up" in skipped.reason


KILLED = """
import os, signal, sys
from pathlib import Path
import asrlib.files
sys.path.insert(0, sys.argv[2])
from asrlib.experiments.publish import publish
from asrlib.recipe import Recipe

def killed(path):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(asrlib.files, sys.argv[3], killed)
publish(Recipe(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("moment", ["_fsync_file", "fsync_dir"])
@pytest.mark.parametrize("again", [False, True])
def test_a_kill_while_publishing_leaves_the_old_file_or_the_new(recipe, repo, moment, again):
    made = run_record()
    plant_run(recipe.dir, made)
    folder = recipe.dir / "results" / "main"
    old = None
    if again:
        publish(recipe)
        old = read_plan(recipe.dir, "main").runs
        plant_run(recipe.dir, made, worse=1.5)
    command = [sys.executable, "-c", KILLED, str(recipe.dir), str(repo), moment]
    done = subprocess.run(command, cwd=repo, env={**os.environ, "PYTHONPATH": str(repo)})
    assert done.returncode == -signal.SIGKILL
    new = (collect_run(recipe, "lstm")[0],)
    found = read_plan(recipe.dir, "main")
    assert not found.skipped
    assert found.runs == (new if moment == "fsync_dir" else old or ())
    publish(recipe)
    assert read_plan(recipe.dir, "main").runs == new
    assert [p.name for p in folder.glob("[!.]*.json")] == ["lstm.json"]


def test_imported_rows_are_read_as_they_are_written(recipe):
    folder = recipe.dir / "results" / "old"
    folder.mkdir(parents=True)
    row = {"model": "lstm", "label": "LSTM, 3.0 M", "set": "test", "search": "greedy"}
    row |= {"seeds": [1, 2], "wer": 21.43, "each": [20.0, 22.86], "interval": None, "note": ""}
    values = {"format": 1, "commit": "21a86a4", "source": "egs/an4/RESULTS.md", "title": "T"}
    values |= {"finding": "F", "command": "C", "rows": [row, row | {"interval": [19, 24.5]}]}
    (folder / "imported.json").write_text(json.dumps(values))
    found = read_plan(recipe.dir, "old").imported
    assert isinstance(found, Imported)
    assert found.rows[1].interval == (19.0, 24.5)
    assert found.rows[0].each == (20.0, 22.86)


def test_a_file_in_the_way_is_named(recipe):
    run = published(recipe)
    path: Path = recipe.dir / "results" / "main" / "lstm.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"lstm\.json: no published run"):
        write_run(recipe.dir, run)
