"""The committed store of results: `egs/<recipe>/results/<plan>/<run>.json`.

One file a run, written whole or not at all, so that two plans may publish at once. What cannot be
used when it is read (broken, edited by hand, of another version) is told, and never raises.
Everything that people read (RESULTS.md, results/<plan>/README.md) is a function of this folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asrlib.errors import DataError
from asrlib.experiments.discovery_power import DiscoveryPower
from asrlib.experiments.hotword_record import Hotwords
from asrlib.experiments.memory import Memory
from asrlib.experiments.run_scores import MixtureScores, PublishedRun, SetScores
from asrlib.experiments.simulation import Simulation
from asrlib.experiments.trust import Damage, Faults
from asrlib.files import atomic_write
from asrlib.json_record import JsonRecord, compact_text
from asrlib.scoring.speaker_sums import Interval
from asrlib.verification.records import VoicePairs

if TYPE_CHECKING:
    from asrlib.audit.record import Audit

FORMAT = 2
RESULTS = "results"  # below the recipe
IMPORTED_FILE, ABOUT_FILE, TUNING_FILE = "imported.json", "about.json", "tuning.json"
AUDIT_PLAN = "audit"  # its folder holds the audit.json of each system, as NAME.json
STATISTICS_PLAN = "statistics"  # its folder holds what simulations gave
SIMULATION_FILE, DISCOVERY_FILE = "simulation.json", "discovery.json"
TRUST_PLAN, FAULTS_FILE, DAMAGE_FILE = "trust", "faults.json", "damage.json"
MEMORY_PLAN, MEMORY_FILE = "memory", "memory.json"
HOTWORDS_PLAN, HOTWORDS_FILE = "hotwords", "hotwords.json"
VOICE_PAIRS_FILE = "voice_pairs.json"  # in the folder of a plan of speaker models
_RESTORE = "bring it back with git, or move it away and publish again"


@dataclass(frozen=True)
class Skipped:
    """A file or a run that cannot be used: a line under "Skipped", never an exception.

    Attributes:
        path: below the recipe.
    """

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class About(JsonRecord):
    """about.json: what pages say of a plan; `python -m asrlib plan` writes it, or people do.

    Attributes:
        finding: what came out, in at most four sentences; empty while nobody has said.
        command: what repeats the plan.
        reference: model that the others are compared with; None: the first by name.
        tuned: keys of decoding that were chosen on dev for each model: like factors, they may
            differ between systems that are compared.
    """

    title: str
    finding: str = ""
    command: str = ""
    reference: str | None = None
    tuned: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trials(JsonRecord):
    """What was tried of a model.

    Attributes:
        trial: the model that was tried: itself, or another one.
        dev: figure on dev by the value tried, as it was written.
        chosen: the value that the model is given.
    """

    trial: str
    dev: dict[str, float]
    chosen: float | int | str


@dataclass(frozen=True, kw_only=True)
class Tuning(JsonRecord):
    """tuning.json: the values that were chosen on dev, all models at the same expense.

    Attributes:
        key: as of `--set`.
        judged_by: name of the dev figure, lower is better.
        budget: what each trial was given, for people.
    """

    key: str
    judged_by: str
    budget: str
    models: dict[str, Trials]


@dataclass(frozen=True, kw_only=True)
class ImportedRow(JsonRecord):
    """A row of an older table.

    Attributes:
        wer: word error rate in per cent, the mean over seeds.
        each: those of the seeds.
        interval: in per cent.
        more: further columns by title.
    """

    model: str
    set: str
    search: str
    wer: float
    label: str = ""
    seeds: tuple[int, ...] = ()
    each: tuple[float, ...] = ()
    interval: Interval | None = None
    note: str = ""
    more: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Imported(JsonRecord):
    """imported.json: rows of older tables, copied once; they take no part in comparisons.

    Attributes:
        commit: in which the table stood.
        source: its file.
    """

    commit: str
    source: str
    title: str = ""
    finding: str = ""
    command: str = ""
    rows: tuple[ImportedRow, ...]


@dataclass(frozen=True, kw_only=True)
class PlanResults:
    """What the store holds of one plan; runs and audits in order of file."""

    name: str
    runs: tuple[PublishedRun, ...] = ()
    about: About | None = None
    tuning: Tuning | None = None
    imported: Imported | None = None
    simulation: Simulation | None = None
    faults: Faults | None = None
    damage: Damage | None = None
    memory: Memory | None = None
    hotwords: Hotwords | None = None
    voice_pairs: VoicePairs | None = None
    discovery: DiscoveryPower | None = None
    audits: tuple[Audit, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def reference(self) -> str | None:
        """The model that the others are compared with; None: the first by name."""
        return None if self.about is None else self.about.reference

    @property
    def tuned(self) -> tuple[str, ...]:
        """Keys of decoding that were chosen on dev; see `About`."""
        return () if self.about is None else self.about.tuned


# What a plan's folder may hold beside runs and audits; a name's stem is a field of PlanResults.
_KINDS: dict[str, type[JsonRecord]] = {
    ABOUT_FILE: About,
    TUNING_FILE: Tuning,
    IMPORTED_FILE: Imported,
    SIMULATION_FILE: Simulation,
    DISCOVERY_FILE: DiscoveryPower,
    FAULTS_FILE: Faults,
    DAMAGE_FILE: Damage,
    MEMORY_FILE: Memory,
    HOTWORDS_FILE: Hotwords,
    VOICE_PAIRS_FILE: VoicePairs,
}


def plan_dir(recipe_dir: Path, plan: str) -> Path:
    """The folder of a plan's results."""
    return recipe_dir / RESULTS / plan


