import dataclasses
import json

import numpy as np
import pytest
from cohort_fakes import people, settings

from asrlib.cohorts.config import METHODS, AutomaticConfig, check_methods
from asrlib.cohorts.find import FOUND_FILE, check_halves, find_all, find_cohorts
from asrlib.cohorts.search import CannotSearch
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import ConfigError, DataError
from asrlib.scoring.wer import ErrorRate

FOUND = ("tree", "scan", "automatic", "automatic_measured", "metadata")


def _settings(**config):
    automatic = AutomaticConfig(clusters=(8,), starts=2)
    return settings(automatic=automatic, **{"permutations": 9, **config})


def _both():
    discovery, errors, _ = people(300, times=4.0)
    confirmation, others, _ = people(200, seed=1, prefix="c", times=4.0)
    return discovery, confirmation, {**errors, **others}


def _definitions(folder):
    return {p.parent.name: p.read_bytes() for p in folder.glob("*/definition.json")}


def test_discovery_never_reads_a_confirmation_speaker(tmp_path):
    discovery, confirmation, errors = _both()
    find_all(discovery, confirmation, errors, _settings(), tmp_path / "with")
    nobody = confirmation.select(np.zeros(len(confirmation), bool))
    own = {s: errors[s] for s in discovery.speakers}
    find_all(discovery, nobody, own, _settings(), tmp_path / "without")
    found = _definitions(tmp_path / "with")
    assert set(found) == set(FOUND)
    assert found == _definitions(tmp_path / "without")


def test_every_speaker_of_both_halves_has_a_line(tmp_path):
    discovery, confirmation, errors = _both()
    find_all(discovery, confirmation, errors, _settings(), tmp_path)
    for method in FOUND:
        lines = (tmp_path / method / "cohorts.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [r["speaker"] for r in rows] == [*discovery.speakers, *confirmation.speakers]
        assert {r["split"] for r in rows[:300]} == {"discovery"}
        assert {r["split"] for r in rows[300:]} == {"confirmation"}
        assert {r["method"] for r in rows} == {method}
        assert {"bottom", "top"} <= {r["cohort"] for r in rows}


def test_files_tell_no_exact_place_unless_the_corpus_is_public(tmp_path):
    discovery, confirmation, errors = _both()
    for public in (False, True):
        run = dataclasses.replace(_settings(), public=public, methods=("tree", "scan"))
        find_all(discovery, confirmation, errors, run, tmp_path / str(public))
        for method in ("tree", "scan"):
            lines = (tmp_path / str(public) / method / "cohorts.jsonl").read_text().splitlines()
            digits = [len(str(json.loads(x)["latitude"]).partition(".")[2]) for x in lines]
            assert max(digits) == (4 if public else 1)
        circle = json.loads((tmp_path / str(public) / "scan" / "definition.json").read_text())
        assert (round(circle["rule"]["latitude"], 1) == circle["rule"]["latitude"]) != public


def test_cohorts_of_places_are_large_enough_to_be_shown():
    discovery, _, errors = _both()
    small = settings(min_speakers=3)
    for method in ("tree", "scan"):
        found = find_cohorts(method, discovery, errors, small)
        assert min(c.speakers for c in found.cohorts) >= 11
        public = dataclasses.replace(small, public=True)
        assert find_cohorts(method, discovery, errors, public).cohorts != found.cohorts


def test_a_speaker_in_both_halves_is_an_error(tmp_path):
    discovery, confirmation, errors = _both()
    both = dataclasses.replace(confirmation, speakers=("d0007", *confirmation.speakers[1:]))
    with pytest.raises(DataError, match="both halves, discovery and confirmation: d0007"):
        check_halves(discovery, both)
    with pytest.raises(DataError, match="both halves"):
        find_all(discovery, both, errors, _settings(), tmp_path)


@pytest.mark.parametrize("method", FOUND)
def test_renaming_speakers_changes_nothing_but_the_identity(method):
    discovery, _, errors = _both()
    run = dataclasses.replace(_settings(permutations=0), public=True)
    found = find_cohorts(method, discovery, errors, run)
    names = tuple(f"x{s}" for s in discovery.speakers)
    renamed = dataclasses.replace(discovery, speakers=names)
    again = find_cohorts(method, renamed, {f"x{s}": e for s, e in errors.items()}, run)
    assert again.cohorts == found.cohorts
    assert again.evidence == found.evidence
    assert again.rule == found.rule
    assert again.corpus != found.corpus


@pytest.mark.parametrize("method", FOUND)
def test_the_definition_assigns_discovery_speakers_as_the_search_did(method):
    discovery, _, errors = _both()
    found = find_cohorts(method, discovery, errors, _settings(permutations=0))
    cohorts = found.assign(discovery).cohorts
    for c in found.cohorts:
        members = [
            s for s, name in zip(discovery.speakers, cohorts, strict=True) if name == c.cohort
        ]
        assert len(members) == c.speakers
        total = ErrorRate.sum(errors[s] for s in members)
        assert (total.errors, total.words) == (c.errors, c.words)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: ErrorRate(0, 0, 0, e.words), "no error at all"),
        (lambda e: ErrorRate(0, 0, 0, 0), "0 discovery speakers have words"),
    ],
)
def test_without_errors_or_words_nothing_is_found(method, change, reason):
    discovery, _, errors = _both()
    with pytest.raises(CannotSearch, match=reason):
        find_cohorts(method, discovery, {s: change(e) for s, e in errors.items()}, _settings())


