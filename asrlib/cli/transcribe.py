"""`python -m asrlib transcribe`: transcribe audio files, with live output if requested."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asrlib.cli.common import search_option
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.recipe import PROJECT_DIR

if TYPE_CHECKING:
    from asrlib.speakers.turn_names import Voices
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.result import Result, Segment
    from asrlib.streaming.stream import Stream
    from asrlib.text.turns import Turn


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
    help="An ARPA file over the model's pieces, which the search adds; see decode.lm.scale.",
)
@click.option("--hotwords", metavar='"A;B"', help="Phrases that the search favours.")
@click.option(
    "--hotwords-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with one phrase a line, optionally followed by a tab and its boost in nats.",
)
@click.option(
    "--n-best",
    type=click.IntRange(min=1),
    help="Show this many transcripts of each segment with their scores, in --json.",
)
@click.option("--endpoint", is_flag=True, help="Cut into segments where the speaker pauses.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON object per file: words with times and confidences.",
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

    --lm, --hotwords, --hotwords-file and --n-best need the search modified_beam, which is then the
    default.

    A file of silence gives an empty line. If a file cannot be read, an error on stderr names it,
    the other files are still transcribed, and the exit status is 1.
    """
    fusion = _fusion(lm, hotwords, hotwords_file, n_best)
    if fusion and search is None and not any(o.startswith("decode.search=") for o in overrides):
        search = "modified_beam"
    overrides = (*overrides, *fusion)
    if search is not None:
        overrides = (*overrides, f"decode.search={search}")
    if endpoint:
        overrides = (*overrides, "decode.endpoint.enabled=true")
    recognizer = _load(model, talkers, overrides)
    if cohort is not None:
        recognizer.check_cohorts()
    show = _Turns if recognizer.talkers > 1 else _Text
    voices = None
    if speaker_model is not None:
        voices = _load_voices(speaker_model, speaker_threshold, recognizer, live)
    failed = 0
    for path in files:
        if recognizer.talkers > 1 and len(files) > 1 and not as_json:
            click.echo(f"# {path}")
        screen = _Screen(sys.stderr if as_json else sys.stdout) if live else None
        try:
            shown = show(path, recognizer, screen, as_json)
            if isinstance(shown, _Turns):
                shown.voices = voices
            _transcribe(recognizer, path, shown, realtime, cohort)
        except DataError as e:
            if screen is not None:
                screen.clear()
            click.echo(f"error: {_naming(path, e)}", err=True)
            failed += 1
    if failed:
        sys.exit(1)


def _fusion(
    lm: Path | None, hotwords: str | None, hotwords_file: Path | None, n_best: int | None
) -> tuple[str, ...]:
    """Return what the options of modified beam search set."""
    phrases = None if hotwords is None else [p.strip() for p in hotwords.split(";") if p.strip()]
    if phrases == []:
        raise ConfigError(
            "--hotwords: has no phrase", 'give phrases between semicolons, "NEW YORK;BOSTON"'
        )
    values = {
        "lm.path": lm and str(lm),
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
            f"--model {model}: {checkpoint.name} is missing there",
            "train a model first (./run.sh), or give the directory that holds its final.pt",
        )
    import torch

    from asrlib.config import check_sections, load_config
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.settings import DecodeConfig

    check_sections(overrides, ("decode",))
    config = load_config(DecodeConfig, "decode", [PROJECT_DIR / "conf/decode.yaml"], overrides)
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
    shown: _Text | _Turns,
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


@dataclass
class _Text:
    """Shows the words of one talker, one line for each file."""

    path: Path
    recognizer: StreamingRecognizer
    screen: _Screen | None
    as_json: bool

    def heard(self, stream: Stream) -> None:
        if self.screen is not None:
            self.screen.show(self.recognizer.result(stream).text)

    def finished(self, stream: Stream) -> None:
        if self.screen is not None:
            self.screen.clear()
        result = self.recognizer.result(stream)
        _print(_to_json(self.path, result) if self.as_json else result.text)


@dataclass
class _Turns(_Text):
    """Shows the turns of several talkers.

    With --live, turns are printed when they close, and open turns are shown on a line that is
    rewritten. Otherwise all turns of a file are printed at its end, in order of start.
    """

    kept: list[Turn] = field(default_factory=list)
    voices: Voices | None = None

    def heard(self, stream: Stream) -> None:
        closed = self.recognizer.take_turns(stream)
        if self.screen is None or self.as_json:
            self.kept += closed
        else:
            self._print_lines(closed)
        if self.screen is not None:
            texts = self.recognizer.open_texts(stream)
            self.screen.show(" | ".join(f"{channel}: {text}" for channel, text in texts))

    def finished(self, stream: Stream) -> None:
        turns = [*self.kept, *self.recognizer.turns(stream)]
        turns.sort(key=lambda turn: (turn.start, turn.channel))
        if self.voices is not None:
            turns = self.voices.named(turns, self.path)
        if self.as_json:
            if self.screen is not None:
                self.screen.clear()
            _print({"file": str(self.path), "turns": [_turn_json(turn) for turn in turns]})
        else:
            self._print_lines(turns)

    def _print_lines(self, turns: list[Turn]) -> None:
        if self.screen is not None:
            self.screen.clear()
        for turn in turns:
            who = turn.speaker or f"channel {turn.channel}"
            _print(f"{turn.start:8.2f} {turn.end:8.2f}  {who}  {turn.words}")


def _print(content: str | dict[str, Any]) -> None:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    click.echo(text)


def _turn_json(turn: Turn) -> dict[str, Any]:
    return {
        "channel": turn.channel,
        **({"speaker": turn.speaker} if turn.speaker else {}),
        "start": _seconds(turn.start),
        "end": _seconds(turn.end),
        "text": turn.words,
        "words": _words(turn.word_times),
    }


class _Screen:
    """Shows partial results: rewrites one line on a terminal, else prints a line per change."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        if text == self._shown:
            return
        self._shown = text
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            text = "\r\x1b[K" + text[-(columns - 1) :]
        print(text, end="" if self._terminal else "\n", file=self._out, flush=True)

    def clear(self) -> None:
        """Clear the line for the final text."""
        if self._terminal and self._shown:
            print("\r\x1b[K", end="", file=self._out, flush=True)
            self._shown = ""


def _naming(path: Path, error: DataError) -> DataError:
    """Add the name of the file to an error that does not contain it."""
    return error if str(path) in error.what else DataError(f"{path}: {error.what}", error.fix)


def _to_json(path: Path, result: Result) -> dict[str, Any]:
    return {
        "file": str(path),
        "text": result.text,
        "words": _sure_words(result),
        "segments": [_segment_json(segment) for segment in result.segments],
    }


def _segment_json(segment: Segment) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "text": segment.text,
        "words": _sure_words(segment),
        "final_time": _seconds(segment.final_time),
    }
    if segment.alternatives:
        shown["alternatives"] = [
            {"text": a.text, "score": round(a.score, 3)} for a in segment.alternatives
        ]
    return shown


def _sure_words(said: Result | Segment) -> list[dict[str, Any]]:
    """Words with their confidences, 0 to 1."""
    pairs = zip(_words(said.words), said.confidences, strict=True)
    return [{**word, "confidence": round(confidence, 3)} for word, confidence in pairs]


def _words(words: Iterable[tuple[str, float, float]]) -> list[dict[str, Any]]:
    return [{"word": w, "start": _seconds(a), "end": _seconds(b)} for w, a, b in words]


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
