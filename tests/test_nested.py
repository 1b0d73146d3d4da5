"""Plain values and tensors survive being taken apart and put together."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.nested import flatten, unflatten

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@given(values)
def test_round_trip(value):
    back = unflatten(*flatten(value))
    assert back == value
    assert repr(back) == repr(value)  # types too: tuples stay tuples, 1.0 is not 1


def test_tensors_and_nan_survive():
    x = torch.randn(3, 2)
    back = unflatten(*flatten({"a": [x, {0: math.nan}], "__type__": "mine"}))
    assert torch.equal(back["a"][0], x)
    assert math.isnan(back["a"][1][0])
    assert back["__type__"] == "mine"


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="set"):
        flatten({"a": {1, 2}})
