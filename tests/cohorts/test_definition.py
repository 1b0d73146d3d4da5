import dataclasses
import json

import numpy as np
import pytest
from cohort_fakes import people, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from asrlib.cohort_file import read_cohort_map
from asrlib.cohorts.clusters import ClusterRule, Measure
from asrlib.cohorts.definition import Definition, cohort_lines, read_definition
from asrlib.cohorts.find import find_all, find_cohorts
from asrlib.cohorts.metadata import ColumnRule
from asrlib.cohorts.scan import CircleRule
from asrlib.cohorts.search import Evidence
from asrlib.cohorts.table import SpeakerTable
from asrlib.cohorts.tree import TreeNode, TreeRule
from asrlib.errors import DataError

_DEGREES = st.floats(-90, 90, allow_nan=False)
_FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


def _row(size):
    return st.tuples(*[_FLOATS] * size)


_RULES = st.one_of(
    st.builds(
        lambda axis, threshold, public: TreeRule(
            (TreeNode(axis, threshold, 1, 2), TreeNode(cohort="bottom"), TreeNode(cohort="top")),
            public,
        ),
        st.sampled_from(["latitude", "longitude"]),
        _DEGREES,
        st.booleans(),
    ),
    st.builds(CircleRule, _DEGREES, _DEGREES, st.floats(0, 20000), st.booleans()),
    st.builds(
        lambda mean, rows, centroids: ClusterRule(
            mean, rows, (Measure("snr_db", 20.0, 5.0),), centroids, ("bottom", "middle", "top")
        ),
        _row(3),
        st.tuples(_row(3), _row(3)),
        st.tuples(_row(3), _row(3), _row(3)),
    ),
    st.builds(
        lambda edges: ColumnRule(("age",), {"age": tuple(sorted(edges))}, ("<10",), (">=30",)),
        st.sets(st.sampled_from([3.5, 10.0, 16.0, 30.0]), min_size=1),
    ),
)


def _people(rng, count):
    columns = {
        "latitude": rng.uniform(-90, 90, count),
        "longitude": rng.uniform(-90, 90, count),
        "age": rng.integers(0, 60, count),
        "snr_db": rng.normal(20, 5, count),
    }
    text = {k: tuple(map(str, v)) for k, v in columns.items()}
    names = tuple(f"s{i}" for i in range(count))
    return SpeakerTable(names, text, rng.normal(size=(count, 3)))


@given(_RULES, st.integers(0, 1000))
@hypothesis_settings(max_examples=100, deadline=None)
def test_assignment_is_the_same_after_json_and_in_any_company(rule, seed):
    table = _people(np.random.default_rng(seed), 20)
    before = Definition("m", "c", True, 20, {}, (), Evidence(None, 0.0, 0, None, None), rule)
    after = Definition.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    together = before.assign(table)
    assert after.assign(table) == together
    order = np.random.default_rng(seed).permutation(20)
    mixed = after.assign(table.select(order))
    assert mixed.cohorts == tuple(together.cohorts[i] for i in order)
    alone = after.assign(table.select(np.array([7])))
    assert alone.cohorts[0] == together.cohorts[7]


@given(st.integers(0, 10_000))
@hypothesis_settings(max_examples=20, deadline=None)
def test_a_tree_that_was_found_assigns_like_scikit_learn(seed):
    table, errors, _ = people(150, seed=seed, times=5.0)
    run = dataclasses.replace(settings(), public=bool(seed % 2))
    try:
        definition = find_cohorts("tree", table, errors, run)
    except Exception:  # a tree with one region assigns nobody
        return
    cohorts = definition.assign(table).cohorts
    assert {c.cohort: c.speakers for c in definition.cohorts} == {
        name: cohorts.count(name) for name in set(cohorts)
    }


def test_what_was_written_is_read(tmp_path):
    table, errors, _ = people(200, times=4.0)
    nobody = table.select(np.zeros(200, bool))
    run = dataclasses.replace(settings(), methods=("scan",))
    find_all(table, nobody, errors, run, tmp_path)
    definition = read_definition(tmp_path / "scan")
    found = read_cohort_map(tmp_path / "scan")
    assert (found.method, set(found.splits.values())) == ("scan", {"discovery"})
    assert tuple(found.cohorts.values()) == definition.assign(table).cohorts
    with pytest.raises(DataError, match="missing"):
        read_definition(tmp_path / "tree")


def test_what_a_rule_used_never_hides_the_line_itself():
    rule = ColumnRule(("cohort", "split"), {}, ("a", "b"), ("c", "d"))
    definition = Definition("m", "c", True, 1, {}, (), Evidence(None, 0.0, 0, None, None), rule)
    table = SpeakerTable(("s",), {"cohort": ("a",), "split": ("b",)})
    line = cohort_lines(definition, table.speakers, definition.assign(table), "discovery")[0]
    assert line == {"speaker": "s", "cohort": "bottom", "method": "m", "split": "discovery"}
