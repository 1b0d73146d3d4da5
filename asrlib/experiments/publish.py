"""From scores in exp/ to the store of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asrlib.config import configclass
from asrlib.errors import DataError, UserError
from asrlib.experiments.benchmarks import streaming_speed
from asrlib.experiments.run_record import RUN_FILE, RunRecord, read_record
from asrlib.experiments.run_scores import (
    Counts,
    GroupCounts,
    MixtureScores,
    PublishedRun,
    Quantiles,
    SetScores,
)
from asrlib.experiments.store import Skipped, write_run
from asrlib.files import is_plain_name
from asrlib.meetings.score import SCORES_FILE as MEETINGS_FILE
from asrlib.meetings.score import MeetingScores
from asrlib.meetings.turn_voices import VOICES_FILE, TurnVoices
from asrlib.recipe import Recipe
from asrlib.scoring.groups import GroupTable
from asrlib.scoring.latency import LatencySummary
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.score import SCORES_FILE, Scores
from asrlib.scoring.utt_counts import COUNTS_FILE, read_counts, sum_counts
from asrlib.scoring.wer import ErrorRate
from asrlib.seeds import named_generator
from asrlib.verification.raised import RAISED_FILE, Raised
from asrlib.verification.records import Verification
from asrlib.verification.score import VERIFICATION_FILE

_AGAIN = "score again with --force"


@configclass
class PublishConfig:
    """conf/publish.yaml.

    Attributes:
        public: whether ids of speakers and sessions may be published; else they become numbers.
    """

    public: bool = False


@dataclass(frozen=True)
class Published:
    """What `publish` did: the files that hold the runs now, and what could not be published."""

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def publish(recipe: Recipe, names: Sequence[str] = (), plan: str | None = None) -> Published:
    """Copy scores of runs in exp/ to the store; the pages are made by `asrlib.report`.

    Args:
        names: directories under exp/; empty: all that were scored.
        plan: only runs of this plan.

    Raises:
        UserError: a directory that was named does not exist.
    """
    for name in names:
        if not (recipe.exp / name).is_dir():
            raise UserError(f"{recipe.exp / name}: missing", "name a directory under exp/")
    files: list[Path] = []
    skipped: list[Skipped] = []
    for name in names or scored_names(recipe.exp):
        try:
            run, left_out = collect_run(recipe, name)
            if plan is not None and run.plan != plan:
                continue
            skipped += left_out
            if run.scores or run.voices:
                files.append(write_run(recipe.dir, run))
            elif not left_out:
                skipped.append(Skipped(f"exp/{name}", "was not scored"))
        except DataError as e:
            skipped.append(Skipped(f"exp/{name}", e.what))
    return Published(tuple(files), tuple(skipped))


def scored_names(exp: Path) -> list[str]:
    """The directories under exp/ with scores."""
    found = [p for name in (SCORES_FILE, MEETINGS_FILE) for p in exp.glob(f"*/decode_*/{name}")]
    found += exp.glob(f"*/verify_*/{VERIFICATION_FILE}")
    return sorted({path.parent.parent.name for path in found})


def collect_run(recipe: Recipe, name: str) -> tuple[PublishedRun, list[Skipped]]:
    """What would be published of exp/NAME, and which of its scores cannot be.

    Raises:
        DataError: it has no record, or one of another directory.
    """
    directory = recipe.exp / name
    record = read_record(directory)
    if record.name != name:
        raise DataError(f"{directory / RUN_FILE}: is of {record.name}", "give it its name back")
    if record.plan is not None and not is_plain_name(record.plan):
        raise DataError(
            f"{directory / RUN_FILE}: its plan {record.plan!r} cannot be the name of a directory",
            "give it the name of a file of conf/plans",
        )
    public = recipe.config(PublishConfig, "publish").public
    sets: list[SetScores] = []
    mixtures: list[MixtureScores] = []
    skipped: list[Skipped] = []
    for decode_dir in sorted(directory.glob("decode_*")):
        try:
            if (decode_dir / SCORES_FILE).exists():
                sets.append(_set_scores(recipe.exp, decode_dir, record, public))
            if (decode_dir / MEETINGS_FILE).exists():
                mixtures.append(_mixture_scores(decode_dir, record, public))
        except DataError as e:
            skipped.append(Skipped(f"exp/{name}/{decode_dir.name}", e.what))
    voices: list[Verification] = []
    for path in sorted(directory.glob(f"verify_*/{VERIFICATION_FILE}")):
        try:
            found = Verification.from_file(path, _AGAIN)
            if path.parent.name == f"verify_{found.set}":  # not those by cohort
                voices.append(_voices(path, found, record))
        except DataError as e:
            skipped.append(Skipped(f"exp/{name}/{path.parent.name}", e.what))
    raised = None
    try:
        raised = _raised(directory / RAISED_FILE, record)
    except DataError as e:
        skipped.append(Skipped(f"exp/{name}/{RAISED_FILE}", e.what))
    run = PublishedRun(
        record=record,
        sets=tuple(sets),
        mixtures=tuple(mixtures),
        voices=tuple(voices),
        raised=raised,
    )
    return run, skipped


def _raised(path: Path, record: RunRecord) -> Raised | None:
    """The weights of training speakers by group, if they were asked for."""
    if not path.exists():
        return None
    found = Raised.from_file(path, "weigh the training speakers again")
    if found.run != record.identity:
        raise DataError(
            f"{path}: is of another training than that of {RUN_FILE}",
            "weigh the training speakers again",
        )
    return found


def _voices(path: Path, found: Verification, record: RunRecord) -> Verification:
    """What a verification.json says without small groups, which would tell of single speakers."""
    if found.run != record.identity:
        raise DataError(
            f"{path}: is of another training than that of {RUN_FILE}",
            "embed and score the set again",
        )
    groups = {
        column: replace(table, groups=tuple(g for g in table.groups if g.large_enough))
        for column, table in found.groups.items()
    }
    return replace(found, groups=groups)


def _check_decoded(decode_dir: Path, meta: DecodeMeta, record: RunRecord) -> None:
    if meta.run != record.identity:
        raise DataError(
            f"{decode_dir}: was decoded by another training than that of {RUN_FILE}",
            "decode and score it again",
        )


def _set_scores(exp: Path, decode_dir: Path, record: RunRecord, public: bool) -> SetScores:
    scores = Scores.from_file(decode_dir / SCORES_FILE, _AGAIN)
    meta, latency = scores.meta, scores.latency
    _check_decoded(decode_dir, meta, record)
    by_speaker = sum_counts(read_counts(decode_dir / COUNTS_FILE))
    if ErrorRate.sum(by_speaker.values()) != scores.wer:
        raise DataError(f"{decode_dir / COUNTS_FILE}: does not add up to {SCORES_FILE}", _AGAIN)
    speed = streaming_speed(exp, record.name, meta.set, meta.search)
    return SetScores(
        meta=meta,
        wer=scores.wer,
        cer=scores.cer,
        utterances=scores.utterances,
        wrong_utterances=scores.wrong_utterances,
        interval=scores.interval,
        delay=_quantiles(None if latency is None else latency.symbol_delay_ms),
        final=_quantiles(None if latency is None else latency.finalisation_ms),
        groups={column: _groups(table) for column, table in scores.groups.items()},
        gaps={column: table.gap for column, table in scores.groups.items() if table.gap},
        speakers=_by_shown_id(by_speaker, meta.set, public),
        rtf_1=speed.real_time_factor_1,
        rtf_32=speed.real_time_factor_32,
        cpu_1=speed.cpu_seconds_1,
    )


def _mixture_scores(decode_dir: Path, record: RunRecord, public: bool) -> MixtureScores:
    scores = MeetingScores.from_file(decode_dir / MEETINGS_FILE, _AGAIN)
    _check_decoded(decode_dir, scores.meta, record)
    by_session = {s.session: s.orcwer for s in scores.sessions}
    shown = shown_ids(by_session, scores.meta.set, public)
    return MixtureScores(
        meta=scores.meta,
        all=scores.all,
        sessions=_by_shown_id(by_session, scores.meta.set, public),
        counted_right=tuple(sorted(shown[s.session] for s in scores.sessions if s.counted_right)),
        by_voice=_by_voice(decode_dir / VOICES_FILE, scores),
    )


def _by_voice(path: Path, scores: MeetingScores) -> TurnVoices | None:
    """What naming the turns by voice changed, if it was done."""
    if not path.exists():
        return None
    found = TurnVoices.from_file(path, "run name-turns again")
    if found.cpwer.a != ErrorRate.sum([scores.all.cpwer]):
        raise DataError(
            f"{path}: is of another decode than {MEETINGS_FILE}", "run name-turns again"
        )
    return found


def _quantiles(summary: LatencySummary | None) -> Quantiles | None:
    if summary is None:
        return None
    return Quantiles(summary.count, summary.mean, summary.p50, summary.p90)


def _groups(table: GroupTable) -> dict[str, GroupCounts]:
    """Groups that are large enough: a small one would tell of single speakers."""
    return {
        g.value: GroupCounts(g.speakers, g.errors.errors, g.errors.words, g.interval)
        for g in table.groups
        if g.large_enough
    }


def shown_ids(ids: Iterable[str], test_set: str, public: bool) -> dict[str, str]:
    """How ids of speakers or sessions are published.

    Numbers come in a random order that depends on nothing but the set: so they are the same in all
    runs of the recipe, which can be compared, and tell nothing of the ids.
    """
    ordered = sorted(ids)
    if public:
        return {id: id for id in ordered}
    numbers = named_generator("publish", test_set).permutation(len(ordered))
    return {id: str(number + 1) for id, number in zip(ordered, numbers.tolist(), strict=True)}


def _by_shown_id(errors: dict[str, ErrorRate], test_set: str, public: bool) -> dict[str, Counts]:
    shown = shown_ids(errors, test_set, public)
    counts = {
        shown[id]: Counts(e.insertions, e.deletions, e.substitutions, e.words)
        for id, e in errors.items()
    }
    return {id: counts[id] for id in sorted(counts, key=lambda id: (len(id), id))}
