"""Tables of results/trust/: what kills, other faults and damaged inputs did."""

from __future__ import annotations

from collections.abc import Iterator

from asrlib.experiments.trust import Damage, Faults
from asrlib.report.document import Code, Section, Table, Text


def fault_sections(found: Faults) -> Iterator[Section]:
    """Kills by stage, then the other faults."""
    text = (
        f"{found.kills} kills of a small recipe's stages at random moments, seed {found.seed}, "
        f"commit {found.commit[:12]}. After one to three kills the stage is run to its end, and "
        "every file is compared with that of an uninterrupted run. After half of the kills of a "
        "training its newest checkpoint is damaged, too."
    )
    header = ("stage", "kills", "runs to the end", "different files", "failed runs")
    rows = [
        (
            stage.name if stage.number is None else f"{stage.number} {stage.name}",
            *map(str, (stage.kills, stage.runs, stage.differences, stage.failures)),
        )
        for stage in found.stages
    ]
    table = Table(header, tuple(rows), 1)
    yield Section("Kills", (Text(text), Code(found.command, "sh"), table))
    checks = tuple((c.name, "yes" if c.holds else "NO", c.told) for c in found.checks)
    header = ("fault", "nothing lost", "what the user is told")
    if checks:
        yield Section("Other faults", (Table(header, checks, 3),))


def damage_sections(found: Damage) -> Iterator[Section]:
    """What became of damaged inputs, by the file that was damaged."""
    text = (
        f"{found.kinds:,} kinds of damage, each fed to the command that reads the file, commit "
        f"{found.commit[:12]}. A refusal names the file, the reason and the fix. An input is "
        "accepted if it can be used or if the damage costs no good utterance."
    )
    header = ("file", "kinds", "refused", "quarantined", "accepted", "crashes", "not named")
    header += ("good ones lost", "escaped")
    rows = []
    for f in found.families:
        figures = (f.kinds, f.refused, f.quarantined, f.accepted, f.crashes, f.unnamed)
        rows.append((f.name, *map(str, (*figures, f.lost, f.escaped))))
    table = Table(header, tuple(rows), 1)
    yield Section("Damaged inputs", (Text(text), Code(found.command, "sh"), table))
