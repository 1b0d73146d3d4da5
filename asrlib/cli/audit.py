"""`python -m asrlib audit`: for whom does a recogniser fail, by transcripts of any system."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path

import click

from asrlib.cli.common import log_to
from asrlib.errors import ConfigError

log = logging.getLogger(__name__)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="audit")
@click.option("--ref", type=_FILE, required=True, help="References, lines `utterance words`.")
@click.option("--hyp", type=_FILE, required=True, help="Hypotheses of the recogniser, the same.")
@click.option("--utt2spk", type=_FILE, help="Lines `utterance speaker`; without it, clips.")
@click.option(
    "--speakers", type=_FILE, help="Table with tabs, a header, a column speaker, any others."
)
@click.option("--set-name", help="Only rows of --speakers with this value in the column set.")
@click.option("--audio", type=_FILE, help="Lines `utterance file`: cohorts from MFCC statistics.")
@click.option("--embeddings", type=_FILE, help="Speaker embeddings (.npz): cohorts from voices.")
@click.option("--shares", type=_FILE, help="CSV of shares by zip code: cohorts of zip codes.")
@click.option("--group", "groups", multiple=True, help="A column to use; repeatable. Default: all.")
@click.option("--bands", multiple=True, help="Edges of a column with numbers: age=10,16,30.")
@click.option(
    "--normalise",
    type=click.Choice(["upper", "case", "none"]),
    default="upper",
    show_default=True,
    help="upper: capitals, no punctuation; case: lower case; none: as it is.",
)
@click.option(
    "--missing",
    type=click.Choice(["leave-out", "delete"]),
    default="leave-out",
    show_default=True,
    help="What becomes of references without a line in --hyp.",
)
@click.option("--public", is_flag=True, help="Show exact places, and places of few speakers.")
@click.option("--min-speakers", type=click.IntRange(1), help="Fewest in a cohort searched for.")
@click.option("--permutations", type=click.IntRange(99), default=2000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--title", default="Whom does it fail?", help="Title of the page.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="A directory."
)
def command(
    ref: Path,
    hyp: Path,
    utt2spk: Path | None,
    speakers: Path | None,
    set_name: str | None,
    audio: Path | None,
    embeddings: Path | None,
    shares: Path | None,
    groups: tuple[str, ...],
    bands: tuple[str, ...],
    normalise: str,
    missing: str,
    public: bool,
    min_speakers: int | None,
    permutations: int,
    seed: int,
    title: str,
    out: Path,
) -> None:
    """Say for which speakers any recogniser fails, and write OUT/audit.html and OUT/audit.json."""
    from asrlib.audit.columns import choose_columns, parse_bands
    from asrlib.audit.inputs import read_inputs
    from asrlib.audit.record import AUDIT_FILE, PAGE_FILE
    from asrlib.audit.run import Options, run_audit
    from asrlib.audit.voices import with_voices
    from asrlib.files import atomic_write
    from asrlib.json_record import compact_text
    from asrlib.report.audit_page import audit_document
    from asrlib.report.document import to_html

    if audio is not None and embeddings is not None:
        raise ConfigError("--audio and --embeddings: give one of the two", "drop --audio")
    log_to(None)
    inputs = read_inputs(
        ref, hyp, utt2spk, speakers, normalise, set_name, count_missing=missing == "delete"
    )
    columns, edges, notes = choose_columns(inputs.table, groups, parse_bands(bands))
    voices = with_voices(inputs, audio, embeddings)
    options = Options(
        title=title,
        command=shlex.join(["python", "-m", "asrlib", "audit", *_own_words()]),
        normalisation=normalise,
        columns=columns,
        bands=edges,
        shares=shares,
        measures=voices.measures,
        public=public,
        min_speakers=min_speakers,
        permutations=permutations,
        seed=seed,
    )
    audit = run_audit(inputs, voices.table, [*notes, *voices.notes], options, out)
    with atomic_write(out / AUDIT_FILE) as f:
        f.write(compact_text(audit.to_json()))
    with atomic_write(out / PAGE_FILE) as f:
        f.write(to_html(audit_document(audit)))
    log.info("%s", audit.wer.line())
    log.info("%s", audit.finding)
    log.info("written: %s and %s", out / PAGE_FILE, out / AUDIT_FILE)


def _own_words() -> list[str]:
    """The words of the command line after the name of the command."""
    words = sys.argv[1:]
    return words[words.index("audit") + 1 :] if "audit" in words else []
