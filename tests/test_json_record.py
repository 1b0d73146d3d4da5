"""Records come back from JSON as they were, and a file that is none is named."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asrlib.errors import DataError
from asrlib.experiments.benchmarks import Benchmark
from asrlib.experiments.store import Tuning
from asrlib.json_record import JsonRecord
from asrlib.meetings.score import MeetingScores
from asrlib.scoring.compare import NamedComparison
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.score import Scores
from asrlib.scoring.speaker_sums import Interval
from asrlib.scoring.wer import ErrorRate

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3)
SIMPLE = {
    Any: JSON,
    str: st.text(max_size=5),
    bool: st.booleans(),
    int: st.integers(0, 10**12),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
}


@functools.cache
def values(hint: Any) -> st.SearchStrategy:
    """Values of a field that is annotated so."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, arguments))
    if origin is tuple:
        if arguments[1:] == (...,):
            return st.lists(values(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    fields = get_type_hints(hint)
    if dataclasses.is_dataclass(hint):
        fields = {f.name: fields[f.name] for f in dataclasses.fields(hint)}
    return st.builds(hint, **{name: values(field) for name, field in fields.items()})


def subclasses(cls: type) -> list[type]:
    return [c for child in cls.__subclasses__() for c in (child, *subclasses(child))]


RECORDS = sorted(subclasses(JsonRecord), key=lambda cls: cls.__name__)
FILES = {Benchmark, DecodeMeta, MeetingScores, NamedComparison, Scores, Tuning}


def test_every_file_is_a_record():
    assert set(RECORDS) >= FILES


@pytest.mark.parametrize("cls", RECORDS)
@given(data=st.data())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_record_comes_back_as_it_was(cls, data):
    record = data.draw(values(cls))
    written = json.dumps(record.to_json(), allow_nan=False)
    assert cls.from_json(json.loads(written)) == record


@pytest.mark.parametrize("cls", sorted(FILES, key=lambda cls: cls.__name__))
@given(data=st.data())
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_so_does_its_file(tmp_path, cls, data):
    record = data.draw(values(cls))
    record.to_file(tmp_path / "record.json")
    assert cls.from_file(tmp_path / "record.json", "") == record


def test_error_rates_tell_what_follows_from_their_counts():
    written = ErrorRate(1, 2, 3, 12).to_json()
    assert (written["errors"], written["percent"]) == (6, 50)
    assert ErrorRate(1, 0, 0, 0).to_json()["percent"] is None
    assert ErrorRate.from_json(written | {"errors": 7, "of a later version": 1}).errors == 6


def test_intervals_are_lists_for_other_programs():
    record = data_of(NamedComparison, interval=Interval(-1.5, 2.0))
    assert record.to_json()["interval"] == [-1.5, 2.0]


def test_what_was_not_measured_is_no_key():
    assert Benchmark(model="m", cpu_seconds_1=0.0).to_json() == {"model": "m", "cpu_seconds_1": 0.0}


def data_of(cls: type, **changed: Any) -> Any:
    zero = {"a": ErrorRate(), "b": ErrorRate(), "relative": None, "baseline": "x", "other": "y"}
    zero |= {"difference": 0.0, "p_value": 1.0, "speakers": 1}
    return cls(**zero | changed)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "missing"),
        (b"", "not readable as JSON"),
        (b'{"model": "m"', "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"model": "m", "set": "s"}', "key search: field required"),
        (b'{"model": "m", "set": "s", "search": 3}', "key search: input should be"),
        (
            b'{"model": "m", "set": "s", "search": "g", "machine": {"cpu": "", "cores": "SECRET"}}',
            "key machine.cores: input should be",
        ),
    ],
)
def test_a_file_that_is_no_record_is_named_with_key_and_fix(tmp_path, content, says):
    path = tmp_path / "meta.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        DecodeMeta.from_file(path, "decode again")
    assert error.value.what.startswith(f"{path}: {says}")
    assert error.value.fix == "decode again"
    assert "SECRET" not in error.value.what
