"""The page about cohorts: its figures are those of the records, and it hides what is private."""

import json
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from browser import CHROMIUM, look
from fairness_fakes import fair_recipe

from asrlib.cohorts.confirm import ConfirmedMethod
from asrlib.mitigation.table import Mitigations
from asrlib.recipe import Recipe
from asrlib.report.document import Figure, to_html, to_markdown
from asrlib.report.fairness.collect import collect_fairness
from asrlib.report.fairness.words import detectable_words, lead_sentence
from asrlib.report.page import build_document
from asrlib.scoring.cohort_frame import CohortScores
from asrlib.scoring.score import ScoreConfig

CONFIG = ScoreConfig(replicates=200, groups=(), bands={}, pairs=())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return fair_recipe(tmp_path_factory.mktemp("egs") / "demo")


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    return fair_recipe(tmp_path_factory.mktemp("egs") / "secret", public=False)


@pytest.fixture(scope="module")
def document(recipe):
    return build_document(recipe, CONFIG)


@pytest.fixture(scope="module")
def text(document):
    return to_markdown(document)


def records(recipe):
    paths = sorted((recipe / "exp" / "cohorts").glob("*/confirmation.json"))
    return {p.parent.name: ConfirmedMethod.from_file(p, "") for p in paths}


def table_rows(text, title):
    """Cells of the first table whose header starts with these titles, by first cell."""
    start = text.index("\n| " + " | ".join(title) + " |")
    block = text[start + 1 :].split("\n\n")[0].splitlines()
    cells = [[c.strip().strip("*") for c in line.strip("|").split("|")] for line in block[2:]]
    return {row[0]: row for row in cells}


def figures(document):
    return [b for s in document.sections for b in s.blocks if isinstance(b, Figure)]


# ---- what the page says is what the files say


def test_one_sentence_first(recipe, document):
    confirmed = [r.judged for r in records(recipe).values() if r.judged.is_confirmed]
    assert confirmed
    worst = max(confirmed, key=lambda j: j.bottom.percent)
    low, high = worst.bottom.interval
    assert document.lead.startswith("Worst confirmed cohort: ")
    assert f"WER {worst.bottom.percent:.1f} % [{low:.1f}, {high:.1f}] against" in document.lead
    assert f"{worst.rest.percent:.1f} % [" in document.lead
    assert f"{worst.bottom.share:.0f} % of speakers" in document.lead
    assert "found on 150 speakers, confirmed on 150 others." in document.lead
    page = to_html(document)
    assert page.index('<p class="lead">Worst confirmed') < page.index("<h2")


def test_cohorts_and_gaps_are_those_of_the_records(recipe, text):
    cohorts = table_rows(text, ("method", "bottom cohort", "confirmed"))
    gaps = table_rows(text, ("method", "found %"))
    assert set(cohorts) == set(records(recipe))
    for name, record in records(recipe).items():
        one = record.judged
        assert cohorts[name][2] == ("yes" if one.is_confirmed else "no")
        assert cohorts[name][4] == str(one.bottom.speakers)
        assert cohorts[name][6].startswith(f"{one.bottom.percent:.2f} [")
        assert cohorts[name][7].startswith(f"{one.rest.percent:.2f} [")
        assert gaps[name][1] == f"{one.found.gap:,.0f}"
        assert gaps[name][3] == f"{one.confirmed.gap:,.0f}"
        assert gaps[name][6] == detectable_words(one.detectable_gap)


def test_before_and_after_is_that_of_the_record(recipe, text):
    found = Mitigations.from_file(recipe / "exp/fairness/mitigations.json", "")
    rows = table_rows(text, ("row", "seeds", "updates"))
    changes = table_rows(text, ("row", "against"))
    for row in found.rows:
        cells = rows[row.label + (" (control)" if row.kind == "control" else "")]
        rates = (row.rates.bottom, row.rates.rest, row.rates.overall)
        assert [c.split(" ")[0] for c in cells[3:6]] == [f"{r.percent:.2f}" for r in rates]
        if row.against_control:
            bottom = row.against_control.bottom
            low, high = bottom.interval
            assert changes[row.label][2] == f"{bottom.difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        if row.verdict:
            assert cells[-1] == ("yes" if row.verdict.success else "no")
            assert row.verdict.reason in text
    assert f"interpolation, {100 * found.curve[1].share:g} % of the way" in rows
    assert found.notes[0] in text
    assert "this is a second look at them" in text


def test_the_page_says_how_many_speakers_a_gap_takes(text):
    found = re.search(r"each to show a gap: ([\d,]+) for \+20 %, (\d+) for \+50 %, (\d+) for", text)
    small, middle, large = (int(number.replace(",", "")) for number in found.groups())
    assert small > 4 * middle > 8 * large > 80


