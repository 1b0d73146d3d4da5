"""`python -m asrlib score-meetings`, from a mixture set and a decode to RESULTS.md."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from scoring_fakes import run_record

from asrlib.data.manifests import write_cuts
from asrlib.data.reference_turns import reference_turns_of, write_reference_turns
from asrlib.errors import DataError
from asrlib.experiments.store import About, read_plan, write_about
from asrlib.report.document import to_html, to_markdown
from asrlib.report.page import build_document
from asrlib.scoring.score import ScoreConfig
from asrlib.text.turns import write_turns

QUICK = ["--set", "score.replicates=200", "--set", "score.timelines=1"]


def mixture(name, condition, turns):
    supervisions = [
        SupervisionSegment(
            f"{name}-{i}", name, start, end - start, text=text, speaker=speaker,
            custom={"talker_channel": channel},
        )
        for i, (start, end, text, speaker, channel) in enumerate(turns)
    ]  # fmt: skip
    recording = Recording(name, [], 16000, 160000, 10.0)
    custom = {"condition": condition}
    return MonoCut(name, 0.0, 10.0, 0, supervisions, recording=recording, custom=custom)


def planted(recipe: Path) -> Path:
    """A set of four mixtures, decoded by `sts`, which is late and loses a word in each OV40."""
    cuts = [
        mixture("a", "0S", [(0, 2, "ONE TWO", "ann", 0), (3, 4, "RED", "bob", 0)]),
        mixture("b", "0S", [(1, 2, "SIX", "cy", 0)]),
        mixture("c", "OV40", [(0, 3, "ONE TWO", "ann", 0), (2, 4, "RED SKY", "bob", 1)]),
        mixture(
            "d",
            "OV40",
            [(0, 3, "A B", "ann", 0), (2, 6, "C D", "bob", 1), (5, 8, "E F", "cy", 0)],
        ),
    ]
    data = recipe / "data" / "mix_test"
    write_cuts(data / "cuts.jsonl.gz", cuts)
    write_reference_turns(data, cuts)
    heard = []
    for turn in reference_turns_of(CutSet.from_cuts(cuts)):
        words = turn.words.split()
        kept = words[1:] if turn.session in "cd" and turn.channel == 1 else words
        heard.append(
            replace(
                turn,
                speaker=None,
                words=" ".join(kept),
                sot_time=turn.start + 0.2,
                eot_time=turn.end + 0.4,
            )
        )
    decode = recipe / "exp" / "sts" / "decode_mix_test_greedy"
    write_turns(decode / "turns.seglst.json", heard)
    meta = {"model": "sts", "set": "mix_test", "search": "greedy", "real_time_factor": 0.1}
    (decode / "meta.json").write_text(json.dumps(meta))
    return recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("egs") / "talk")


def score(cli, recipe, *options):
    return cli("score-meetings", "--recipe-dir", recipe, "--name", "sts", *QUICK, *options)


@pytest.fixture
def scored(recipe, cli):
    assert score(cli, recipe).exit_code == 0
    return recipe / "exp" / "sts" / "decode_mix_test_greedy"


def test_scores_by_condition(scored):
    scores = json.loads((scored / "meetings.json").read_text())
    total, conditions = scores["all"], scores["conditions"]
    assert list(conditions) == ["0S", "OV40"]
    assert (total["orcwer"]["errors"], total["orcwer"]["words"]) == (2, 14)
    assert total["orcwer"]["deletions"] == 2
    assert conditions["0S"]["orcwer"]["errors"] == 0
    assert conditions["OV40"]["orcwer"]["errors"] == 2
    assert sum(c["orcwer"]["words"] for c in conditions.values()) == 14
    assert total["turn_counting"]["percent"] == 100
    assert total["turn_counting_many"]["sessions"] == 1
    assert total["start_pointing_ms"]["p50"] == pytest.approx(200)
    assert total["end_pointing_ms"]["p90"] == pytest.approx(400)
    low, high = total["orcwer"]["interval"]
    assert low <= 100 * 2 / 14 <= high
    assert len(scores["sessions"]) == 4


def test_kaldi_lines(scored):
    lines = (scored / "wer.txt").read_text().splitlines()
    assert lines[0] == "%ORCWER 14.29 [ 2 / 14, 0 ins, 2 del, 0 sub ]"
    assert lines[2] == "%ORCWER OV40 20.00 [ 2 / 10, 0 ins, 2 del, 0 sub ]"


def test_the_files_left_give_meetevals_command_the_same_figures(scored, recipe, tmp_path):
    total = json.loads((scored / "meetings.json").read_text())["all"]
    ref = recipe / "data" / "mix_test" / "truth.stm"
    for measure, file in (("orcwer", "channels"), ("cpwer", "speakers")):
        subprocess.run(
            [
                *(Path(sys.executable).parent / "meeteval-wer", measure, "-r", ref),
                *("-h", scored / f"{file}.seglst.json"),
                *("--average-out", tmp_path / "out.json", "--per-reco-out", tmp_path / "p.json"),
            ],
            check=True,
            capture_output=True,
        )
        theirs = json.loads((tmp_path / "out.json").read_text())
        assert theirs["errors"] == total[measure]["errors"]
        assert theirs["length"] == total[measure]["words"]


def test_pictures_name_talkers_and_words(scored):
    pictures = {p.stem: p.read_text() for p in (scored / "timelines").iterdir()}
    assert sorted(pictures) == ["a", "c"]
    for text in ("ann", "bob", "channel 0", "channel 1", "ONE TWO", "RED SKY", "SKY"):
        assert f">{text}<" in pictures["c"]


def page_of(recipe: Path, *pairs: tuple[str, str]) -> str:
    config = ScoreConfig(replicates=200, groups=(), bands={}, pairs=pairs, timelines=1)
    return to_markdown(build_document(recipe, config))


def test_results_get_a_section(scored, recipe):
    page = page_of(recipe)
    assert "## Two talkers: mix_test" in page
    assert "4 sessions, 8 turns, 14 words" in page
    row = next(line for line in page.splitlines() if line.startswith("| sts | greedy | 14.29"))
    assert row.endswith("| 0.100 |")
    pointing = "| 2 of 2 | 200 | 200 | [200, 200] | 200 | 2 of 2 | 400 | 400 | [400, 400] | 400 |"
    assert f"| sts | greedy {pointing}" in page
    assert "| sts | greedy | 0.0 (100.0) | 20.0 (100.0) |" in page
    assert "score-meetings --recipe-dir egs/talk --name sts" in page
    config = ScoreConfig(replicates=200, groups=(), bands={}, pairs=(), timelines=1)
    assert "<svg" in to_html(build_document(recipe, config))


def test_a_current_score_is_left_alone(scored, recipe, cli):
    before = (scored / "meetings.json").stat().st_mtime_ns
    assert "%ORCWER" not in score(cli, recipe).output
    assert (scored / "meetings.json").stat().st_mtime_ns == before
    assert "%ORCWER" in score(cli, recipe, "--force").output


def test_a_single_talker_model_is_scored_on_the_same_mixtures(cli, tmp_path):
    recipe = planted(tmp_path / "talk")
    decode = recipe / "exp" / "lstm" / "decode_mix_test_greedy"
    decode.mkdir(parents=True)
    entry = {"id": "a", "ref": "", "hyp": "ONE TWO RED", "duration": 10.0}
    empty = {"id": "b", "ref": "", "hyp": ""}
    (decode / "hyp.jsonl").write_text("".join(json.dumps(e) + "\n" for e in (entry, empty)))
    (decode / "meta.json").write_text('{"model": "lstm", "set": "mix_test", "search": "greedy"}')
    options = ["--recipe-dir", recipe, "--name", "lstm", *QUICK]
    assert cli("score-meetings", *options).exit_code == 0
    sessions = json.loads((decode / "meetings.json").read_text())["sessions"]
    assert [(s["recognised"], s["orcwer"]["errors"]) for s in sessions] == [
        # ORC gives a true turn to one stream, and both fit
        (1, 0),
        (0, 1),
        (0, 4),
        (0, 6),
    ]


def test_what_is_missing_is_named(cli, tmp_path):
    recipe = planted(tmp_path / "talk")
    turns = recipe / "exp" / "sts" / "decode_mix_test_greedy" / "turns.seglst.json"
    turns.write_text(turns.read_text().replace('"d"', '"e"'))
    with pytest.raises(DataError, match="e: no such session in the set"):
        score(cli, recipe)
    turns.unlink()
    with pytest.raises(DataError, match=r"turns\.seglst\.json: missing"):
        score(cli, recipe)


def test_pairs_are_compared_on_the_same_sessions(cli, tmp_path):
    recipe = planted(tmp_path / "talk")
    perfect_beside(recipe, cli)
    pair = ("sts", "perfect")
    page = page_of(recipe, pair)
    assert "| perfect against sts | greedy | -14.29 | [" in page
    # `perfect` has no symbols, and both count all turns right.
    assert "| perfect against sts | greedy | +0.0 | [+0.00, +0.00] | 1.0000 | 4 | – | – |" in page
    for name in ("sts", "perfect"):
        leave_seeds(recipe, name, (1, 2) if name == "perfect" else (1, 2, 3))
    # Seeds that both have are taken together: as many mixtures right, twice.
    page = page_of(recipe, pair)
    assert "| perfect against sts | greedy | -14.29 | [" in page
    assert "| perfect against sts | greedy | +0.0 | [+0.00, +0.00] | 1.0000 | 8 | – | – |" in page


def leave_seeds(recipe: Path, name: str, seeds: tuple[int, ...], plan: str | None = None) -> None:
    """Copies of a run in exp/, with records, in its place."""
    for seed in seeds:
        copy = recipe / "exp" / f"{plan or name}-{name}-{seed}"
        shutil.copytree(recipe / "exp" / name, copy)
        run_record(copy.name, name, seed, plan).to_file(copy / "run.json")
    shutil.rmtree(recipe / "exp" / name)


def perfect_beside(recipe: Path, cli) -> Path:
    """The scores of a system that is never wrong, beside those of `sts`."""
    sts = recipe / "exp" / "sts" / "decode_mix_test_greedy"
    perfect = recipe / "exp" / "perfect" / sts.name
    truth = (recipe / "data" / "mix_test" / "truth.seglst.json").read_text()
    perfect.mkdir(parents=True)
    (perfect / "turns.seglst.json").write_text(truth)
    (perfect / "meta.json").write_text((sts / "meta.json").read_text())
    for name in ("sts", "perfect"):
        options = ["--recipe-dir", recipe, "--name", name, *QUICK]
        assert cli("score-meetings", *options).exit_code == 0
    return perfect


def test_systems_of_a_plan_are_compared_with_its_reference(cli, tmp_path):
    recipe = planted(tmp_path / "talk")
    perfect_beside(recipe, cli)
    for name in ("sts", "perfect"):
        leave_seeds(recipe, name, (1,), "turns")
    write_about(recipe, "turns", About(title="Turns", reference="sts"))
    assert "| perfect against sts | greedy | -14.29 | [" in page_of(recipe)
    config = ScoreConfig(replicates=200, groups=(), bands={}, pairs=(), timelines=1)
    page = to_html(build_document(recipe, config))
    assert page.count("<figcaption>Errors against when turns end.") == 1


def test_other_sessions_are_not_compared(cli, tmp_path):
    recipe = planted(tmp_path / "talk")
    perfect = perfect_beside(recipe, cli)
    scores = json.loads((perfect / "meetings.json").read_text())
    scores["sessions"].pop()
    (perfect / "meetings.json").write_text(json.dumps(scores))
    page = page_of(recipe, ("sts", "perfect"))
    assert "- perfect against sts, greedy: scored on different sessions" in page


def test_mixtures_are_published_with_the_errors_of_each_session(cli, tmp_path):
    recipe = planted(tmp_path / "talk")
    record = run_record("sts", "sts")
    meta = recipe / "exp" / "sts" / "decode_mix_test_greedy" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"run": record.identity}))
    record.to_file(recipe / "exp" / "sts" / "run.json")
    assert score(cli, recipe) is not None
    assert cli("publish", "--recipe-dir", recipe).exit_code == 0
    (run,) = read_plan(recipe, "main").runs
    (found,) = run.mixtures
    assert set(found.sessions) == {"1", "2", "3", "4"}
    assert sum(c.words for c in found.sessions.values()) == found.all.orcwer.words == 14
    assert len(found.counted_right) == 4
    assert "| sts | 1 | 14.29 |" in (recipe / "results" / "main" / "README.md").read_text()