@pytest.mark.parametrize("method", METHODS)
def test_equal_rates_and_one_speaker_give_nothing(method):
    discovery, _, errors = _both()
    equal = {s: ErrorRate(0, 0, 10, 100) for s in errors}
    with pytest.raises(CannotSearch):
        find_cohorts(method, discovery, equal, _settings())
    one = discovery.select(np.arange(1))
    with pytest.raises(CannotSearch, match="1 discovery speakers have words"):
        find_cohorts(method, one, errors, _settings())


def test_a_method_without_what_it_needs_says_so_and_the_others_run(tmp_path):
    discovery, confirmation, errors = _both()
    bare = [
        SpeakerTable(t.speakers, {"gender": t.column("gender")}) for t in (discovery, confirmation)
    ]
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "definition.json").write_text("of an earlier run")
    sentences = find_all(*bare, errors, _settings(), tmp_path)
    assert "coordinates" in sentences["tree"]
    assert "embeddings" in sentences["automatic"]
    assert "not confirmed yet" in sentences["metadata"]
    assert set(_definitions(tmp_path)) == {"metadata"}
    assert json.loads((tmp_path / FOUND_FILE).read_text())["methods"] == sentences


def test_speakers_without_coordinates_are_unknown_and_counted():
    discovery, _, errors = _both()
    latitude = ("", "x", "95", *discovery.column("latitude")[3:])
    discovery = dataclasses.replace(discovery, columns={**discovery.columns, "latitude": latitude})
    for method in ("tree", "scan"):
        found = find_cohorts(method, discovery, errors, _settings())
        assert found.unknown == {"no coordinates": 3}
        assert found.speakers == 297
        assert found.assign(discovery).cohorts[:3] == ("unknown",) * 3


def test_permuted_errors_are_rarely_significant():
    table, errors, _ = people(120, times=4.0)
    rng = np.random.default_rng(0)
    run = dataclasses.replace(_settings(permutations=19), columns=("gender",))
    alarms = 0
    for _ in range(60):
        order = rng.permutation(len(table))
        permuted = {
            s: errors[table.speakers[i]] for s, i in zip(table.speakers, order, strict=True)
        }
        p = find_cohorts("automatic", table, permuted, run).evidence.p_value
        alarms += p <= 0.05
    assert alarms <= 8  # 3 expected; more than 8 has a probability of 0.002


def test_methods_are_checked():
    assert check_methods(["scan", "tree", "scan"]) == ("tree", "scan")
    with pytest.raises(ConfigError, match="method forest"):
        check_methods(["forest"])
