import dataclasses

import numpy as np
import pytest
from cohort_fakes import people, settings

from asrlib.cohorts.find import find_cohorts
from asrlib.cohorts.search import CannotSearch
from asrlib.scoring.wer import ErrorRate


def _planted(columns):
    """The rate of women below 10 is four times that of the others."""
    table, _, _ = people(400)
    rng = np.random.default_rng(0)
    age, women = table.numbers("age"), np.array(table.column("gender")) == "f"
    rates = np.where(women & (age < 16), 0.4, 0.1)
    errors = {
        s: ErrorRate(0, 0, int(rng.poisson(80 * r)), 80)
        for s, r in zip(table.speakers, rates, strict=True)
    }
    return table, errors, dataclasses.replace(settings(permutations=19), columns=columns)


def test_a_pair_of_columns_is_found():
    table, errors, run = _planted(("gender", "age"))
    found = find_cohorts("metadata", table, errors, run)
    assert found.rule.columns == ("gender", "age")
    assert found.rule.bottom in (("f", "<10"), ("f", "10-<16"))
    assert found.evidence.p_value == pytest.approx(1 / 20)


def test_one_column_is_enough_where_a_pair_tells_no_more():
    table, errors, run = _planted(("gender",))
    assert find_cohorts("metadata", table, errors, run).rule.bottom == ("f",)


def test_excluded_columns_have_no_part():
    table, errors, _ = people(400, times=4.0)
    run = dataclasses.replace(settings(), columns=("group", "gender"))
    assert find_cohorts("metadata", table, errors, run).rule.bottom[0] == "planted"
    run = dataclasses.replace(settings(exclude_columns=("group",)), columns=("group", "gender"))
    assert find_cohorts("metadata", table, errors, run).rule.columns == ("gender",)


def test_text_among_numbers_is_unknown_and_counted():
    table, errors, run = _planted(("age",))
    ages = ("seven", "", "nan", *table.column("age")[3:])
    table = dataclasses.replace(table, columns={"age": ages})
    found = find_cohorts("metadata", table, errors, run)
    assert found.unknown == {"no usable value in age": 3}
    assert sum(c.speakers for c in found.cohorts) == 397


def test_a_cohort_of_one_is_never_the_bottom():
    table, errors, run = _planted(("gender",))
    table = dataclasses.replace(table, columns={"gender": ("x", *table.column("gender")[1:])})
    errors[table.speakers[0]] = ErrorRate(0, 0, 80, 80)
    found = find_cohorts("metadata", table, errors, run)
    assert found.rule.bottom == ("f",)
    assert found.assign(table).cohorts[0] == "gender=x"


def test_no_column_is_said():
    table, errors, run = _planted(("accent",))
    with pytest.raises(CannotSearch, match="none of the columns"):
        find_cohorts("metadata", table, errors, run)
