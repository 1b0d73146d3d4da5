"""Generate the synthetic corpus, several speakers in parallel.

A speaker's files are written completely or not at all, and a speaker is skipped if they were made
with the present configuration and programs, so that a killed run can be continued. The bytes of the
corpus depend only on the configuration, not on --nj.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import acoustics
import click
import numpy as np
import soundfile
from people import CorpusConfig, Speaker, cast
from sentences import Grammar, Sentence

from asrlib.cli.job_options import job_options, parse_options
from asrlib.config import load_config
from asrlib.errors import ConfigError, DataError
from asrlib.files import atomic_dir, atomic_write
from asrlib.jobs import run_jobs
from asrlib.seeds import named_generator
from local.script import recipe_command, run

HERE = Path(__file__).resolve().parent
CONF = HERE.parent / "conf"
LEAD_IN_S = (0.10, 0.30)  # silence before the first word
TAIL_S = (0.25, 0.50)  # silence after the last word
BABBLE_VOICES = 6
_ENGINE_RATE = 22050
_TOLD_EVERY = 20  # speakers


class Synthesiser:
    """Process of the synthesiser (espeak.py) for one series of requests."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "espeak.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None  # both are pipes, see the line above
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Synthesiser:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        self._process.wait()

    def say(self, request: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
        """Return speech in [-1, 1] at the engine's rate, and the first sample of each word.

        Raises:
            DataError: the engine does not run, or it refuses the request.
        """
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        line = self._answers.readline()
        if not line:
            raise DataError(
                "egs/mini/local/espeak.py: the synthesiser does not run",
                "run tools/install.sh, then run stage 0 again",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise DataError(answer["error"], "fix conf/corpus.yaml or conf/sentences.yaml")
        if answer["sample_rate"] != _ENGINE_RATE:
            raise DataError(
                f"the synthesiser speaks at {answer['sample_rate']} Hz, not at {_ENGINE_RATE} Hz",
                "install the locked version of espeakng-loader: tools/install.sh",
            )
        pcm = self._answers.read(2 * answer["num_samples"])
        return np.frombuffer(pcm, "<i2") / 32768.0, answer["starts"]


@dataclass(frozen=True)
class Utterance:
    """One synthetic utterance.

    Attributes:
        id: utterance id.
        sentence: text and intent.
        samples: audio at 16 kHz.
        words: (word, start, end) of each word, seconds.
    """

    id: str
    sentence: Sentence
    samples: np.ndarray
    words: list[tuple[str, float, float]]


class Studio:
    """Makes the utterances of one speaker, with the same voice, vocal tract, room and noise."""

    def __init__(self, speaker: Speaker, seed: int, engine: Synthesiser) -> None:
        self._speaker, self._seed, self._engine = speaker, seed, engine
        self._tract = acoustics.VocalTract(speaker.vtl_ratio, _ENGINE_RATE)
        rng = named_generator(seed, speaker.id, "room")
        self._room = acoustics.room_response(rng, speaker.room_rt60, speaker.room_drr_db)
        self._others = self._record_others() if speaker.noise == "babble" else []

    def record(self, sentence: Sentence, utterance_id: str) -> Utterance:
        """Make an utterance; earlier ones affect it only through the engine's state."""
        rng = named_generator(self._seed, utterance_id, "utterance")
        speech, first_samples = self._engine.say(self._request(sentence.text, rng))
        speech = self._tract.apply(speech)
        lead = round(rng.uniform(*LEAD_IN_S) * acoustics.SAMPLE_RATE)
        tail = round(rng.uniform(*TAIL_S) * acoustics.SAMPLE_RATE)
        speech = np.pad(speech, (lead, tail))
        offset = lead / acoustics.SAMPLE_RATE
        starts = [offset + self._tract.seconds(n) for n in first_samples]
        ends = acoustics.word_ends(speech, starts)
        heard = acoustics.mix(
            acoustics.reverberate(speech, self._room),
            self._noise(rng, len(speech)),
            self._speaker.level_dbfs,
            self._speaker.snr_db,
        )
        times = [(round(a, 4), round(b, 4)) for a, b in zip(starts, ends, strict=True)]
        words = [(w, *t) for w, t in zip(sentence.text.split(), times, strict=True)]
        return Utterance(utterance_id, sentence, heard, words)

    def _request(self, text: str, rng: np.random.Generator) -> dict[str, Any]:
        """Make a request whose rate and pitch compensate for the change of the vocal tract."""
        semitones = self._speaker.pitch_semitones + 12 * np.log2(self._tract.ratio)
        return {
            "text": text,
            "voice": f"{self._speaker.accent}+{self._speaker.variant}",
            "rate": round(self._speaker.rate_wpm * self._tract.ratio),
            "pitch": round(min(max(50 + 50 * semitones / 12, 0), 99)),
            "range": round(self._speaker.intonation),
            "seed": int(rng.integers(1 << 31)),
        }

    def _record_others(self) -> list[np.ndarray]:
        rng = named_generator(self._seed, self._speaker.id, "others")
        grammar = Grammar(CONF / "sentences.yaml")
        voices = rng.permutation([f"en-us+{g}{i}" for g in "fm" for i in range(1, 6)])
        resample = acoustics.VocalTract(1.0, _ENGINE_RATE).apply
        others = []
        for voice in voices[:BABBLE_VOICES]:
            text = " ".join(grammar.draw(rng).text for _ in range(3))
            request = {"text": text, "voice": str(voice), "rate": 170, "pitch": 50, "range": 50}
            request["seed"] = int(rng.integers(1 << 31))
            others.append(resample(self._engine.say(request)[0]))
        return others

    def _noise(self, rng: np.random.Generator, n: int) -> np.ndarray:
        if self._speaker.noise == "babble":
            return acoustics.babble(rng, n, self._others)
        return acoustics.NOISES[self._speaker.noise](rng, n)


def speaker_dir(corpus: Path, speaker: Speaker) -> Path:
    """Return the directory of a speaker's files."""
    return corpus / speaker.set / speaker.id


def speaker_key(config: CorpusConfig, speaker: Speaker) -> str:
    """Hash everything that the bytes of a speaker's files depend on."""
    facts = [
        dataclasses.asdict(speaker),
        [config.seed, config.reserved_sentences, config.sets[speaker.set].seconds_per_speaker],
        [version(name) for name in ("espeakng-loader", "numpy", "scipy", "soundfile")],
        _programs_hash(),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _programs_hash() -> str:
    others = ("raw.py", "zip_attributes.py")  # they make no audio
    paths = [p for p in sorted(HERE.glob("*.py")) if p.name not in others]
    paths.append(CONF / "sentences.yaml")
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def is_complete(corpus: Path, speaker: Speaker, key: str) -> bool:
    """Whether the speaker's directory holds all files, made with this key."""
    place = speaker_dir(corpus, speaker)
    try:
        stored = json.loads((place / "speaker.json").read_text())
    except (OSError, ValueError):
        return False
    return stored["key"] == key and len(list(place.glob("*.flac"))) == stored["utterances"]


def _utterances(config: CorpusConfig, speaker: Speaker) -> Iterator[Utterance]:
    """Yield utterances until their length reaches the speaker's length in the set."""
    grammar = Grammar(CONF / "sentences.yaml")
    rng = named_generator(config.seed, speaker.id, "sentences")
    sentences = grammar.stream(rng, config.reserved_sentences, speaker.set != "train")
    wanted = config.sets[speaker.set].seconds_per_speaker * acoustics.SAMPLE_RATE
    done, count = 0, 0
    with Synthesiser() as engine:
        studio = Studio(speaker, config.seed, engine)
        while done < wanted:
            utterance = studio.record(next(sentences), f"{speaker.id}-{count:03d}")
            done, count = done + len(utterance.samples), count + 1
            yield utterance


def generate_speaker(config: CorpusConfig, speaker: Speaker, corpus: Path) -> None:
    """Write a speaker's FLAC files, utterances.jsonl and speaker.json, all or none.

    Raises:
        DataError: the synthesiser fails, or the files cannot be written.
    """
    place = speaker_dir(corpus, speaker)
    for leftover in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(leftover)  # left by a run that was killed
    try:
        with atomic_dir(place) as temp:
            rows = [_write(temp, utterance, place) for utterance in _utterances(config, speaker)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (temp / "utterances.jsonl").write_text(lines)
            facts = {
                "key": speaker_key(config, speaker),
                "utterances": len(rows),
                "speaker": dataclasses.asdict(speaker),
            }
            (temp / "speaker.json").write_text(json.dumps(facts, indent=1) + "\n")
    except (OSError, soundfile.LibsndfileError) as e:
        raise DataError(f"{place}: not written: {e}", "free some space or permit writing") from e


def _write(temp: Path, utterance: Utterance, place: Path) -> dict[str, Any]:
    name = f"{utterance.id}.flac"
    pcm = np.round(utterance.samples * 32767).astype(np.int16)
    packed = io.BytesIO()  # soundfile would wait for the disk at each file; atomic_dir does too
    soundfile.write(packed, pcm, acoustics.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    (temp / name).write_bytes(packed.getvalue())
    return {
        "id": utterance.id,
        "audio": f"{place.parent.name}/{place.name}/{name}",
        "intent": utterance.sentence.intent,
        "text": utterance.sentence.text,
        "duration": len(pcm) / acoustics.SAMPLE_RATE,
        "words": utterance.words,
    }


def generate(config: CorpusConfig, corpus: Path, speakers: Sequence[Speaker]) -> None:
    """Generate speakers, and say now and then how many are done.

    Raises:
        DataError: `generate_speaker` fails for a speaker.
    """
    for number, speaker in enumerate(speakers, 1):
        generate_speaker(config, speaker, corpus)
        if number % _TOLD_EVERY == 0 or number == len(speakers):
            logging.info("%d of %d speakers", number, len(speakers))


def _part(context: click.Context, option: click.Parameter, text: str | None) -> slice | None:
    """Read I/N: every N-th speaker, from the I-th."""
    if text is None:
        return None
    first, _, step = text.partition("/")
    if not (first.isdigit() and step.isdigit() and 1 <= int(first) <= int(step)):
        raise ConfigError(f"--part {text}: not a part", "write --part 1/4 for the first of four")
    return slice(int(first) - 1, None, int(step))


@recipe_command("corpus", __doc__)
@click.option(
    "--corpus-dir", default="", help="Directory for the corpus; default: corpus/ in the recipe."
)
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE")
@click.option("--force", is_flag=True, help="Generate all speakers again.")
@click.option("--part", callback=_part, help="I/N: generate the I-th of N parts, and end.")
@job_options
def command(
    recipe_dir: Path,
    corpus_dir: str,
    overrides: tuple[str, ...],
    force: bool,
    part: slice | None,
    nj: int,
    engine: str,
    options: tuple[str, ...],
) -> None:
    files = [CONF / "corpus.yaml", recipe_dir / "conf" / "corpus.yaml"]
    config = load_config(CorpusConfig, "corpus", files, overrides)
    corpus = (Path(corpus_dir) if corpus_dir else recipe_dir / "corpus").resolve()
    speakers = cast(config)
    todo = [s for s in speakers if force or not is_complete(corpus, s, speaker_key(config, s))]
    if part is not None:
        wanted = {speaker.id for speaker in speakers[part]}
        generate(config, corpus, [speaker for speaker in todo if speaker.id in wanted])
        return
    if nj == 1 and engine == "local":
        generate(config, corpus, todo)
    elif todo:
        command = [sys.executable, str(HERE / "generate.py"), "--recipe-dir", str(recipe_dir)]
        command += ["--corpus-dir", str(corpus), *(f"--set={override}" for override in overrides)]
        command += ["--force"] if force else []
        run_jobs(
            {f"corpus {i}": [*command, f"--part={i}/{nj}"] for i in range(1, nj + 1)},
            nj=nj,
            engine=engine,
            log_dir=recipe_dir / "data" / "log",
            name="corpus",
            options=parse_options(options),
        )
    with atomic_write(corpus / "speakers.json") as f:
        json.dump([dataclasses.asdict(s) for s in speakers], f, indent=1)
    with atomic_write(recipe_dir / "data" / "corpus.json") as f:
        json.dump({"title": "egs/mini, synthetic", "corpus_dir": str(corpus)}, f, indent=1)
    logging.info("egs/mini, synthetic: %s%s", corpus, "" if todo else ": up to date")


if __name__ == "__main__":
    run(command)
