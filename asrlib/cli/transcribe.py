"""`python -m asrlib transcribe`: transcribe audio files, with live output if requested."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asrlib.cli.common import search_option
from asrlib.cli.transcript_output import Screen, Text, Turns
from asrlib.config import as_override
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.recipe import PROJECT_DIR

if TYPE_CHECKING:
    from asrlib.speakers.turn_names import Voices
    from asrlib.streaming.recognizer import StreamingRecognizer


@click.command(name="transcribe")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A final.pt, or the directory that holds it, for example egs/mini/exp/conv_rnnt.",
)
@click.option(
    "--talkers",
    type=click.IntRange(min=1),
    help="How many talkers may speak at once. It must be the model's number, which is the default.",
)
@click.option(
    "--speakers",
    "speaker_model",
    type=click.Path(path_type=Path),
    help="A speaker model, for example egs/mini/exp/speaker_ecapa: name the turns by voice.",
)
@click.option(
    "--speaker-threshold",
    type=float,
    help="Least cosine between a turn and its speaker; by default the model's dev threshold.",
)
@click.option(
    "--cohort",
    type=click.Choice(["top", "bottom"]),
    help="The speaker's cohort, for a model that knows cohorts; without it, it is unknown.",
)
@search_option(about="instead of decode.search")
@click.option(
    "--lm",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ARPA file over the model's pieces, which the search adds. Choose its weight on dev"
    " (tune-decode) and give --tuned: with an unsuitable one, words are left out.",
)
@click.option(
    "--lodr",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ARPA file of order 2 of the training transcripts, which is subtracted; needs --lm.",
)
@click.option(
    "--tuned",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings that tune-decode chose: exp/NAME/tuned_SEARCH_TAG.json.",
)
@click.option("--hotwords", metavar='"A;B"', help="Phrases that the search favours.")
@click.option(
    "--hotwords-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with one phrase a line, optionally followed by a tab and its boost in nats for"
    " each piece.",
)
@click.option(
    "--n-best",
    type=click.IntRange(min=1),
    help="Show this many transcripts of each segment in --json, best first, with their scores: the"
    " natural-log probability, with what language models and hotwords add. The order is that of"
    " the score per token (decode.modified_beam.length_norm).",
)
@click.option("--endpoint", is_flag=True, help="Cut into segments where the speaker pauses.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON object per file: words with times and confidences. A word's confidence is"
    " the probability of its least probable token, without language models.",
)
@click.option("--live", is_flag=True, help="Show partial results while decoding.")
@click.option("--realtime", is_flag=True, help="Feed the audio at the pace of a microphone.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="decode.KEY=VALUE",
    help="Override a value of conf/decode.yaml. May be repeated.",
)
def command(
    files: tuple[Path, ...],
    model: Path | None,
    talkers: int | None,
    speaker_model: Path | None,
    speaker_threshold: float | None,
    cohort: str | None,
    search: str | None,
    lm: Path | None,
    lodr: Path | None,
    tuned: Path | None,
    hotwords: str | None,
    hotwords_file: Path | None,
    n_best: int | None,
    endpoint: bool,
    as_json: bool,
    live: bool,
    realtime: bool,
    overrides: tuple[str, ...],
) -> None:
    """Transcribe FILES of any sampling rate and number of channels; print a line of text for each.

    With a model of several talkers (conf/model/sts.yaml), print a line for each turn: start and
    end in seconds, output channel, words. With --live a turn is printed as soon as it closes. If
    there are several files, a line that begins with # names the file before its turns.

    --lm, --lodr, --tuned, --hotwords, --hotwords-file and --n-best need the search modified_beam,
    which is then the default. Values of --set come before those of --tuned.

    A file of silence gives an empty line. If a file cannot be read, an error on stderr names it,
    the other files are still transcribed, and the exit status is 1.
    """
    _refuse_ignored(n_best, as_json, speaker_threshold, speaker_model)
    fusion = (*_tuned(tuned), *_fusion(lm, lodr, hotwords, hotwords_file, n_best))
    if fusion and search is None and not any(o.startswith("decode.search=") for o in overrides):
        search = "modified_beam"
    overrides = (*fusion, *overrides)
    if search is not None:
        overrides = (*overrides, f"decode.search={search}")
    if endpoint:
        overrides = (*overrides, "decode.endpoint.enabled=true")
    recognizer = _load(model, talkers, overrides)
    if cohort is not None:
        recognizer.check_cohorts()
    show = Turns if recognizer.talkers > 1 else Text
    voices = None
    if speaker_model is not None:
        voices = _load_voices(speaker_model, speaker_threshold, recognizer, live)
    failed = 0
    for path in files:
        if recognizer.talkers > 1 and len(files) > 1 and not as_json:
            click.echo(f"# {path}")
        screen = Screen(sys.stderr if as_json else sys.stdout) if live else None
        try:
            shown = show(path, recognizer, screen, as_json)
            if isinstance(shown, Turns):
                shown.voices = voices
            _transcribe(recognizer, path, shown, realtime, cohort)
        except DataError as e:
            if screen is not None:
                screen.clear()
            click.echo(f"error: {_naming(path, e)}", err=True)
            failed += 1
    if failed:
        sys.exit(1)


def _refuse_ignored(
    n_best: int | None, as_json: bool, threshold: float | None, speakers: Path | None
) -> None:
    """Refuse options that would change nothing.

    Raises:
        ConfigError: names the option.
    """
    if n_best is not None and not as_json:
        raise ConfigError("--n-best: only --json shows several transcripts", "add --json")
    if threshold is not None and speakers is None:
        raise ConfigError(
            "--speaker-threshold: no speaker model names the turns", "add --speakers MODEL"
        )


def _tuned(path: Path | None) -> tuple[str, ...]:
    """Return what tune-decode chose, as overrides."""
    if path is None:
        return ()
    from asrlib.experiments.tune_decode import TunedDecoding

    chosen = TunedDecoding.from_file(path, "run python -m asrlib tune-decode again").chosen
    return tuple(as_override(key, value) for key, value in chosen.items())


def _fusion(
    lm: Path | None,
    lodr: Path | None,
    hotwords: str | None,
    hotwords_file: Path | None,
    n_best: int | None,
) -> tuple[str, ...]:
    """Return what the options of modified beam search set."""
    phrases = None if hotwords is None else [p.strip() for p in hotwords.split(";") if p.strip()]
    if phrases == []:
        raise ConfigError(
            "--hotwords: has no phrase", 'give phrases between semicolons, "NEW YORK;BOSTON"'
        )
    values = {
        "lm.path": lm and str(lm),
        "lm.lodr_path": lodr and str(lodr),
        "hotwords.phrases": phrases,
        "hotwords.path": hotwords_file and str(hotwords_file),
        "n_best": n_best,
    }
    return tuple(f"decode.{key}={json.dumps(v)}" for key, v in values.items() if v is not None)


def _load(
    model: Path | None, talkers: int | None, overrides: tuple[str, ...]
) -> StreamingRecognizer:
    if model is None:
        raise UserError(
            "--model is missing", "give a trained model, for example --model egs/mini/exp/conv_rnnt"
        )
    checkpoint = model / "final.pt" if model.is_dir() else model
    if not checkpoint.exists():
        raise UserError(
            f"--model {model}: "
            + (f"holds no {checkpoint.name}" if model.is_dir() else "no such file or directory"),
            "train a model first (./run.sh), or give the directory that holds its final.pt",
        )
    import torch

    from asrlib.config import check_overrides, load_config
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.settings import DecodeConfig

    path = PROJECT_DIR / "conf/decode.yaml"
    check_overrides(overrides, {"decode": path})
    config = load_config(DecodeConfig, "decode", [path], overrides)
    torch.set_num_threads(config.num_threads)
    recognizer = StreamingRecognizer.from_checkpoint(checkpoint, config)
    if talkers is not None and talkers != recognizer.talkers:
        other = {1: ", or train conf/model/conv_rnnt.yaml", 2: ", or train conf/model/sts.yaml"}
        raise UserError(
            f"--talkers {talkers}: {checkpoint} is a model of {recognizer.talkers} talker"
            + "s" * (recognizer.talkers > 1),
            f"give --talkers {recognizer.talkers}{other.get(talkers, '')}",
        )
    return recognizer


def _load_voices(
    path: Path, threshold: float | None, recognizer: StreamingRecognizer, live: bool
) -> Voices:
    from asrlib.speakers.turn_names import Voices

    if recognizer.talkers == 1:
        raise UserError(
            "--speakers: a model of one talker has no turns to name",
            "give a model of two talkers (conf/model/sts.yaml)",
        )
    if live:
        raise UserError("--speakers: turns are named when the file is complete", "leave out --live")
    return Voices.of(path, threshold)


def _transcribe(
    recognizer: StreamingRecognizer,
    path: Path,
    shown: Text | Turns,
    realtime: bool,
    cohort: str | None,
) -> None:
    from asrlib.audio.stream import read_pieces

    stream = recognizer.create_stream(cohort)
    begin, heard = time.monotonic(), 0.0
    for samples_N, rate in read_pieces(path, recognizer.config.chunk_seconds):
        heard += len(samples_N) / rate
        if realtime:
            time.sleep(max(0.0, begin + heard - time.monotonic()))
        stream.accept(samples_N, rate)
        recognizer.step([stream])
        shown.heard(stream)
    stream.finish()
    recognizer.step([stream])
    shown.finished(stream)


def _naming(path: Path, error: DataError) -> DataError:
    """Add the name of the file to an error that does not contain it."""
    return error if str(path) in error.what else DataError(f"{path}: {error.what}", error.fix)
