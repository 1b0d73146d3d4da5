"""Commands as jobs on this machine: what is shown, what fails, and how they are stopped."""

from __future__ import annotations

import pytest
from command_fakes import call

from asrlib.errors import UserError
from asrlib.jobs.commands import first_error, run_commands


def test_lines_come_with_the_name_of_the_job_and_failures_are_named(tmp_path):
    jobs = [("one seed", "echo 'a b'"), ("two", "sh -c 'echo error: no corn >&2; exit 3'")]
    words = [part for job in jobs for part in ("--job", *job)]
    done = call("jobs", "work", "--log-dir", tmp_path, *words)
    assert done.code == 1
    assert "one seed: a b\n" in done.out
    assert "two: error: no corn\n" in done.out
    assert "1 of 2 jobs failed:\n  two: no corn; log: " in done.err
    assert (tmp_path / "one.seed.log").read_text().endswith("a b\n")


def test_the_first_command_that_fails_ends_a_job(tmp_path):
    with pytest.raises(UserError, match="false ended with exit code 1"):
        run_commands([["true"], ["false"], ["touch", str(tmp_path / "never")]])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "error: x: missing\n  fix: make it\nTraceback\nasrlib.errors.UserError: 1\n",
            "x: missing",
        ),
        ("INFO fine\nValueError: odd\n", "ValueError: odd"),
        ("killed\n", "died without an error"),
    ],
)
def test_the_first_error_of_a_log_is_the_reason(tmp_path, text, told):
    (tmp_path / "a.log").write_text(text)
    assert first_error(tmp_path / "a.log") == told


def test_a_log_that_is_missing_has_no_reason(tmp_path):
    assert first_error(tmp_path / "a.log") == "died without an error"