def write_run(recipe_dir: Path, run: PublishedRun) -> Path:
    """Write the run's file, whole or not at all; nothing that is published is lost.

    Scores of other sets and searches of the same run are kept. Another run of the same name, one
    of another identity, stays where it is; this one then has a part of its identity in its name.

    Raises:
        DataError: a file that cannot be read stands in the way.
    """
    folder, identity = plan_dir(recipe_dir, run.plan), run.record.identity
    path = folder / f"{run.record.name}.json"
    if path.exists() and _read_run(path).record.identity != identity:
        path = folder / f"{run.record.name}-{identity[:8]}.json"
    if path.exists():
        run = _merge(_read_run(path), run)
    text = _to_text(run)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as f:
            f.write(text)
    return path


def write_about(recipe_dir: Path, plan: str, about: JsonRecord) -> None:
    """Write what pages say of a plan, what it chose on dev, or what a simulation or test gave."""
    name = next(name for name, kind in _KINDS.items() if kind is type(about))
    about.to_file(plan_dir(recipe_dir, plan) / name)


def read_plan(recipe_dir: Path, plan: str) -> PlanResults:
    """What is published of a plan; nothing where it has no folder."""
    folder = plan_dir(recipe_dir, plan)
    skipped: list[Skipped] = []
    runs: list[PublishedRun] = []
    audits: list[Audit] = []
    extras: dict[str, Any] = {}
    for path in sorted(folder.glob("[!.]*.json")):  # but what a killed process left half-written
        try:
            if kind := _KINDS.get(path.name):
                extras[path.stem] = kind.from_file(path, _RESTORE)
            elif plan == AUDIT_PLAN:
                audits.append(_read_audit(path))
            else:
                runs.append(_read_run(path))
        except DataError as e:
            reason = e.what.removeprefix(f"{path}: ")
            skipped.append(Skipped(path.relative_to(recipe_dir).as_posix(), reason))
        except OSError as e:
            where = path.relative_to(recipe_dir).as_posix()
            skipped.append(Skipped(where, f"not readable: {e.strerror}"))
    return PlanResults(
        name=plan,
        runs=tuple(runs),
        audits=tuple(audits),
        skipped=tuple(skipped),
        **extras,
    )


def read_store(recipe_dir: Path) -> list[PlanResults]:
    """What is published of a recipe, by plan in order of name."""
    folders = sorted(p for p in (recipe_dir / RESULTS).glob("[!.]*") if p.is_dir())
    return [read_plan(recipe_dir, folder.name) for folder in folders]


def _read_audit(path: Path) -> Audit:
    """Read one system's audit; raises DataError if it is broken, or of another version."""
    from asrlib.audit.record import Audit  # which loads statsmodels: a second

    return Audit.from_file(path, _RESTORE)


def _read_run(path: Path) -> PublishedRun:
    """Read one file.

    Raises:
        DataError: it is broken, edited by hand, of another version, or of another folder or name.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, checksum, values = content["format"], content["checksum"], content["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: no published run", _RESTORE) from None
    if version != FORMAT:
        raise DataError(
            f"{path}: of format {version}, this version reads {FORMAT}", "use another version"
        )
    if checksum != _checksum(values):
        raise DataError(f"{path}: was changed after it was published", _RESTORE)
    try:
        run = PublishedRun.from_json(values)
    except ValueError as e:
        raise DataError(f"{path}: of another version ({type(e).__name__})", _RESTORE) from None
    names = (run.record.name, f"{run.record.name}-{run.record.identity[:8]}")
    if run.plan != path.parent.name or path.stem not in names:
        raise DataError(f"{path}: is of run {run.record.name} of plan {run.plan}", _RESTORE)
    return run


def _merge(old: PublishedRun, new: PublishedRun) -> PublishedRun:
    """The new run, with what it lacks of the old one: scores of sets and searches, weights."""

    def label(scores: SetScores | MixtureScores) -> tuple[str, str]:
        return scores.meta.set, scores.meta.way

    def both(olds: tuple[Any, ...], news: tuple[Any, ...]) -> tuple[Any, ...]:
        found = {label(s): s for s in (*olds, *news)}
        return tuple(found[key] for key in sorted(found))

    return PublishedRun(
        record=new.record,
        sets=both(old.sets, new.sets),
        mixtures=both(old.mixtures, new.mixtures),
        voices=tuple({v.set: v for v in (*old.voices, *new.voices)}.values()),
        raised=new.raised or old.raised,
    )


def _to_text(run: PublishedRun) -> str:
    values = run.to_json()
    return compact_text({"format": FORMAT, "checksum": _checksum(values), "run": values})


def _checksum(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
