"""The memory of a stage does not grow with its corpus, and the figures reach the page."""

from pathlib import Path

import pytest

from asrlib.experiments.memory import PARTS, Memory, Peak, measure_memory
from asrlib.experiments.store import MEMORY_FILE, MEMORY_PLAN, read_plan, write_about
from asrlib.report.results_page import write_pages

# A cut in memory takes 5,000 bytes or more, 30,000 of them 30 to 150 % of what a stage needs. Less
# is permitted, because there are buffers of a fixed size that 10,000 cuts do not always fill: stage
# 2 took 4 and 9 % more for 40,000 cuts, and no more for a million than for 100,000
# (results/memory).
GROWTH = 1.15


def peak(part, cuts, memory_mb):
    return Peak(part=part, cuts=cuts, memory_mb=memory_mb, cpu_seconds=1.0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    small = {p.part: p.memory_mb for p in measure_memory(10_000, tmp_path / "small")}
    large = {p.part: p.memory_mb for p in measure_memory(40_000, tmp_path / "large")}
    assert list(small) == list(PARTS)
    for part in PARTS:
        assert large[part] < GROWTH * small[part], part


def test_what_was_measured_before_is_kept():
    older = Memory(command="a", peaks=(peak("score", 10, 1.0), peak("manifests", 20, 2.0)))
    newer = Memory(command="b", peaks=(peak("score", 10, 3.0),)).joined(older.peaks)
    assert newer.peaks == (peak("manifests", 20, 2.0), peak("score", 10, 3.0))


def test_the_page_tells_memory_and_growth(tmp_path):
    peaks = (peak("score", 10_000, 200.0), peak("score", 1_010_000, 219.1), peak("decode", 10, 9))
    write_about(tmp_path, MEMORY_PLAN, Memory(command="python -m x", peaks=peaks))
    assert read_plan(tmp_path, MEMORY_PLAN).memory.peaks == peaks
    write_pages(tmp_path)
    text = (tmp_path / "results" / "memory" / "README.md").read_text()
    assert "python -m x" in text
    row = next(line for line in text.splitlines() if line.startswith("| stage 6"))
    assert [cell.strip() for cell in row.split("|")[3:6]] == ["200 (1 s)", "219 (1 s)", "20"]
    (tmp_path / "results" / "memory" / MEMORY_FILE).write_text("{}")
    assert read_plan(tmp_path, MEMORY_PLAN).memory is None


def test_a_corpus_is_made_of_a_few_files(tmp_path: Path):
    from asrlib.data.raw import read_raw
    from asrlib.experiments.memory import make_corpus

    make_corpus(tmp_path / "c", 100)
    rows = read_raw(tmp_path / "c" / "data" / "raw" / "test.jsonl")
    assert len({row.id for row in rows}) == 100
    files = {Path(row.audio) for row in rows}
    assert len(files) == 3
    assert all(path.stat().st_nlink > 1 for path in files)
