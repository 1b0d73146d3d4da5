"""The program of tests/faults.sh."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import asrlib  # noqa: F401, before torch: it decides how torch multiplies matrices

# isort: split
import click
import torch
from fault_checks import LAST, checks
from fault_stages import STAGES
from faults import Found, Pipeline
from trust_results import commit, publish

from asrlib.experiments.trust import Faults, StageFaults

_NAMES = [stage.name for stage in STAGES]


@click.command()
@click.option("--kills", type=click.IntRange(1), required=True)
@click.option("--seed", type=int, required=True)
@click.option("--stage", "stages", multiple=True, type=click.Choice(_NAMES))
@click.option("--publish", "to_results", is_flag=True)
def command(kills: int, seed: int, stages: tuple[str, ...], to_results: bool) -> None:
    """Kill stages, check other faults, print tables."""
    torch.set_num_threads(1)
    code = commit()
    chosen = [stage for stage in STAGES if not stages or stage.name in stages]
    last = max((LAST, *(stage.name for stage in chosen)), key=_NAMES.index)
    with tempfile.TemporaryDirectory(prefix="faults-") as work:
        pipeline = Pipeline(Path(work))
        pipeline.complete(last, click.echo)
        rng, found = random.Random(seed), []
        shares = _shares(kills, [pipeline.seconds[stage.name] for stage in chosen])
        for stage, share in zip(chosen, shares, strict=True):
            found.append(pipeline.strike(stage, share, rng))
            click.echo(_line(found[-1]))
            for told in found[-1].failures + found[-1].differences:
                click.echo(f"  {told}")
        checked = () if stages else tuple(checks(pipeline))
    for check in checked:
        click.echo(f"{'ok  ' if check.holds else 'FAIL'} {check.name}: {check.told}")
    words = ["tests/faults.sh", f"--kills {kills}", f"--seed {seed}"]
    words += [f'--stages "{" ".join(stages)}"'] if stages else []
    result = Faults(
        command=" ".join(words),
        commit=code,
        seed=seed,
        stages=tuple(map(_figures, found)),
        checks=checked,
    )
    click.echo(f"{result.kills} kills, {result.differences} differences or failed runs")
    if to_results:
        publish(result)
    sys.exit(1 if result.differences or not all(c.holds for c in checked) else 0)


def _shares(kills: int, seconds: Sequence[float]) -> list[int]:
    """Two kills a stage, and the others where they take least time."""
    rates = [1 / s for s in seconds]
    more = max(0, kills - 2 * len(seconds))
    ends = [round(more * sum(rates[: i + 1]) / sum(rates)) for i in range(len(rates))]
    return [2 + end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _figures(found: Found) -> StageFaults:
    return StageFaults(
        name=found.stage.name,
        number=found.stage.number,
        kills=found.kills,
        runs=found.runs,
        differences=len(found.differences),
        failures=len(found.failures),
    )


def _line(found: Found) -> str:
    return (
        f"{found.stage.name:10}  {found.kills:3} kills  {found.runs:3} runs to the end  "
        f"{len(found.differences):3} different files  {len(found.failures):3} failed runs"
    )


if __name__ == "__main__":
    command()
