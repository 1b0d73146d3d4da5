"""The program of tests/damage.sh."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import asrlib  # noqa: F401, before torch: it decides how torch multiplies matrices

# isort: split
import click
import torch
from damage import Judge, Verdict, all_kinds
from trust_results import commit, publish

from asrlib.experiments.trust import Damage, FamilyDamage

_COLUMNS = ("kinds", "refused", "quarantined", "accepted", "crashes", "unnamed", "lost", "escaped")


@click.command()
@click.option("--every", type=click.IntRange(1), required=True)
@click.option("--publish", "to_results", is_flag=True)
def command(every: int, to_results: bool) -> None:
    """Feed damaged inputs, print a table."""
    torch.set_num_threads(1)
    code = commit()
    with tempfile.TemporaryDirectory(prefix="damage-") as work:
        judge = Judge(Path(work))
        verdicts = []
        for family, kind, damage in all_kinds()[::every]:
            verdicts.append(judge.feed(family, kind, damage))
            if not verdicts[-1].holds:
                click.echo(f"{family.name}: {kind}: {verdicts[-1].outcome}: {verdicts[-1].told}")
    words = ["tests/damage.sh"] + ([f"--every {every}"] if every > 1 else [])
    families = tuple(figures(verdicts))
    result = Damage(command=" ".join(words), commit=code, families=families)
    click.echo(" ".join((f"{'':20}", *(f"{name:>11}" for name in _COLUMNS))))
    for family in families:
        cells = (f"{getattr(family, name):11}" for name in _COLUMNS)
        click.echo(" ".join((f"{family.name:20}", *cells)))
    click.echo(f"{result.kinds} kinds")
    if to_results:
        publish(result)
    sys.exit(0 if all(verdict.holds for verdict in verdicts) else 1)


def figures(verdicts: Iterable[Verdict]) -> Iterable[FamilyDamage]:
    """Count the outcomes, by family."""
    by_family: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        by_family.setdefault(verdict.family, Counter())[verdict.outcome] += 1
    for name, counts in by_family.items():
        yield FamilyDamage(
            name=name,
            kinds=counts.total(),
            refused=counts["refused"],
            quarantined=counts["quarantined"],
            accepted=counts["accepted"],
            crashes=counts["crash"],
            unnamed=counts["unnamed"],
            lost=counts["good lost"],
            escaped=counts["escaped"],
        )


if __name__ == "__main__":
    command()
