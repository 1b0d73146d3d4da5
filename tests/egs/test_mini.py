"""Laws of the synthetic corpus: same bytes, true word times, and what was planted is there."""

from __future__ import annotations

import ast
import csv
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import zipcodes
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

REPO = Path(__file__).resolve().parents[2]
MINI = REPO / "egs" / "mini"
sys.path[:0] = [str(REPO), str(MINI / "local")]  # as path.sh and the interpreter set it

import acoustics  # noqa: E402
import generate  # noqa: E402
import raw  # noqa: E402
from people import CorpusConfig, cast  # noqa: E402
from sentences import Grammar, is_reserved  # noqa: E402
from zip_attributes import write_zip_attributes  # noqa: E402

from asrlib.config import load_config  # noqa: E402
from asrlib.data.raw import read_raw  # noqa: E402
from asrlib.errors import ConfigError, DataError, UserError  # noqa: E402

RATE = acoustics.SAMPLE_RATE
SETS = ("train", "dev", "test", "discovery", "confirmation")
TINY = [
    "corpus.scale=0.02",
    *(f"corpus.sets.{name}.seconds_per_speaker=3.0" for name in SETS),
]


@pytest.fixture(scope="module")
def config() -> CorpusConfig:
    return load_config(CorpusConfig, "corpus", [MINI / "conf" / "corpus.yaml"])


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar(MINI / "conf" / "sentences.yaml")


def make_corpus(recipe_dir, nj, *overrides):
    """What stage 0 does, in this process; click's result."""
    options = [part for value in (*TINY, *overrides) for part in ("--set", value)]
    arguments = ["--recipe-dir", str(recipe_dir), "--nj", str(nj), *options]
    return CliRunner().invoke(generate.command, arguments)