def test_delay_by_cohort_is_that_of_the_scores(recipe, text):
    path = recipe / "exp/lstm/decode_confirmation_greedy/cohort_scores_scan.json"
    frame = CohortScores.from_file(path, "").frames["confirmation"]
    rows = table_rows(text, ("method: cohort", "speakers", "% of audio"))
    delay = frame.measures["symbol_delay_ms"]
    for cohort in ("bottom", "top"):
        assert rows[f"scan: {cohort}"][-2].startswith(f"{delay.cohorts[cohort].value:.0f} [")
    assert rows["all"][-2].startswith(f"{delay.overall.value:.0f} [")


def test_the_planted_truth_counts_whom_each_method_caught(recipe, text):
    lines = (recipe / "exp/cohorts/scan/cohorts.jsonl").read_text().splitlines()
    cohort = {e["speaker"]: e["cohort"] for e in map(json.loads, lines)}
    table = (recipe / "data/speakers.tsv").read_text().splitlines()
    names = table[0].split("\t")
    speakers = [dict(zip(names, row.split("\t"), strict=True)) for row in table[1:]]
    planted = [
        s["speaker"] for s in speakers if s["set"] == "confirmation" and s["group"] == "planted"
    ]
    caught = sum(cohort[s] == "bottom" for s in planted)
    rows = table_rows(text, ("planted group", "speakers"))
    methods = sorted(records(recipe))
    assert rows["planted"][1] == str(len(planted))
    assert rows["planted"][4 + methods.index("scan")] == f"{100 * caught / len(planted):.0f}"


def test_commands_seed_and_commit_of_the_figures(text):
    assert "python -m asrlib cohorts find --recipe-dir egs/demo --name lstm" in text
    assert "| lstm | 1 | 0123456 | cpu |" in text
    assert "Configuration of lstm" in text


# ---- form


def test_the_sections_stand_in_the_order_of_a_readers_questions(document):
    titles = [section.title for section in document.sections]
    begins = (
        *("Whom does it fail?", "Found against confirmed gaps", "Where", "What the bottom cohort"),
        *("Before and after", "Delay and compute", "Limits and power", "Commands of the cohorts"),
    )
    places = [next(i for i, t in enumerate(titles) if t.startswith(b)) for b in begins]
    assert places == sorted(places)


def test_every_picture_has_a_name_and_words_beside_it(document):
    shown = figures(document)
    assert len(shown) >= 6  # forest, gaps, map, before and after, compute, latency
    assert all(f.caption for f in shown)
    page = to_html(document)
    pictures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert len(pictures) == len(shown)
    for picture in pictures:
        svg = re.search(r"<svg.*</svg>", picture, re.DOTALL)[0]
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        words = [e.text for e in root if e.get("id") in root.get("aria-labelledby").split()]
        assert words
        assert all(words)
        assert re.search(r"<figcaption[^>]*>[^<]{20,}", picture)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_regeneration_is_byte_identical(recipe, document):
    assert to_html(build_document(recipe, CONFIG)) == to_html(document)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "dark"), [(375, False), (375, True), (1280, False)])
def test_the_page_in_a_browser_without_a_network(document, tmp_path, width, dark):
    page = tmp_path / "report.html"
    page.write_text(to_html(document))
    assert page.stat().st_size < 5_000_000
    asked = (
        "document.documentElement.scrollWidth",
        "document.querySelector('.lead').textContent",
        "getComputedStyle(document.body).backgroundColor",
        "[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 50)",
    )
    seen = look(page, asked, width, dark)
    assert seen.requests == [page.as_uri()]
    assert seen.messages == []
    assert seen.values[0] <= width
    assert seen.values[1] == document.lead
    assert seen.values[2] == ("rgb(22, 29, 36)" if dark else "rgb(255, 255, 255)")
    assert seen.values[3] is True


def test_publishing_puts_a_short_table_into_results(recipe, document, tmp_path, cli):
    copy = tmp_path / "demo"
    shutil.copytree(recipe, copy)
    assert cli("publish", "--recipe-dir", copy).exit_code == 0
    text = (copy / "RESULTS.md").read_text()
    assert "`python -m asrlib plan fairness`, then `python -m asrlib judge-mitigations`" in text
    assert document.lead in text
    cohorts = table_rows(text, ("method", "bottom cohort", "bottom WER %"))
    for name, record in records(recipe).items():
        assert cohorts[name][2].startswith(f"{record.judged.bottom.percent:.2f} [")
    assert table_rows(text, ("row", "seeds", "bottom WER %"))["EWC"][-1] == "yes"
    page = (copy / "results/fairness_lstm.md").read_text()
    found = Mitigations.from_file(recipe / "exp/fairness/mitigations.json", "")
    told = table_rows(page, ("row", "rest against general data"))
    assert set(told) == {row.label for row in found.rows}
    assert all(told[r.label][-1] == r.verdict.reason for r in found.rows if r.verdict)
    assert text.count("\n") < 150
    (copy / "results" / "fairness_other.json").write_text("{")
    assert cli("results", "--recipe-dir", copy).exit_code == 0
    both = (copy / "RESULTS.md").read_text()
    assert "fairness_other.json: not readable" in both
    assert document.lead in both, "each model has a section of its own"


# ---- what is missing or broken


