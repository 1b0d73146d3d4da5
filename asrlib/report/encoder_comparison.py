"""The fair comparison of encoders: what `steps/compare_models.sh` left, as one table.

exp/compare/rates.json says which models were compared, at which learning rates each was tried on
dev, and which rate it was given. Their trainings are exp/MODEL_cmp_seedN; others take no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from asrlib.errors import DataError
from asrlib.experiments.benchmarks import streaming_speed
from asrlib.experiments.equal_settings import check_equal_settings
from asrlib.experiments.rates import RATES, TAG, Rates, read_rates
from asrlib.experiments.runs import Run, of_set, run_name, systems
from asrlib.experiments.training_log import settings_of
from asrlib.report.document import Section, Table, Text
from asrlib.report.format import (
    DASH,
    comparison_cells,
    gflops,
    number,
    params,
    quantiles,
    symbol_delay,
)
from asrlib.scoring.bootstrap import Resampling
from asrlib.scoring.compare import compare_systems
from asrlib.scoring.latency import correct_words, lags_ms, summarise

_REFERENCE = "conv_rnnt"
_JUDGED_BY = {"ctc": "CTC loss at the end, nats a frame,", "loss": "Lowest loss"}
_HEADER = (
    *("encoder", "params M", "learning rate", "seeds", "WER %", "against it", "interval", "p"),
    *(
        "delay p50 / p90 ms",
        "later than it p50 / p90 ms",
        "GFLOP/s",
        "RTF, 1 stream",
        "RTF, 32 streams",
        "memory MB",
    ),
)


def comparison_sections(
    exp: Path, runs: Sequence[Run], resampling: Resampling
) -> Iterator[Section]:
    """A table for each test set and search, and one of the learning rates; none before."""
    if not (exp / RATES).exists():
        return
    rates = read_rates(exp)
    models = {run_name(name): tried.chosen for name, tried in rates.models.items()}
    for test_set in sorted({r.test_set for r in runs}):
        grouped = systems(of_set(runs, test_set))
        for search in sorted({search for _, search in grouped}):
            found = {m: grouped.get((run_name(m, TAG), search)) for m in models}
            members = {m: group for m, group in found.items() if group}
            if len(members) < 2:
                continue
            for model, group in members.items():
                _check_rates(exp, group, models[model])
            names = [run.name for group in members.values() for run in group]
            check_equal_settings(exp, names, frozenset({"train.peak_lr"}))
            reference = _REFERENCE if _REFERENCE in members else next(iter(members))
            rows = [
                _row(exp, model, group, members[reference], models[model], resampling)
                for model, group in members.items()
            ]
            text = Text(
                f"Search {search}. `against it`: difference to {reference}, the same speakers "
                "resampled for both, seeds taken together: interval and p are of other speakers "
                "and these trainings, and ± is what other trainings change. `later than it`: how "
                f"much later than {reference} a word that both have right came out, over every "
                "pair of their seeds; below zero is sooner. Rates were chosen on dev. Delay, "
                "operations, real-time factors and memory are of the first seed. Real-time "
                "factors are those of the implementations: LSTM layers and the blocks of the "
                "amortized Transformer are compiled, all else calls torch's operations. Parts of "
                "one model, such as local_only, are as large as they come."
            )
            yield Section(f"Encoders compared on {test_set}", (text, Table(_HEADER, tuple(rows))))
    yield _rates_section(rates)


def _check_rates(exp: Path, group: Sequence[Run], rate: float) -> None:
    for run in group:
        trained = settings_of(exp / run.name, "train")["peak_lr"]
        if trained != rate:
            raise DataError(
                f"exp/{run.name}: was trained at {trained:g}, the rate chosen is {rate:g}",
                "run steps/compare_models.sh again with --force",
            )


def _row(
    exp: Path,
    model: str,
    group: Sequence[Run],
    reference: Sequence[Run],
    rate: float,
    resampling: Resampling,
) -> tuple[str, ...]:
    percents = [100 * r.scores.wer.rate for r in group]
    spread = f" ± {stdev(percents):.2f}" if len(percents) > 1 else ""
    first = group[0]
    difference, lag = (DASH, DASH, DASH), DASH
    if group is not reference:
        result = compare_systems(
            [r.decoding for r in reference], [r.decoding for r in group], resampling
        )
        points, ends, *_, p_value = comparison_cells(result)
        difference = (points, ends, p_value)
        lag = quantiles(summarise(_lags(reference, group)), sign="+")
    speed = streaming_speed(exp, first.name, first.test_set, first.search)
    return (
        model,
        params(first),
        f"{rate:g}",
        str(len(group)),
        f"{mean(percents):.2f}{spread}",
        *difference,
        symbol_delay(first),
        lag,
        gflops(first, 3),
        number(speed.real_time_factor_1, 3),
        number(speed.real_time_factor_32, 3),
        number(first.scores.meta.peak_memory_mb, 0),
    )


def _lags(reference: Sequence[Run], group: Sequence[Run]) -> list[float]:
    words = [[correct_words(r.decoding.aligned) for r in runs] for runs in (reference, group)]
    return [lag for a, b in product(*words) for lag in lags_ms(a, b)]


def _rates_section(rates: Rates) -> Section:
    columns = sorted({rate for tried in rates.models.values() for rate in tried.dev}, key=float)
    edges = {float(columns[0]), float(columns[-1])}
    rows = tuple(
        (
            model if tried.trial == model else f"{model}, by {tried.trial}",
            *(number(tried.dev.get(rate), 4) for rate in columns),
            f"{tried.chosen:g}" + (" *" if tried.chosen in edges else ""),
        )
        for model, tried in rates.models.items()
    )
    budget = rates.budget
    text = Text(
        f"{_JUDGED_BY[budget.judged_by]} on dev of one training of {budget.steps:,} steps at each "
        f"rate, {budget.warmup_steps:,} of them warm-up, seed {budget.seed}; the same budget for "
        "every model. With an asterisk: at an end of what was tried, so that a better rate may "
        "lie beyond. Nothing else was tuned for the comparison: dropout and whatever else "
        "differs are those of each model's file in conf/model."
    )
    table = Table(("model", *columns, "chosen"), rows)
    return Section("Learning rates, chosen on dev", (text, table), 3)
