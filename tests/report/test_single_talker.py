import re
import shutil
from html.parser import HTMLParser

import pytest

from asrlib.errors import DataError
from asrlib.experiments.runs import collect_runs, representatives, systems
from asrlib.report.document import Document, Section, Table, Text, to_html, to_markdown
from asrlib.report.page import build_document
from asrlib.scoring.score import ScoreConfig

CONFIG = ScoreConfig(replicates=200, groups=(), bands={}, pairs=(("lstm", "conv_rnnt"),))


@pytest.fixture(scope="module")
def document(scored_recipe):
    return build_document(scored_recipe, CONFIG)


def test_regeneration_is_byte_identical(scored_recipe, document):
    again = build_document(scored_recipe, CONFIG)
    assert to_markdown(again) == to_markdown(document)
    assert to_html(again) == to_html(document)


def test_every_run_has_its_row_and_seeds_a_mean(document):
    text = to_markdown(document)
    for name in ("lstm", "conv_rnnt_seed1", "conv_rnnt_seed2"):
        assert re.search(rf"^\| {name} \| greedy \|", text, re.MULTILINE)
    assert re.search(r"\*\*conv_rnnt, 2 seeds\*\* .* \*\*\d+\.\d\d ± \d+\.\d\d\*\*", text)
    assert "lstm, 1 seeds" not in text


def test_comparison_groups_and_commands_are_there(document):
    text = to_markdown(document)
    comparison = re.search(r"conv_rnnt against lstm \| greedy \| (\S+) \| \[(\S+), (\S+)\]", text)
    low, difference, high = (float(comparison[i]) for i in (2, 1, 3))
    assert low < difference < high < 0
    assert re.search(r"\| lstm \| rare / common \| \+\d\S* \| \[\S+, \S+\] \| \+\d+ \|", text)
    assert "python -m asrlib score --recipe-dir egs/demo --name lstm" in text
    assert "python -m asrlib train --recipe-dir egs/demo --model conv_rnnt" in text


def test_tables_are_well_formed_markdown(document):
    for block in re.findall(r"(?:^\|.*\n)+", to_markdown(document), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


class Tags(HTMLParser):
    """Checks nesting and collects what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        asked = [v for k, v in attrs if k in ("src", "href") or tag == "link"]
        self.fetched += [v for v in asked if not v.startswith("#")]  # a place on the page
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_self_contained(document):
    page = to_html(document)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.fetched == []
    assert "@import" not in page
    assert page.count("<svg") == 3 + 1  # accent, age, gender; latency
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", page)


def test_notes_stand_on_the_page(scored_recipe, tmp_path, cli):
    recipe = tmp_path / "demo"
    shutil.copytree(scored_recipe, recipe)
    (recipe / "NOTES.md").write_text("- keep | this\n")
    result = cli("results", "--recipe-dir", recipe, "--set", "score.replicates=200")
    assert result.exit_code == 0
    assert "keep | this" in (recipe / "exp" / "report.html").read_text()
    assert not (recipe / "RESULTS.md").exists()  # nothing is published


def test_learning_curves_come_from_tensorboard(scored_recipe, tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    recipe = tmp_path / "demo"
    shutil.copytree(scored_recipe, recipe)
    with SummaryWriter(str(recipe / "exp" / "lstm" / "tensorboard")) as writer:
        for step in range(10, 60, 10):
            writer.add_scalar("train/loss", 100 / step, step)
            writer.add_scalar("train/throughput", 200 + step, step)
            writer.add_scalar("train/data_wait", 0.01, step)
        writer.add_scalar("dev/loss", 1.5, 50)
        writer.add_scalar("dev/symbol_delay_s", 0.12, 50)
    text = to_markdown(build_document(recipe, CONFIG))
    assert "| lstm | 50 | 1.5000 | 120 | 230 | 1.0 | – |" in text
    page = to_html(build_document(recipe, CONFIG))
    assert "Learning curves" in page
    assert to_html(build_document(recipe, CONFIG)) == page


def test_benchmarks_are_taken_up(scored_recipe, tmp_path):
    recipe = tmp_path / "demo"
    shutil.copytree(scored_recipe, recipe)
    assert "bench" not in to_markdown(build_document(recipe, CONFIG))
    (recipe / "exp" / "bench").mkdir()
    for name in ("features", "features_again"):
        (recipe / "exp" / "bench" / f"{name}.json").write_text(
            '{"bare": 8100.0, "ratio": 0.612, "command": "bench features of it"}'
        )
    text = to_markdown(build_document(recipe, CONFIG))
    assert "| fbank stage / bare kaldifeat |  | 0.612 |" in text
    assert text.count("bench features of it") == 1  # which measured more than one model


def test_nothing_scored_is_an_error_with_a_mend(tmp_path):
    with pytest.raises(DataError, match=r"no scores\.json"):
        build_document(tmp_path, CONFIG)


def test_runs_are_told_apart_by_family_and_search(scored_recipe):
    runs, skipped = collect_runs(scored_recipe / "exp")
    assert not skipped
    assert {k: [r.name for r in v] for k, v in systems(runs).items()} == {
        ("conv_rnnt", "greedy"): ["conv_rnnt_seed1", "conv_rnnt_seed2"],
        ("lstm", "greedy"): ["lstm"],
    }
    assert list(representatives(runs)) == ["conv_rnnt", "lstm"]


def test_text_is_escaped():
    table = Table(("<b>",), (("a|b & <i>",),))
    made = Document("T & U", (Section("S", (Text("x < y"), table)),), "end")
    page = to_html(made)
    assert "<b>" not in page
    assert "<i>" not in page
    assert "x &lt; y" in page
    assert "| a\\|b & <i> |" in to_markdown(made)


def test_kinds_of_errors_stand_below_each_set(document):
    text = to_markdown(document)
    part = text.split("### Kinds of errors on test")[1].split("\n#")[0]
    assert re.search(r"\| lstm \| \d+\.\d\d \| \d+\.\d\d \|", part)
    assert "worst tenth of speakers" in part
    assert re.search(r"\| 1 \| \d+ \| \d+\.\d\d \|", part)  # speakers have no names here
    assert not re.search(r"\bs\d\d\b", part)
