"""Raw utterance tables: written and read back, and what is malformed is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.data.raw import RawUtterance, raw_sets, read_raw, write_raw
from asrlib.errors import DataError

seconds_st = st.floats(0, 100)
utterance_st = st.builds(
    RawUtterance,
    id=st.text(min_size=1, max_size=5),
    audio=st.text(min_size=1, max_size=5),
    text=st.text(max_size=10),
    speaker=st.text(min_size=1, max_size=3),
    gender=st.sampled_from([None, "f", "m"]),
    age=st.none() | seconds_st,
    speaker_meta=st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)),
    custom=st.dictionaries(st.text(max_size=3), st.lists(st.booleans())),
    words=st.none() | st.lists(st.tuples(st.text(), seconds_st, seconds_st)).map(tuple),
    start=st.none() | seconds_st,
    end=st.none() | seconds_st,
)


@settings(max_examples=30)
@given(train=st.lists(utterance_st, max_size=4), test=st.lists(utterance_st, max_size=4))
def test_round_trip(tmp_path_factory, train, test):
    raw = tmp_path_factory.mktemp("raw") / "raw"
    write_raw(raw, {"test": test, "train": train})
    assert {name: read_raw(path) for name, path in raw_sets(raw).items()} == {
        "train": train,
        "test": test,
    }


def test_train_comes_first_and_old_sets_go(tmp_path):
    write_raw(tmp_path / "raw", {"old": []})
    write_raw(tmp_path / "raw", {"test_b": [], "test_a": [], "dev": [], "train": []})
    assert list(raw_sets(tmp_path / "raw")) == ["train", "dev", "test_a", "test_b"]


def test_a_killed_step_leaves_the_old_tables(tmp_path):
    row = RawUtterance(id="1", audio="a", text="A", speaker="s")
    write_raw(tmp_path / "raw", {"train": [row]})

    def killed():
        yield row
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_raw(tmp_path / "raw", {"train": killed(), "test": [row]})
    assert {k: read_raw(p) for k, p in raw_sets(tmp_path / "raw").items()} == {"train": [row]}
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"id": "1", "audio": "a", "text": "PRIVATE"}', "speaker"),
        ('{"id": 1, "audio": "a", "text": "PRIVATE", "speaker": "s"}', "id"),
        ('{"id": "1", "audio": "a", "text": "PRIVATE", "speaker": "s", "sex": "f"}', "sex"),
        ('{"id": "1", "audio": "a", "text": "PRIVATE', ""),
    ],
)
def test_malformed_line_is_named_without_its_text(tmp_path, line, field):
    good = '{"id": "0", "audio": "a", "text": "", "speaker": "s"}\n'
    (tmp_path / "train.jsonl").write_text(good + line + "\n")
    with pytest.raises(DataError, match=rf"train\.jsonl: line 2: .*{field}") as caught:
        read_raw(tmp_path / "train.jsonl")
    assert "PRIVATE" not in str(caught.value)


def test_no_tables_name_the_stage_to_run(tmp_path):
    with pytest.raises(DataError, match="stages 0 and 1"):
        raw_sets(tmp_path / "raw")
