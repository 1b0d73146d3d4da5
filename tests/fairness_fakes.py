"""A recipe whose cohorts were found, judged and mitigated; around (33, -88) speakers err more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cohort_fakes import people
from scoring_fakes import QUICK, plant_run, planted_entries, run_record, write_decode

from asrlib.cohorts.config import CohortsConfig
from asrlib.cohorts.confirm import confirm_all, read_decoded
from asrlib.cohorts.explain import EXPLANATION_FILE, explain
from asrlib.cohorts.find import FOUND_FILE, Settings, find_all
from asrlib.cohorts.table import SpeakerTable
from asrlib.mitigation.table import (
    ByCohort,
    Changes,
    CurvePoint,
    MitigationRow,
    Mitigations,
    Rates,
    RegionalRates,
    SeedRates,
    Verdict,
)
from asrlib.scoring.cohort_frame import Estimate, read_cohort_map, score_cohorts
from asrlib.scoring.confirmation import CohortRate
from asrlib.scoring.gaps import Resampling, compare_speakers, contrast, gap_change
from asrlib.scoring.records import read_utterances
from asrlib.scoring.score import score_decode
from asrlib.scoring.speaker_sums import SpeakerSums
from asrlib.scoring.utt_counts import COUNTS_FILE, read_counts, sum_counts
from asrlib.scoring.wer import ErrorRate, align

METHODS = ("tree", "scan", "automatic", "metadata")
FEW = Resampling(replicates=200, permutations=200)
HALVES = ("discovery", "confirmation")


def fair_recipe(recipe: Path, speakers: int = 150, times: float = 6.0, public: bool = True) -> Path:
    """A recipe with a test set and both halves, decoded by `lstm`; all records are written.

    Args:
        speakers: of each half.
        times: how much more often speakers around (33, -88) err; 1: no cohort is worse.
    """
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf" / "publish.yaml").write_text(f"public: {str(public).lower()}\n")
    (recipe / "conf" / "cohorts.yaml").write_text("exclude_columns: [group]\n")
    plant_run(recipe, run_record(), flops_per_second=2e9)
    plant_run(recipe, run_record("conv_rnnt", "conv_rnnt"), worse=0.5, flops_per_second=3e9)
    tables, errors = {}, {}
    for number, half in enumerate(HALVES):
        table, _, there = people(speakers, 11 + number, half[0], times)
        rates = np.random.default_rng(number).gamma(4, 0.02 / 4, speakers)
        rates = np.minimum(rates * np.where(there, times, 1.0), 0.9)
        entries = planted_entries(dict(zip(table.speakers, rates, strict=True)), number, 6)
        folder = recipe / "exp" / "lstm" / f"decode_{half}_greedy"
        write_decode(folder, entries, run=run_record().identity)
        score_decode(folder, recipe / "data" / "speakers.tsv", QUICK)
        tables[half], errors[half] = table, sum_counts(read_counts(folder / COUNTS_FILE))
    _add_speakers(recipe / "data" / "speakers.tsv", tables)
    out = recipe / "exp" / "cohorts"
    settings = Settings(
        CohortsConfig(permutations=19, min_speakers=15),
        METHODS,
        ("gender", "age"),
        {"age": (16.0, 30.0)},
        public,
        recipe.name,
        recipe,
    )
    find_all(tables[HALVES[0]], tables[HALVES[1]], errors[HALVES[0]], settings, out)
    decoded = [read_decoded(recipe / f"exp/lstm/decode_{half}_greedy") for half in HALVES]
    confirm_all(out, out / FOUND_FILE, decoded[0], decoded[1], FEW)
    _explain(recipe, tables["confirmation"])
    if (out / "scan").is_dir():
        score_cohorts(recipe / "exp/lstm/decode_confirmation_greedy", out / "scan", FEW)
        write_mitigations(recipe, errors["confirmation"])
    return recipe


def _add_speakers(path: Path, tables: dict[str, SpeakerTable]) -> None:
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    old = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    new = [
        {"speaker": s, "set": half, **{c: v[i] for c, v in table.columns.items()}}
        for half, table in tables.items()
        for i, s in enumerate(table.speakers)
    ]
    names = list(dict.fromkeys(name for row in (*old, *new) for name in row))
    lines = ["\t".join(row.get(name, "") for name in names) for row in (*old, *new)]
    path.write_text("\n".join(["\t".join(names), *lines]) + "\n")


def _explain(recipe: Path, table: SpeakerTable) -> None:
    folder = recipe / "exp/lstm/decode_confirmation_greedy"
    aligned = align(read_utterances(folder / "hyp.jsonl"))
    for method in METHODS:
        directory = recipe / "exp" / "cohorts" / method
        if directory.is_dir():
            known = read_cohort_map(directory)
            own = {s: c for s, c in known.cohorts.items() if known.splits[s] == "confirmation"}
            columns, bands = ("gender", "age", "group"), {"age": (16.0, 30.0)}
            args = (own, table, aligned, columns, bands, ("snr_db",))
            explain(method, "confirmation", *args).to_file(directory / EXPLANATION_FILE)


# ---- mitigations


def write_mitigations(recipe: Path, errors: dict[str, ErrorRate]) -> None:
    """exp/fairness/mitigations.json of rows that help a little, a lot, or not at all."""
    cohorts = read_cohort_map(recipe / "exp" / "cohorts" / "scan").cohorts
    factors = {
        "start": (1.0, 1.0, "control"),
        "general data": (0.97, 0.99, "control"),
        "fine-tuning": (0.6, 1.5, "adapt"),
        "EWC": (0.65, 1.02, "adapt"),
        "oversampling": (0.8, 0.98, "train"),
    }
    systems = {
        label: _changed(errors, cohorts, bottom, rest)
        for label, (bottom, rest, _) in factors.items()
    }
    rows = []
    for label, (_, _, kind) in factors.items():
        own, is_method = systems[label], kind != "control"
        control = _changes("general data", systems["general data"], own, cohorts)
        start = _changes("start", systems["start"], own, cohorts)
        success = label in ("EWC", "oversampling")
        rows.append(
            MitigationRow(
                label=label,
                kind=kind,
                model="lstm",
                start=None if label == "start" else "lstm",
                membership=None,
                settings={},
                updates=0 if label == "start" else 200,
                seeds=(_seed(label, own, cohorts),),
                rates=_rates(own, cohorts),
                against_control=control if is_method else None,
                against_start=None if label == "start" else start,
                regional=RegionalRates("tree", 5, 8.125, 17.5, "bottom", 30.0, 21.0),
                measures={"symbol_delay_ms": ByCohort(*[Estimate(1234.0, 10, 123.4, None)] * 3)},
                verdict=Verdict(success, f"{label} does what it does.", True, success, None)
                if is_method
                else None,
            )
        )
    curve = []
    for share in (0.0, 0.5, 1.0):
        mixed = _changed(errors, cohorts, 1 - 0.4 * share, 1 + 0.5 * share)
        seeds = (_seed("fine-tuning", mixed, cohorts),)
        curve.append(CurvePoint(share, seeds, _rates(mixed, cohorts)))
    path = recipe / "exp" / "fairness" / "mitigations.json"
    path.parent.mkdir(exist_ok=True)
    Mitigations(
        version="0",
        plan="fairness",
        title="Adaptation to the circle",
        method="scan",
        cohorts="exp/cohorts/scan",
        test_set="confirmation",
        search="greedy",
        start="start",
        control="general data",
        rows=tuple(rows),
        curve=tuple(curve),
        resampling=FEW,
        notes=("No model of another seed of the start was trained.",),
        commands=("python -m asrlib plan fairness", "python -m asrlib judge-mitigations"),
    ).to_file(path)


def _changed(
    errors: dict[str, ErrorRate], cohorts: dict[str, str], bottom: float, rest: float
) -> dict[str, ErrorRate]:
    rng = np.random.default_rng(3)
    changed = {}
    for speaker, rate in sorted(errors.items()):
        factor = bottom if cohorts[speaker] == "bottom" else rest
        whole = rate.errors * factor
        changed[speaker] = ErrorRate(0, 0, int(whole + rng.uniform()), rate.words)
    return changed


def _sides(
    errors: dict[str, ErrorRate], cohorts: dict[str, str]
) -> tuple[dict[str, ErrorRate], dict[str, ErrorRate]]:
    bottom = {s: e for s, e in errors.items() if cohorts[s] == "bottom"}
    return bottom, {s: e for s, e in errors.items() if s not in bottom}


def _rate(errors: dict[str, ErrorRate], everybody: int) -> CohortRate:
    sums = SpeakerSums.of(errors)
    ends = sums.interval()
    share = 100 * len(sums) / everybody
    percent = ends and ends.percent()
    return CohortRate(len(sums), share, sums.errors, sums.words, 100 * sums.rate, percent)


def _rates(errors: dict[str, ErrorRate], cohorts: dict[str, str]) -> Rates:
    bottom, rest = _sides(errors, cohorts)
    gap = contrast(SpeakerSums.of(bottom), SpeakerSums.of(rest))
    rates = [_rate(x, len(errors)) for x in (bottom, rest, errors)]
    return Rates(rates[0], rates[1], rates[2], rates[1], gap)


def _changes(
    against: str, a: dict[str, ErrorRate], b: dict[str, ErrorRate], cohorts: dict[str, str]
) -> Changes:
    sides = [_sides(a, cohorts), _sides(b, cohorts)]
    bottom, rest = (compare_speakers(sides[0][i], sides[1][i]) for i in (0, 1))
    sums = [[SpeakerSums.of(x) for x in side] for side in sides]
    change = gap_change(sums[0], sums[1], FEW)
    return Changes(against, bottom, rest, compare_speakers(a, b), rest.interval, change)


def _seed(label: str, errors: dict[str, ErrorRate], cohorts: dict[str, str]) -> SeedRates:
    bottom, rest = (100 * ErrorRate.sum(x.values()).rate for x in _sides(errors, cohorts))
    overall = 100 * ErrorRate.sum(errors.values()).rate
    return SeedRates(1, label.replace(" ", "_"), bottom, rest, overall)
