from collections import Counter

import pytest
from scoring_fakes import entry, planted_entries, planted_speakers

from asrlib.scoring import kaldi_format
from asrlib.scoring.kaldi_format import SetCounts
from asrlib.scoring.records import parse_utterance
from asrlib.scoring.speaker_sums import Interval
from asrlib.scoring.wer import ErrorRate, align


def aligned(*entries):
    return align([parse_utterance(e) for e in entries])


@pytest.fixture(scope="module")
def planted():
    rates, _ = planted_speakers(8)
    return aligned(*planted_entries(rates, 1))


def test_per_utt():
    lines = kaldi_format.per_utt(aligned(entry("UTT-A", "s", "A B CC D", "E A X CC"))).splitlines()
    assert [line.split() for line in lines] == [
        ["UTT-A", "ref", "<eps>", "A", "B", "CC", "D"],
        ["UTT-A", "hyp", "E", "A", "X", "CC", "<eps>"],
        ["UTT-A", "op", "I", "C", "S", "C", "D"],
        ["UTT-A", "#csid", "2", "1", "1", "1"],
    ]


def test_per_utt_columns_stand_under_each_other():
    text = kaldi_format.per_utt(aligned(entry("u", "s", "LONGWORD B", "C B")))
    ref, hyp, op, csid = text.splitlines()
    assert ref == "u ref  LONGWORD  B"
    assert hyp.index("C") == op.index("S")
    assert hyp.rindex("B") == ref.rindex("B")
    assert csid == "u #csid 1 1 0 0"


def test_per_spk_sums_to_the_total(planted):
    rows = [line.split() for line in kaldi_format.per_spk(SetCounts(planted)).splitlines()]
    assert " ".join(rows[0]) == "SPEAKER id #SENT #WORD Corr Sub Ins Del Err S.Err"
    raw = [r for r in rows if r[1] == "raw"]
    sums = [sum(int(r[i]) for r in raw[:-1]) for i in range(2, 10)]
    assert raw[-1][0] == "SUM"
    assert [int(x) for x in raw[-1][2:]] == sums
    total = ErrorRate.sum(a.words for a in planted)
    assert sums[1] == total.words
    assert sums[6] == total.errors
    last = rows[-1]
    assert last[:2] == ["SUM", "sys"]
    assert last[8] == f"{100 * total.rate:.2f}"


def test_per_spk_of_a_speaker_without_words_has_no_percentages():
    lines = kaldi_format.per_spk(SetCounts(aligned(entry("u", "mute", "", "A")))).splitlines()
    assert [line.split()[1] for line in lines] == ["id", "raw", "raw"]


def test_ops_sum_to_the_total(planted):
    seen = Counter()
    for line in kaldi_format.ops(SetCounts(planted)).splitlines():
        kind, ref, hyp, count = line.split()
        seen[kind] += int(count)
        assert (kind == "correct") == (ref == hyp)
        assert (kind == "insertion") == (ref == "<eps>")
        assert (kind == "deletion") == (hyp == "<eps>")
    total = ErrorRate.sum(a.words for a in planted)
    assert seen["correct"] == total.correct
    assert seen["substitution"] == total.substitutions
    assert seen["insertion"] == total.insertions
    assert seen["deletion"] == total.deletions


def test_wer_bootci():
    total = ErrorRate(138, 192, 1088, 5643)
    text = kaldi_format.wer_bootci(total, Interval(0.2394, 0.2639), 0.95)
    assert text == "Set1: %WER 25.13 95% Conf Interval [ 23.94, 26.39 ]\n"
    assert "[ nan, nan ]" in kaldi_format.wer_bootci(total, None, 0.95)


def test_summary_begins_with_the_wer_line(planted):
    lines = kaldi_format.summary(SetCounts(planted), Interval(0.1, 0.2), 0.95).splitlines()
    assert lines[0] == ErrorRate.sum(a.words for a in planted).line()
    assert lines[1] == ErrorRate.sum(a.chars for a in planted).line("CER")
    assert lines[2].startswith("%SER ")
    assert "[ 10.00, 20.00 ]" in lines[3]


def test_alignments_mark_errors_under_the_words():
    text = kaldi_format.alignments(aligned(entry("u", "s", "PLAY JAZZ LOUD", "PLAY JARS LOUD NOW")))
    head, ref, hyp, marks = text.splitlines()
    assert head == "u (speaker s): %WER 66.67 [ 2 / 3, 1 ins, 0 del, 1 sub ]"
    assert ref.split() == ["ref:", "PLAY", "JAZZ", "LOUD", "***"]
    assert hyp.split() == ["hyp:", "PLAY", "JARS", "LOUD", "NOW"]
    assert marks.index("S") == hyp.index("JARS")
    assert marks.index("I") == hyp.index("NOW")


def test_utterances_one_by_one_give_the_files_of_all(planted, tmp_path):
    with kaldi_format.details(tmp_path) as writer:
        for a in planted:
            writer.add(a)
        writer.finish(SetCounts(planted), None, 0.95)
    assert (tmp_path / "wer_details" / "per_utt").read_text() == kaldi_format.per_utt(planted)
    assert (tmp_path / "alignments.txt").read_text() == kaldi_format.alignments(planted)


def test_private_words_are_never_written_and_always_counted(tmp_path):
    secret = entry("p", "s", "MY PIN IS XYZZY", "MY PIN XYZZA PLUGH", private=True)
    open_ = entry("q", "s", "PLAY JAZZ", "PLAY JAZZ")
    both = aligned(secret, open_)
    counts = SetCounts(both)
    with kaldi_format.details(tmp_path) as writer:
        for a in both:
            writer.add(a)
        writer.finish(counts, None, 0.95)
    (tmp_path / "wer.txt").write_text(kaldi_format.summary(counts, None, 0.95))
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.name for p in files} >= {"per_utt", "ops", "per_spk", "alignments.txt", "wer.txt"}
    for path in files:
        text = path.read_text()
        assert not any(word in text for word in ("MY", "PIN", "XYZZ", "PLUGH"))
    per_utt = (tmp_path / "wer_details" / "per_utt").read_text()
    assert per_utt.split("\n")[0].count("<private>") == 4
    assert "p #csid 2 2 0 0" in per_utt
    ops = [x.split() for x in (tmp_path / "wer_details" / "ops").read_text().splitlines()]
    assert ["correct", "<private>", "<private>", "2"] in ops
    assert ["substitution", "<private>", "<private>", "2"] in ops
    assert (tmp_path / "wer.txt").read_text().startswith("%WER 33.33 [ 2 / 6,")
