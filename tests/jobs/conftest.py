"""What the tests of jobs share."""

from __future__ import annotations

import pytest
from submitit.core.core import Job


@pytest.fixture(autouse=True)
def _fast_files(monkeypatch) -> None:
    """submitit gives slow file systems 15 s to show the result of a job that has ended."""
    assert Job._results_timeout_s == 15
    monkeypatch.setattr(Job, "_results_timeout_s", 1)
