"""Tables of results/statistics: how often the statistics and the searches are right."""

from __future__ import annotations

from collections.abc import Iterator

from asrlib.experiments.discovery_power import DiscoveryPower
from asrlib.experiments.simulation import Share, Simulation
from asrlib.report.document import Code, Section, Table, Text
from asrlib.report.format import number

_MODELS = {"gamma": "gamma-Poisson", "beta": "beta-binomial", "skewed": "skewed"}


def simulation_sections(found: Simulation) -> Iterator[Section]:
    """The tables, with what they are tables of."""
    model = found.model
    text = (
        f"{found.draws:,} draws a cell, seed {found.seed}. Speakers have {model.words[0]} to "
        f"{model.words[1]} words each. Their rates are gamma or beta distributed, with a "
        f"coefficient of variation of {model.cv:g} (beta, above 50 %: {model.high_cv:g}), after "
        f"{model.fitted_to}. Skewed: beta(2, 2 / m - 2) around the mean m, the hardest case at "
        "80 %. In brackets: exact 95 % intervals of the shares."
    )
    cells = {(c.model, c.rate, c.speakers): _percent(c.covered) for c in found.coverage}
    counts = sorted({c.speakers for c in found.coverage})
    kinds = list(dict.fromkeys((c.model, c.rate) for c in found.coverage))
    kinds.sort(key=lambda kind: list(_MODELS).index(kind[0]))
    rows = tuple(
        (_MODELS[kind], f"{100 * rate:g}", *(cells[kind, rate, count] for count in counts))
        for kind, rate in kinds
    )
    title = "Coverage of the 95 % interval of a rate"
    header = ("model", "WER %", *(f"{count} speakers" for count in counts))
    yield Section(title, (Text(text), Table(header, rows, 1)))
    alarms = tuple(
        (
            f"{a.groups} × {a.speakers}",
            *map(_percent, (a.by_test, a.by_interval, a.above_null)),
        )
        for a in found.alarms
    )
    text = (
        "All groups have one true rate, 10 %. An alarm is a permutation test with p < .05, an "
        "interval of the gap above zero, or a gap above its 95th percentile over permutations."
    )
    header = ("groups × speakers", "test", "interval", "above the null")
    yield Section("False alarms of a gap", (Text(text), Table(header, alarms, 1)))
    confirmed = tuple(
        (
            f"{c.speakers} + {c.speakers}",
            str(c.clusters),
            f"{c.median_found:+.0f} %",
            f"{c.median_confirmed:+.0f} %",
            _percent(c.confirmed),
        )
        for c in found.confirmed
    )
    text = (
        "The worst of random clusters of discovery speakers is judged on confirmation speakers; "
        "there is no true difference."
    )
    header = ("speakers", "clusters", "median found gap", "median confirmed gap", "confirmed")
    yield Section("Gaps that a search found", (Text(text), Table(header, confirmed, 1)))
    power = tuple(
        (f"{p.bottom} against {p.top}", f"{p.gap:+.0f} %", _percent(p.shown)) for p in found.power
    )
    text = "The smallest detectable gap is planted; it should show in 80 % of the draws."
    header = ("speakers", "planted gap", "shown")
    yield Section("Power", (Text(text), Table(header, power, 1)))


def discovery_section(found: DiscoveryPower) -> Section:
    """How often a planted disparity is found and confirmed, with the command that repeats it."""
    speakers = sum(g.speakers for g in found.groups)
    places = [g for g in found.groups if g.is_place]
    planted = ", ".join(
        f"{g.speakers} in {' '.join(g.states or [f'zip {p}..' for p in g.zip_prefixes])} with "
        f"{100 * g.rate:.1f} %"
        for g in places
    )
    others = ", ".join(
        f"{g.speakers} with {100 * g.rate:.1f} %" for g in found.groups if not g.is_place
    )
    text = (
        f"{found.draws:,} draws, seed {found.seed}, of {speakers} discovery and {speakers} "
        f"confirmation speakers. Error rates: {planted}; anywhere, {others}. Speakers have a "
        f"coefficient of variation of {found.model.cv:g} within a group, after "
        f"{found.model.fitted_to}. Confirmed: p < .05 on confirmation speakers; corrected: "
        "p < .05 / 6, which holds whatever the other five methods of stage 9 give. The oracle "
        "knows the planted areas. Of confirmed bottom cohorts: the share of their speakers who "
        "live in a planted area (and the share that 95 % of them exceed), and the share of the "
        "speakers of planted places that they reach."
    )
    rows = tuple(
        (
            rule.rule,
            *map(_percent, (rule.found, rule.confirmed, rule.corrected)),
            f"{number(rule.precision, 1, 100)} ({number(rule.precision_5, 1, 100)})",
            number(rule.recall, 1, 100),
        )
        for rule in found.rules
    )
    header = ("rule", "found", "confirmed", "corrected", "in a planted area %", "reached %")
    blocks = (Text(text), Table(header, rows, 1), Code(found.command, "sh"))
    return Section("A planted disparity: found and confirmed", blocks)


def _percent(share: Share) -> str:
    low, high = (100 * end for end in share.interval)
    return f"{100 * share.value:.1f} % [{low:.1f}, {high:.1f}]"
