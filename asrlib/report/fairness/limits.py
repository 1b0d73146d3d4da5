"""What the figures cannot say, how small a gap would show, and the commands behind the cohorts."""

from __future__ import annotations

from asrlib.report.document import Block, Code, Section, Table, Text
from asrlib.report.fairness.collect import COHORTS_DIR, Fairness, Method
from asrlib.report.fairness.words import detectable_words, power_sentence
from asrlib.scoring.between_groups import fit_variation, speakers_needed

_GAPS = (0.2, 0.5, 1.0)  # for which the number of speakers is told

_LIMITS = (
    "Intervals are over speakers: they say how figures would move with other speakers of the same "
    "kind, not with other trainings, rooms or tasks.",
    "A gap that was found is inflated by the search; only the confirmed one counts. Nothing that "
    "was confirmed was searched for again on the same speakers.",
    "A cohort is a rule about places, zip codes, voices or metadata. It does not say why its "
    "speakers are recognised worse; what the cohort shares, and what remains with other "
    "differences held fixed, are hints.",
    "No confirmed gap does not mean no gap: smaller ones than those that would show may exist.",
)


def limits_section(fairness: Fairness) -> list[Section]:
    """Limits and power; nothing without judged cohorts."""
    judged = fairness.judged
    if not judged:
        return []
    header = ("method", "bottom speakers", "confirmation speakers", "smallest gap that shows %")
    rows = []
    for method in judged:
        one = method.judged
        assert one is not None
        size = one.bottom.speakers if one.bottom else 0
        hide = method.hides(size, fairness.public)
        rows.append(
            (
                method.name,
                "fewer than 11" if hide else str(size),
                f"{one.confirmation_speakers:,}",
                detectable_words(one.detectable_gap),
            )
        )
    text = f"Power, with a probability of 80 %: {power_sentence(judged)}."
    text += _needed(judged[0])
    blocks: list[Block] = [Text("\n".join(f"- {line}" for line in _LIMITS)), Text(text)]
    return [Section("Limits and power", (*blocks, Table(header, tuple(rows))))]


def _needed(method: Method) -> str:
    """How many speakers it takes to show a gap, with speakers like those of confirmation."""
    parts = list(method.parts("confirmation").values())
    variation = fit_variation(parts)
    errors, words = (sum(getattr(part, key) for part in parts) for key in ("errors", "words"))
    if variation is None or not errors:
        return ""
    each = words / sum(len(part) for part in parts)
    needed = [
        f"{speakers_needed(variation, errors / words, each, gap):,} for +{100 * gap:.0f} %"
        for gap in _GAPS
    ]
    return (
        f" With speakers as different as these, of {each:.0f} words each and an error rate of "
        f"{100 * errors / words:.1f} %, two cohorts need so many speakers each to show a gap: "
        f"{', '.join(needed)}."
    )


def cohort_commands(fairness: Fairness, recipe: str) -> list[Section]:
    """How the figures about cohorts were made."""
    records = [m.record for m in fairness.judged if m.record is not None]
    if not records:
        return []
    first = records[0]
    found, judged = first.discovery, first.confirmation
    where = f"--recipe-dir {recipe} --name {found.model}"
    sets = f"--set-name {found.set} --confirm {judged.set} --search {found.search}"
    embeddings = "".join(
        f" --embeddings {p.relative_to(fairness.recipe.dir.parent.parent).as_posix()}"
        for p in sorted(fairness.recipe.exp.glob(f"*/embeddings_{found.set}/speakers.npz"))
    )
    lines = ["# all of it", f"./run.sh --recipe {recipe.rpartition('/')[2]} --stage 9", ""]
    lines += ["# cohorts", f"python -m asrlib cohorts find {where} {sets}{embeddings}"]
    for method in fairness.methods:
        if method.explanation is not None:
            told = f"--method {method.name} --test-set {method.explanation.set}"
            lines.append(
                f"python -m asrlib cohorts explain {where} {told} --search {judged.search}"
            )
    settings = first.resampling
    text = (
        f"Cohorts: seed {fairness.config.seed}, {fairness.config.permutations} permutations of the "
        f"search (conf/cohorts.yaml). Judged with seed {settings.seed}, {settings.permutations:,} "
        f"permutations, {settings.replicates:,} draws of speakers (conf/score.yaml), by version "
        f"{first.version}. Definitions: exp/{COHORTS_DIR}/METHOD/definition.json. Corpus: "
        f"{first.corpus}."
    )
    return [Section("Commands of the cohorts", (Text(text), Code("\n".join(lines), "sh")), 3)]
