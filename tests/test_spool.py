"""What is kept on disk gives what memory would give."""

import multiprocessing
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.spool import FloatSpool, IndexedLines, sorted_on_disk


@settings(deadline=None)
@given(keys=st.lists(st.text(max_size=4), max_size=60), run=st.integers(1, 70))
def test_sorting_on_disk_is_sorting(keys, run):
    items = [(key, f"{number} é") for number, key in enumerate(keys)]
    assert list(sorted_on_disk(items, run)) == sorted(items, key=lambda item: item[0])


def test_sorting_holds_a_run_in_memory():
    import tracemalloc

    def peak(number):
        items = ((f"{-i % 9973:06d}", "x" * 200) for i in range(number))
        tracemalloc.start()
        assert sum(1 for _ in sorted_on_disk(items, run=2000)) == number
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    assert peak(40_000) < peak(4_000) + 1_500_000  # 40,000 pairs take 14 MB


@pytest.mark.parametrize("number", [1, 2, 100, 8191, 8192, 8193, 65537, 131080])
@pytest.mark.parametrize("digits", [0, 12])
def test_statistics_are_those_of_numpy_to_the_last_bit(number, digits):
    values = np.round(np.random.default_rng(number).normal(0, 100, number), digits)
    spool = FloatSpool()
    spool.extend(values[: number // 3].tolist())
    spool.extend(values[number // 3 :].tolist())
    assert len(spool) == number
    assert np.array_equal(np.concatenate(list(spool.blocks())), values)
    assert spool.mean() == values.mean()
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert spool.quantile(share) == np.quantile(values, share)
    spool.close()


def lines_of(words):
    return IndexedLines.spooled((f"{w}\n".encode() for w in words), lambda line: line.decode())


def test_lines_are_found_by_number():
    words = [f"w{i}é" * (i % 5) for i in range(50)]
    lines = lines_of(words)
    assert len(lines) == 50
    assert [line.rstrip("\n") for line in lines] == words
    assert lines[-1] == f"{words[-1]}\n"
    some = lines.chosen(array("I", [7, 3, 30]))
    assert [line.rstrip("\n") for line in some] == [words[7], words[3], words[30]]
    assert [line.rstrip("\n") for line in some.chosen([2, 0])] == [words[30], words[7]]
    assert list(lines[10:12]) == [lines[10], lines[11]]
    for index in (50, -51):
        with pytest.raises(IndexError):
            lines[index]


def test_blank_lines_of_a_file_do_not_count(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"\na\n\n \nb\nc")
    assert [line.strip() for line in IndexedLines.of_file(path, bytes)] == [b"a", b"b", b"c"]


def test_processes_may_read_the_same_lines_at_once():
    lines = lines_of(range(2000))

    def check(step):
        for number in range(0, 2000, step):
            assert lines[number] == f"{number}\n"

    context = multiprocessing.get_context("fork")
    others = [context.Process(target=check, args=(step,)) for step in (1, 3)]
    for process in others:
        process.start()
    check(2)
    for process in others:
        process.join()
        assert process.exitcode == 0
