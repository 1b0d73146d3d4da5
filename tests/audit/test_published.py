"""results/audit/ of a recipe: what pages show of it, and what cannot be read."""

from __future__ import annotations

import shutil

import pytest
from audit_fakes import Tables

from asrlib.experiments.store import read_plan
from asrlib.report.results_page import write_pages


@pytest.fixture
def recipe(tmp_path):
    Tables(tmp_path / "in", times=4.0).audit("--title", "Theirs")
    folder = tmp_path / "egs" / "demo" / "results" / "audit"
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "in/out/audit.json", folder / "theirs.json")
    return tmp_path / "egs" / "demo"


def test_an_audit_is_a_row_of_results_and_has_a_page(recipe):
    write_pages(recipe)
    (audit,) = read_plan(recipe, "audit").audits
    headline = (recipe / "RESULTS.md").read_text()
    assert f"| Theirs | – | {audit.wer.percent:.2f} |" in headline
    page = (recipe / "results" / "audit" / "README.md").read_text()
    assert audit.finding in page
    assert "### Cohorts found and confirmed" in page


def test_a_broken_audit_is_told_and_skipped(recipe):
    path = recipe / "results" / "audit" / "theirs.json"
    path.write_text(path.read_text()[:-20])
    plan = read_plan(recipe, "audit")
    assert plan.audits == ()
    assert [s.path for s in plan.skipped] == ["results/audit/theirs.json"]
    write_pages(recipe)
    assert "theirs.json" in (recipe / "RESULTS.md").read_text()
