import json

import pytest
from scoring_fakes import entry, write_decode

from asrlib.errors import DataError
from asrlib.scoring.compare import SystemDecoding, compare_systems


def decode(path, name, **hyps):
    """Utterances a0, a1, b0, ... of speakers a, b, ...; ref is always `A B`."""
    rows = [entry(i, i[0], "A B", hyp) for i, hyp in hyps.items()]
    return SystemDecoding(write_decode(path / name / "decode_test_greedy", rows))


def test_a_system_against_itself(tmp_path):
    d = decode(tmp_path, "m", a0="A B", b0="A", c0="X Y")
    result = compare_systems([d], [d], 0.95)
    assert (result.difference, result.p_value) == (0, 1)
    assert (result.interval.low, result.interval.high) == (0, 0)


def test_seeds_are_added_so_that_the_rate_is_their_mean(tmp_path):
    base = decode(tmp_path, "base", a0="A", b0="A")
    seeds = [decode(tmp_path, "s1", a0="A B", b0="A B"), decode(tmp_path, "s2", a0="A", b0="A B")]
    result = compare_systems([base], seeds, 0.95)
    assert result.a.rate == pytest.approx(0.5)
    assert result.b.rate == pytest.approx(0.125)
    assert (result.a.words, result.b.words) == (4, 8)


def test_missing_utterances_are_named_with_the_side_that_lacks_them(tmp_path):
    more = decode(tmp_path, "more", **{f"a{i}": "A" for i in range(9)})
    less = decode(tmp_path, "less", a0="A")
    for pair in ((more, less), (less, more)):
        with pytest.raises(DataError, match="a1, a2, a3, a4, a5 and 3 more") as e:
            compare_systems([pair[0]], [pair[1]], 0.95)
        assert e.value.what.startswith(str(less.directory))


def test_other_references_are_refused(tmp_path):
    a = decode(tmp_path, "a", a0="A", b0="A")
    rows = [entry("a0", "a", "A B", "A"), entry("b0", "b", "A C", "A")]
    b = SystemDecoding(write_decode(tmp_path / "b" / "decode_test_greedy", rows))
    with pytest.raises(DataError, match="references or speakers differ, first at b0"):
        compare_systems([a], [b], 0.95)


def test_command_writes_json_and_prints_the_interval(scored_recipe, cli, tmp_path):
    out = tmp_path / "compare.json"
    dirs = ["lstm/decode_test_greedy", "conv_rnnt_seed1/decode_test_greedy"]
    result = cli("compare", "--recipe-dir", scored_recipe, *dirs, "--out", out)
    assert result.exit_code == 0
    written = json.loads(out.read_text())
    assert (written["baseline"], written["other"]) == tuple(dirs)
    # The second system was planted with half the errors of the first.
    assert written["interval"][1] < 0
    assert f"{written['difference']:+.2f}" in result.output
