"""What texts say is there: links open committed files, figures stand in the files they link to."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from typing import Any, NamedTuple

import pytest

MODELS = {"LSTM": "lstm", "ConvRNN-T": "conv_rnnt"}
TEXTS = [
    "README.md",
    "docs/decoding.md",
    "docs/encoders.md",
    "docs/two_talkers.md",
    "docs/verification.md",
    "docs/audit.md",
    "docs/cluster.md",
    "docs/fairness.md",
]
TEXTS += [f"docs/lab/{recipe}.md" for recipe in ("an4", "mini", "pooled")]
TEXTS += [f"egs/{recipe}/NOTES.md" for recipe in ("an4", "mini", "pooled")]


class Row(NamedTuple):
    """A row of README's table of results."""

    set: str
    model: str
    search: str
    figures: list[str]
    files: list[str]


def links(text: str) -> list[str]:
    """Targets of a text's links that are no addresses, without what follows a #."""
    found = re.findall(r"\]\(([^)#\s]+)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def result_rows(text: str) -> list[Row]:
    """The rows of a table of results: recipe and set, model, search, figures, links."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and re.search(r"\d\.\d", cells[3]):
            figures = re.findall(r"\d+(?:\.\d+)?", cells[3])
            test_set = cells[0].split(", ")[1]
            rows.append(Row(test_set, MODELS[cells[1]], cells[2], figures, links(cells[4])))
    return rows


def held(content: dict[str, Any], row: Row) -> tuple[list[float], list[float]]:
    """Word error rates that a file of results holds for the row, and what may follow them."""
    wanted = (row.model, row.set, row.search)
    if "rows" in content:  # copied from an older table
        same = [r for r in content["rows"] if (r["model"], r["set"], r["search"]) == wanted]
        others = [x for r in same for x in (*r["each"], *(r["interval"] or ()))]
        return [r["wer"] for r in same], others
    run = content["run"]  # published
    model = run["record"]["model"]
    same = [s for s in run["sets"] if (model, s["meta"]["set"], search_of(s["meta"])) == wanted]
    rates = [
        100 * sum(s["wer"][kind] for kind in ("insertions", "deletions", "substitutions"))
        / s["wer"]["words"]
        for s in same
    ]  # fmt: skip
    return rates, [*rates, *(x for s in same for x in s["interval"] or ())]


def search_of(meta: dict[str, Any]) -> str:
    """The search, and the tag of its settings: `modified_beam, lm`."""
    return ", ".join(x for x in (meta["search"], meta.get("tag")) if x)


def missing(row: Row, contents: list[dict[str, Any]]) -> list[str]:
    """The row's figures that its files do not hold; the first is the mean of their rates."""
    rates: list[float] = []
    others: list[float] = []
    for content in contents:
        some_rates, some_others = held(content, row)
        rates += some_rates
        others += some_others
    if not rates:
        return row.figures
    known = {f"{x:.2f}" for x in others}
    first = [] if row.figures[0] == f"{sum(rates) / len(rates):.2f}" else row.figures[:1]
    return first + [x for x in row.figures[1:] if x not in known]


def test_what_is_read_first_is_short(repo):
    lengths = {text: len((repo / text).read_text().splitlines()) for text in TEXTS}
    assert lengths["README.md"] <= 130
    assert {n for text, n in lengths.items() if text.endswith("NOTES.md") and n > 60} == set()


@pytest.mark.parametrize("text", TEXTS)
def test_every_link_opens_a_committed_file(repo, text):
    listed = subprocess.run(
        ["git", "ls-files"], cwd=repo, capture_output=True, text=True, check=True
    )
    committed = {repo / name for name in listed.stdout.splitlines()}
    targets = links((repo / text).read_text())
    assert targets
    assert [t for t in targets if ((repo / text).parent / t).resolve() not in committed] == []


def test_every_figure_of_the_table_stands_in_the_file_that_its_row_links_to(repo):
    rows = result_rows((repo / "README.md").read_text())
    assert len(rows) >= 8
    for row in rows:
        assert row.files
        assert all(re.match(r"egs/\w+/results/\w+/", f) for f in row.files), row
        assert missing(row, [json.loads((repo / f).read_text()) for f in row.files]) == [], row


def test_figures_of_mitigations_stand_in_the_published_file(repo):
    found = json.loads((repo / "egs/mini/results/fairness_lstm.json").read_text())
    rows = found["mitigations"]["Mitigations for the bottom cohort (automatic cohorts)"]
    shown = [
        (f"{r['bottom']['percent']:.2f}", f"{r['rest']['percent']:.2f}")
        for r in rows
        if r["label"] != "membership, true cohorts"
    ]
    readme = (repo / "README.md").read_text()
    table = readme[readme.index("| 200 updates on") :].split("\n\n")[0]
    cells = [line.split("|")[2:5] for line in table.strip().splitlines()[2:]]
    assert [(a.strip(), b.strip()) for a, b, _ in cells] == shown
    changes = [
        r["change"] for r in rows if r["change"] and r["label"] != "membership, true cohorts"
    ]
    told = [
        f"{c['difference']:.2f} [{c['interval'][0]:.2f}, {c['interval'][1]:.2f}]" for c in changes
    ]
    assert [c.strip() for _, _, c in cells if "[" in c] == told


def test_a_wrong_figure_is_found():
    counts = {"insertions": 1, "deletions": 0, "substitutions": 0, "words": 8}
    scores = {"meta": {"set": "test", "search": "greedy"}, "wer": counts, "interval": [1.0, 20.0]}
    run = {"run": {"record": {"model": "lstm"}, "sets": [scores]}}
    right = Row("test", "lstm", "greedy", ["12.50", "1.00", "20.00"], [])
    assert missing(right, [run]) == []
    assert missing(right._replace(figures=["12.51", "1.00", "20.10"]), [run]) == ["12.51", "20.10"]
    assert missing(right._replace(search="modified_beam"), [run]) == right.figures
    old = {"model": "lstm", "set": "test", "search": "greedy", "wer": 12.5, "interval": [1, 20]}
    assert missing(right, [{"rows": [old | {"each": []}]}]) == []
    assert missing(right, [{"rows": [old | {"wer": 1.0, "each": [12.5]}]}]) == ["12.50"]


@pytest.mark.parametrize("text", ["docs/encoders.md", "docs/two_talkers.md"])
def test_figures_of_guides_stand_in_the_files_that_they_link_to(repo, text):
    content = (repo / text).read_text()
    files = [(repo / text).parent / t for t in links(content) if t.endswith(".json")]
    held_there = "\n".join(f.read_text() for f in files)
    known = {float(x.replace(",", "")) for x in re.findall(r"\d[\d,]*(?:\.\d+)?", held_there)}
    lines = re.sub(r"^\|.*\n\|[-:|]+$", "", content, flags=re.MULTILINE).splitlines()  # no heads
    cells = "\n".join(re.sub(r"\]\([^)]*\)", "", x) for x in lines if x.startswith("|"))
    figures = re.findall(r"(?<![\w.])\d[\d,]*\.?\d*", cells)
    assert figures
    assert [x for x in figures if float(x.replace(",", "")) not in known] == []


@pytest.mark.parametrize("recipe", ["speechocean762", "commonvoice"])
@pytest.mark.parametrize("text", ["README.md", "docs/audit.md"])
def test_the_finding_of_an_audit_stands_in_its_file(repo, text, recipe):
    folder = repo / "egs" / recipe / "results" / "audit"
    audit = json.loads((folder / "whisper-base.json").read_text())
    found = next(s for s in audit["searched"] if s["method"] == "metadata")["confirmation"]
    assert found["p_holm"] < 0.05
    content = (repo / text).read_text()
    assert f"egs/{recipe}/results/audit/README.md" in content
    for side in ("bottom", "rest"):
        assert f"{found[side]['percent']:.1f}" in content


def test_the_pictures_show_what_is_published(repo):
    tool = runpy.run_path(str(repo / "tools" / "readme_pictures.py"))
    readme = (repo / "README.md").read_text()
    rows = [row for row in tool["table_rows"](readme) if row.search == "greedy"]
    greedy = [row for row in result_rows(readme) if row.search == "greedy"]
    assert [row.wer for row in rows] == [row.figures[0] for row in greedy]
    for path, (svg, said) in tool["pictures"](readme).items():
        assert (repo / path).read_text() == svg, "run tools/readme_pictures.py"
        assert f"![{said}]({path})" in readme  # the text for those who do not see it
