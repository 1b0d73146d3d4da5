import re

from verification_records import DET, system

from asrlib.report.document import Document, to_html, to_markdown
from asrlib.report.raised import raised_sections
from asrlib.report.verification import collect_verification, det_plot, verification_sections
from asrlib.verification.raised import Raised, RaisedGroup
from asrlib.verification.records import Disparity, GroupRates, GroupTable


def page(*systems):
    return Document("x", tuple(verification_sections(systems)), "y")


def test_the_page_shows_rates_gaps_and_chance():
    text = to_markdown(page(system(), system("pairwise", 8.0)))
    assert "| pairwise | 9.00 [5.00, 14.00] |" in text
    assert "m - f: 3.50 [-1.00, +8.00]" in text
    assert "| **by chance below** |" in text
    assert "4.20" in text
    assert "| x * |" in text


def test_the_plot_says_in_words_what_it_shows():
    markup = to_html(page(system("a & b"), system("pairwise", 8.0)))
    alt = re.search(r'<svg role="img".*?<desc[^>]*>([^<]+)</desc>', markup, re.DOTALL).group(1)
    assert "pairwise 8.00 %; a &amp; b 9.00 %" in alt
    assert markup.count(alt) == 2  # the caption says the same


def test_a_plot_is_the_same_every_time():
    assert det_plot({"a": DET, "b": DET[1:]}) == det_plot({"a": DET, "b": DET[1:]})


def test_what_was_not_measured_is_a_dash():
    empty = system(misses=None, false_alarms=None, threshold=None, groups={}, det=())
    lone = system(eer=None, min_dcf=None, groups={}, det=())
    text = to_markdown(page(empty, lone))
    assert "| none | – | – | – | 9.00 [5.00, 14.00] | 0.750 |" in text
    assert "by group" not in text


def test_results_are_collected_by_set_and_broken_ones_are_named(tmp_path):
    for name, test_set in (("a", "test"), ("b", "test"), ("a", "other")):
        path = tmp_path / "exp" / name / f"verify_{test_set}" / "verification.json"
        system(name, set=test_set).to_file(path)
    (tmp_path / "exp" / "c" / "verify_test").mkdir(parents=True)
    (tmp_path / "exp" / "c" / "verify_test" / "verification.json").write_text("{")
    found, skipped = collect_verification(tmp_path / "exp")
    assert [(s.name, s.set) for s in found] == [("a", "other"), ("a", "test"), ("b", "test")]
    assert [s.path for s in skipped] == ["exp/c/verify_test"]
    titles = [section.title for section in verification_sections(found)]
    assert titles[0] == "Speaker verification on other"
    assert titles[2] == "Speaker verification on test"


def test_groups_and_cohorts_of_a_set_are_joined_and_small_cohorts_are_hidden(tmp_path):
    large, small = (
        GroupRates(v, n, n, 9, None, None, None, True) for v, n in (("bottom", 11), ("top", 10))
    )
    gap = Disparity("bottom", "top", 3.5, None, 1.5, None, 1.75, 4.2, 0.08)
    plain = system("ecapa", groups={"gender": GroupTable((), {})})
    plain.to_file(tmp_path / "exp/ecapa/verify_test/verification.json")
    table = GroupTable((large, small), {"eer": gap})
    one = system("ecapa", groups={f"cohort by {method}": table for method in ("scan", "tree")})
    one.to_file(tmp_path / "exp/ecapa/verify_test_cohorts/verification.json")
    (found,), _ = collect_verification(tmp_path / "exp", public=True)
    assert list(found.groups) == ["gender", "cohort by scan", "cohort by tree"]
    assert found.groups["cohort by scan"] == GroupTable((large, small), {"eer": gap})
    (found,), _ = collect_verification(tmp_path / "exp")
    assert found.groups["cohort by scan"] == GroupTable((large,), {})


def test_the_weights_of_several_trainings_stand_in_one_table():
    def raised(name: str, *groups: RaisedGroup) -> Raised:
        return Raised(
            name=name,
            run=None,
            step=9,
            utterances=4,
            speakers=6,
            lowest=0.5,
            highest=2.0,
            groups={"age": groups},
        )

    young, old = RaisedGroup("<16", 3, 1.5, 0.1), RaisedGroup(">=16", 1_003, 0.5, 0.2)
    found = [raised("seed1", young, old), raised("seed2", old)]
    text = to_markdown(Document("x", tuple(raised_sections(found)), "y"))
    assert "| age | <16 (3) | >=16 (1,003) |" in text
    assert "| seed1 | 1.50 ± 0.10 | 0.50 ± 0.20 |" in text
    assert "| seed2 | – | 0.50 ± 0.20 |" in text
    assert not list(raised_sections([]))
