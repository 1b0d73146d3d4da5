"""`python -m asrlib jobs`: commands of a stage as jobs, for steps/queue.sh."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from asrlib.cli.common import log_to
from asrlib.cli.job_options import job_options, parse_options
from asrlib.jobs import run_jobs


@click.command(name="jobs")
@click.argument("name")
@click.option(
    "--job",
    "jobs",
    nargs=2,
    multiple=True,
    metavar="LABEL COMMAND",
    help="A command line, quoted as for a shell, and what it is called. May be repeated.",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory of the logs: LABEL.log of each job, with dots for spaces and slashes.",
)
@job_options
def command(
    name: str,
    jobs: tuple[tuple[str, str], ...],
    log_dir: Path,
    nj: int,
    engine: str,
    options: tuple[str, ...],
) -> None:
    """Run commands side by side, as local processes or on Slurm, and show their output.

    NAME is what the jobs are called in Slurm's queue. If one fails, the others still finish. Ctrl-C
    and SIGTERM stop the jobs; trainings save first.
    """
    log_to(log_dir / f"{name}.jobs.log")
    run_jobs(
        {label: shlex.split(line) for label, line in jobs},
        nj=nj,
        engine=engine,
        log_dir=log_dir,
        name=name,
        options=parse_options(options),
    )