def test_without_cohorts_the_page_says_which_stage_finds_them(scored_recipe):
    document = build_document(scored_recipe, CONFIG)
    assert "stage 9" in document.lead
    assert "Stage 9 of run.sh" in to_markdown(document)
    assert "Before and after" not in to_markdown(document)


def test_missing_and_broken_records_are_said(recipe, tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(recipe, copy)
    shutil.rmtree(copy / "exp/fairness")
    (copy / "exp/cohorts/tree/confirmation.json").write_text("{")
    (copy / "exp/lstm/decode_confirmation_greedy/cohort_scores_scan.json").unlink()
    text = to_markdown(build_document(copy, CONFIG))
    assert "stage 10 of run.sh trains them" in text
    assert "stage 11 of run.sh does it" in text
    assert "`exp/cohorts/tree`: " in text
    assert "tree" not in table_rows(text, ("method", "bottom cohort", "confirmed"))


def test_cohorts_judged_on_another_decode_are_left_out(recipe, tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(recipe, copy)
    path = copy / "exp/cohorts/scan/confirmation.json"
    content = json.loads(path.read_text())
    content["judged"]["bottom"]["errors"] += 1
    path.write_text(json.dumps(content))
    text = to_markdown(build_document(copy, CONFIG))
    assert "`exp/cohorts/scan`: confirmation.json is of another decode" in text


def test_nothing_confirmed_says_what_would_have_shown(tmp_path):
    even = fair_recipe(tmp_path / "even", speakers=80, times=1.0)
    judged = [r.judged for r in records(even).values()]
    assert judged
    assert not any(j.is_confirmed for j in judged)
    smallest = min(j.detectable_gap for j in judged if j.detectable_gap is not None)
    lead = build_document(even, CONFIG).lead
    assert lead.startswith("Nothing confirmed; this set would show gaps above ")
    assert f"above {smallest:,.0f} %" in lead


# ---- privacy


def test_private_places_and_people_are_hidden(private, document):
    assert "% observed" in to_html(document)  # a circle of the map, as it is shown of public data
    document = build_document(private, CONFIG)
    page = to_html(document)
    text = to_markdown(document)
    assert "0 cells are shown" in text
    assert "cells with fewer than 11 speakers" in text
    assert "% observed" not in page
    assert "The planted truth" not in text
    rows = (private / "data/speakers.tsv").read_text().splitlines()
    names = rows[0].split("\t")
    told = set(re.findall(r"[\w.-]+", page))
    for row in rows[1:]:
        speaker = dict(zip(names, row.split("\t"), strict=True))
        if speaker["set"] in ("discovery", "confirmation"):
            assert not told & {speaker["speaker"], speaker["latitude"], speaker["longitude"]}


def test_a_small_cohort_of_places_is_hidden(private, tmp_path, cli):
    copy = tmp_path / "secret"
    shutil.copytree(private, copy)
    for name, record in records(copy).items():
        if name == "metadata":
            continue
        path = copy / "exp/cohorts" / name / "confirmation.json"
        content = json.loads(path.read_text())
        assert content["judged"]["bottom"]["speakers"] == record.judged.bottom.speakers
        content["judged"]["bottom"]["speakers"] = 10
        path.write_text(json.dumps(content))
    table = copy / "exp/fairness/mitigations.json"
    content = json.loads(table.read_text())
    assert content["method"] == "scan"
    content["rows"][0]["rates"]["bottom"]["speakers"] = 10
    table.write_text(json.dumps(content))
    document = build_document(copy, CONFIG)
    text = to_markdown(document)
    rows = table_rows(text, ("method", "bottom cohort", "confirmed"))
    assert rows["scan"][4] == rows["scan"][6] == "–"
    assert rows["automatic"][4] == "10"  # voices are no places
    assert "scan" not in table_rows(text, ("method", "found %"))
    assert "Not shown: the bottom cohort is one of places" in text
    assert not re.search(r"\| EWC \|", text)
    assert cli("publish", "--recipe-dir", copy).exit_code == 0
    assert "EWC" not in (copy / "RESULTS.md").read_text()


def test_a_confirmed_cohort_that_is_hidden_leads_the_page_without_a_figure(private):
    fairness = collect_fairness(Recipe(private))
    places = tuple(m for m in fairness.methods if m.is_of_places)
    small = [
        replace(m, record=replace(m.record, judged=replace(m.judged, bottom=few(m.judged.bottom))))
        for m in places
    ]
    assert any(m.judged.is_confirmed for m in small)
    lead = lead_sentence(replace(fairness, methods=tuple(small)))
    assert lead == "A cohort of places was confirmed; it has too few speakers to be shown."


def few(rate):
    return replace(rate, speakers=10)


def test_a_test_set_that_was_halved_stays_a_test_set(recipe):
    fairness = collect_fairness(Recipe(recipe))
    assert fairness.own_sets == {"discovery", "confirmation"}
    halved = [
        replace(m, record=replace(m.record, discovery=m.record.confirmation))
        for m in fairness.methods
        if m.record is not None
    ]
    assert replace(fairness, methods=tuple(halved)).own_sets == set()