def tree_hash(directory):
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A recipe directory with a tiny corpus, made by one process."""
    recipe_dir = tmp_path_factory.mktemp("mini")
    result = make_corpus(recipe_dir, 1)
    assert result.exit_code == 0, result.output
    return recipe_dir


def test_same_bytes_with_any_number_of_jobs(tiny, tmp_path):
    assert make_corpus(tmp_path, 2).exit_code == 0
    hashes = tree_hash(tiny / "corpus")
    assert sum(name.endswith(".flac") for name in hashes) > 6
    assert tree_hash(tmp_path / "corpus") == hashes


def test_another_seed_makes_another_corpus(tiny, tmp_path):
    assert make_corpus(tmp_path, 2, "corpus.seed=99").exit_code == 0
    same = set(tree_hash(tiny / "corpus").values()) & set(tree_hash(tmp_path / "corpus").values())
    assert not same


def test_the_old_sets_stay_what_they_were(config, tmp_path):
    """Results of different months are compared, so their speakers, texts and lengths are fixed."""
    old = [s for s in cast(config) if s.set in ("train", "dev", "test")]
    facts = json.dumps([dataclasses.asdict(s) for s in old])
    speaker = next(s for s in old if s.id == "test000")
    generate.generate_speaker(config, speaker, tmp_path)
    lines = (tmp_path / "test" / "test000" / "utterances.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    # No samples: their last bit may depend on the processor.
    spoken = json.dumps([(row["id"], row["text"], row["duration"]) for row in rows])
    digests = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in (facts, spoken)]
    assert digests == ["8445f863a35fedd7", "c43b72b0751d9e40"]


def test_a_seed_of_a_set_draws_other_speakers_of_that_set_only(config):
    drawn = dataclasses.replace(config.sets["confirmation"], seed=7)
    other = dataclasses.replace(config, sets=config.sets | {"confirmation": drawn})
    before, after = cast(config), cast(other)
    kept = [s for s in before if s.set != "confirmation"]
    assert [s for s in after if s.set != "confirmation"] == kept
    old = [s for s in before if s.set == "confirmation"]
    new = [s for s in after if s.set == "confirmation"]
    assert not {s.id for s in old} & {s.id for s in new}
    assert Counter(s.group for s in old) == Counter(s.group for s in new)
    assert sum(a.zip == b.zip for a, b in zip(old, new, strict=True)) < 40


def test_killed_run_continues_and_keeps_what_was_there(tiny, tmp_path):
    shutil.copytree(tiny / "corpus", tmp_path / "corpus")
    train = tmp_path / "corpus" / "train"
    shutil.rmtree(train / "train001")
    (train / ".train001.abcd").mkdir()  # what SIGKILL leaves
    next((train / "train002").glob("*.flac")).unlink()
    kept = (train / "train000" / "speaker.json").stat().st_mtime_ns
    result = make_corpus(tmp_path, 2)
    assert "up to date" not in result.output
    assert tree_hash(tmp_path / "corpus") == tree_hash(tiny / "corpus")
    assert (train / "train000" / "speaker.json").stat().st_mtime_ns == kept
    assert not list(train.glob(".*"))
    assert "up to date" in make_corpus(tmp_path, 2).output


def test_failing_speaker_leaves_nothing_and_says_what_to_mend(tmp_path):
    voices = [f"corpus.voices.{gender}=[nobody]" for gender in ("female", "male")]
    error = make_corpus(tmp_path, 2, *voices).exception
    assert isinstance(error, UserError)
    assert "nobody" in error.what
    assert error.fix
    assert not [path for path in (tmp_path / "corpus").rglob("*") if path.is_file()]
    assert not (tmp_path / "data" / "corpus.json").exists()


def test_engine_that_does_not_start_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(generate.sys, "executable", "/bin/false")
    with generate.Synthesiser() as engine, pytest.raises(DataError, match="does not run") as error:
        engine.say({"text": "hello " * 100000})
    assert "tools/install.sh" in error.value.fix


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("corpus.population.snr_bd=[1.0, 2.0]", "snr_db"),
        ("corpus.population.noises=[thunder]", "babble"),
        ("corpus.groups.fast_talker.speakers.tset=3", "test"),
        ("corpus.groups.noisy_home.zip_prefixes=[x]", "noisy_home"),
        ("corpus.groups.noisy_home.speakers.train=9999", "train"),
    ],
)
def test_bad_configuration_is_explained(tmp_path, override, hint):
    error = make_corpus(tmp_path, 1, override, "corpus.scale=0.1").exception
    assert isinstance(error, ConfigError)
    assert hint in str(error)


def test_raw_tables(tiny):
    assert CliRunner().invoke(raw.command, ["--recipe-dir", str(tiny)]).exit_code == 0
    speakers: dict[str, str] = {}
    for name in SETS:
        rows = read_raw(tiny / "data" / "raw" / f"{name}.jsonl")
        assert rows
        for row in rows:
            assert speakers.setdefault(row.speaker, name) == name
            info = soundfile.info(row.audio)
            assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
            assert [word for word, _, _ in row.words] == row.text.upper().split()
            times = [t for _, start, end in row.words for t in (start, end)]
            assert times == sorted(times)
            assert all(start < end for _, start, end in row.words)
            assert times[0] > 0
            assert times[-1] < info.duration
            assert np.abs(soundfile.read(row.audio)[0]).max() < 0.98
            assert {"accent", "zip", "latitude", "group", "snr_db"} <= row.speaker_meta.keys()


def test_missing_corpus_is_an_error(tmp_path):
    error = CliRunner().invoke(raw.command, ["--recipe-dir", str(tmp_path)]).exception
    assert isinstance(error, DataError)
    assert "stage 0" in error.fix


def test_word_times_agree_with_the_energy(config, grammar):
    dips = []
    for speaker in cast(config)[::80]:
        with generate.Synthesiser() as engine:
            studio = generate.Studio(speaker, config.seed, engine)
            rng = np.random.default_rng(1)
            for _ in range(5):
                text = grammar.draw(rng).text
                speech, samples = engine.say(studio._request(text, rng))
                speech = studio._tract.apply(speech)
                starts = [studio._tract.seconds(n) for n in samples]
                ends = acoustics.word_ends(speech, starts)
                active = np.flatnonzero(acoustics.is_speech(speech)) / 100
                assert active[0] - starts[0] == pytest.approx(0, abs=0.03)
                assert active[-1] + 0.01 - ends[-1] == pytest.approx(0, abs=0.02)
                levels = acoustics.block_levels(speech)
                for word, start, end in zip(text.split(), starts, ends, strict=True):
                    first, last = round(100 * start), round(100 * end)
                    assert acoustics.is_speech(speech)[first:last].mean() > 0.5
                    if word[0] in "pbtdk" and word[1] != "h" and first > 3:
                        closure = levels[first - 3 : first + 4].min()
                        dips.append(20 * np.log10(levels[first:last].max() / (closure + 1e-9)))
    assert len(dips) > 10
    assert np.median(dips) > 20  # dB: the lips are closed where such a word begins


def test_speaking_rate_and_pitch_survive_the_vocal_tract():
    n = np.arange(22050)
    tone = np.sin(2 * np.pi * 440 * n / 22050)
    for ratio in (0.9, 1.0, 1.1):
        tract = acoustics.VocalTract(ratio, 22050)
        assert tract.ratio == pytest.approx(ratio, abs=0.002)
        out = tract.apply(tone)
        assert len(out) / RATE == pytest.approx(tract.ratio, rel=1e-3)
        assert tract.seconds(22050) == pytest.approx(tract.ratio)
        peak = np.argmax(np.abs(np.fft.rfft(out))) * RATE / len(out)
        assert peak == pytest.approx(440 / tract.ratio, abs=2)


@settings(max_examples=20, deadline=None)
@given(
    snr=st.floats(0, 40),
    level=st.floats(-40, -20),
    kind=st.sampled_from(sorted(acoustics.NOISES)),
    seed=st.integers(0, 1000),
)
def test_mix_has_the_snr_and_level_asked_for(snr, level, kind, seed):
    rng = np.random.default_rng(seed)
    speech = np.concatenate([np.zeros(8000), rng.standard_normal(16000), np.zeros(4000)])
    noise = acoustics.NOISES[kind](rng, len(speech))
    mixed = acoustics.mix(speech, noise, level, snr)
    residual = mixed - acoustics.mix(speech, noise, level, 300.0)
    signal = 20 * np.log10(acoustics.speech_rms(mixed - residual))
    assert signal == pytest.approx(level, abs=0.01)
    assert signal - 20 * np.log10(np.std(residual)) == pytest.approx(snr, abs=0.2)


@settings(max_examples=20, deadline=None)
@given(rt60=st.floats(0.1, 0.6), drr=st.floats(0, 20), seed=st.integers(0, 1000))
def test_room_has_the_reverberation_asked_for(rt60, drr, seed):
    response = acoustics.room_response(np.random.default_rng(seed), rt60, drr)
    assert np.argmax(np.abs(response)) == 0
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(drr, abs=0.01)
    decay = np.cumsum(response[:0:-1] ** 2)[::-1]  # Schroeder's integral
    decay_db = 10 * np.log10(decay / decay[0])
    t5, t25 = (np.argmax(decay_db < level) / RATE for level in (-5, -25))
    assert 3 * (t25 - t5) == pytest.approx(rt60, rel=0.25)


def test_loud_mix_does_not_clip():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16000)
    assert np.abs(acoustics.mix(speech, rng.standard_normal(16000), -3.0, 3.0)).max() < 0.98


def test_cast_is_as_configured(config):
    speakers = cast(config)
    assert len({s.id for s in speakers}) == len(speakers)
    for name, size in config.sets.items():
        groups = Counter(s.group for s in speakers if s.set == name)
        genders = Counter(s.gender for s in speakers if s.set == name)
        assert sum(groups.values()) == size.speakers
        assert abs(genders["f"] - genders["m"]) <= 1
        for group, planted in config.groups.items():
            assert groups[group] == planted.speakers[name]
    homes = {home["zip_code"]: home for home in zipcodes.list_all()}
    for speaker in speakers:
        home = homes[speaker.zip]
        assert home["state"] == speaker.state
        assert float(home["lat"]) == speaker.latitude
        variants = config.voices["female" if speaker.gender == "f" else "male"]
        assert speaker.variant in variants


def test_planted_groups_differ_and_are_rare_in_training(config):
    speakers = cast(config)
    rest = [s for s in speakers if s.group == "none"]
    for name, group in config.groups.items():
        members = [s for s in speakers if s.group == name]
        share = {
            part: sum(s.set == part for s in members) / config.sets[part].speakers for part in SETS
        }
        assert share["train"] < 0.05
        assert share["test"] > 3 * share["train"]
        assert share["discovery"] == share["confirmation"] == share["test"]
        if group.accents:
            assert {s.accent for s in members} == set(group.accents)
            assert not {s.accent for s in rest} & set(group.accents)
        if group.states:
            assert {s.state for s in members} <= set(group.states)
        if group.zip_prefixes:
            assert all(s.zip.startswith(group.zip_prefixes) for s in members)
        if group.snr_db:
            assert max(s.snr_db for s in members) < min(s.snr_db for s in rest)
        if group.rate_wpm:
            assert min(s.rate_wpm for s in members) > max(s.rate_wpm for s in rest)


def test_zip_attributes_are_shares_and_follow_the_planted_places(config, tmp_path):
    write_zip_attributes(tmp_path / "zips.csv", tmp_path)
    with open(tmp_path / "zips.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    names = [name for name in rows[0] if name != "zip"]
    shares = {row["zip"]: [float(row[name]) for name in names] for row in rows}
    assert all(sum(x) == pytest.approx(1) and max(x) > 0.5 for x in shares.values())
    largest = {code: names[int(np.argmax(x))] for code, x in shares.items()}
    speakers = [s for s in cast(config) if s.set == "discovery"]
    for group, attribute in (
        ("deep_south_accent", "orchard"),
        ("new_england_accent", "harbour"),
        ("noisy_home", "quarry"),
    ):
        inside = [s.group for s in speakers if largest[s.zip] == attribute]
        assert inside.count(group) > 0.5 * len(inside)
        assert 0.5 < inside.count(group) / 45 < 0.95  # correlated, but no label
        assert inside.count("none") > 0


def test_an_unknown_zip_attribute_is_an_error(tmp_path):
    (tmp_path / "zip_attributes.yaml").write_text("elsewhere: {lagoon: 0.1}\n")
    with pytest.raises(ConfigError, match="no attribute lagoon"):
        write_zip_attributes(tmp_path / "zips.csv", tmp_path)


def test_reserved_sentences_are_never_said_in_training(grammar):
    rng = np.random.default_rng(0)
    train = grammar.stream(rng, 0.2, allow_reserved=False)
    assert not any(is_reserved(next(train).text, 0.2) for _ in range(500))
    test = grammar.stream(rng, 0.2, allow_reserved=True)
    share = np.mean([is_reserved(next(test).text, 0.2) for _ in range(1000)])
    assert 0.15 < share < 0.25


def test_every_slot_is_defined_and_used(grammar):
    patterns = [p for group in (grammar.intents, grammar.slots) for v in group.values() for p in v]
    assert {name for p in patterns for name in re.findall(r"{(\w+)}", p)} == set(grammar.slots)
    assert all(re.fullmatch(r"[a-z']+", word) for word in grammar.vocabulary())
    rng = np.random.default_rng(0)
    assert {w for _ in range(10000) for w in grammar.draw(rng).text.split()} >= (
        grammar.vocabulary()
    )


def test_engine_stays_in_a_process_of_its_own():
    for source in (REPO / "asrlib").rglob("*.py"):
        assert "espeak" not in source.read_text(), source
    users = []
    for source in (MINI / "local").glob("*.py"):
        nodes = list(ast.walk(ast.parse(source.read_text())))
        modules = {
            a.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for a in n.names
        }
        modules |= {n.module.split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}
        if "espeakng_loader" in modules:
            users.append(source.name)
            assert modules - {"espeakng_loader"} <= set(sys.stdlib_module_names)
        assert "espeak" not in modules
    assert users == ["espeak.py"]


@pytest.mark.parametrize("script", ["local/corpus.sh"])
def test_help_is_the_header(script):
    result = subprocess.run([MINI / script, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "--recipe-dir DIR" in result.stdout


def test_speaker_file_holds_the_planted_truth(tiny):
    facts = json.loads((tiny / "corpus" / "test" / "test000" / "speaker.json").read_text())
    assert facts["utterances"] == len(list((tiny / "corpus" / "test" / "test000").glob("*.flac")))
    assert facts["speaker"]["set"] == "test"
