"""Decoding with memberships: one stream or many, told at once, later or never; the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click.testing
import pytest
import soundfile
import torch
from command_fakes import call, explained
from lhotse import CutSet, Recording, SupervisionSegment
from streaming_fakes import (
    ENCODERS,
    RATE,
    babble,
    finish,
    loud_model,
    outcome,
    pieces_of,
    recognizer_of,
    small_config,
    transcribe,
)

from asrlib.checkpoint_file import save
from asrlib.cli.decode import command
from asrlib.data.membership import Membership
from asrlib.encoders import flatten_state
from asrlib.errors import ConfigError, DataError
from asrlib.features.fbank import FbankConfig
from asrlib.streaming import StreamingRecognizer
from asrlib.streaming.batch import decode_cuts
from asrlib.streaming.result import Result
from asrlib.transducer.model import Transducer
from asrlib.transducer.model_io import KIND, transducer_payload

COHORTS = {"s0": "top", "s1": "bottom", "s2": "middle", "s3": "bottom"}
KNOWN = (None, "top", "bottom", "middle")


def told_model(encoder: str, vocab_size: int) -> Transducer:
    """A loud model whose words depend on what it is told."""
    config = small_config(encoder, "stateless", 32)
    model = loud_model(replace(config, encoder=replace(config.encoder, condition=2)), vocab_size)
    torch.nn.init.normal_(model.encoder.condition_CF, std=0.3)
    return model


@pytest.fixture(scope="module")
def models(tokenizer) -> dict[str, Transducer]:
    return {encoder: told_model(encoder, tokenizer.vocab_size) for encoder in ENCODERS}


@pytest.fixture(params=ENCODERS)
def recognizer(request, models, tokenizer) -> StreamingRecognizer:
    return recognizer_of(models[request.param], tokenizer)


def told(recognizer: StreamingRecognizer, cohort: str | None, sizes=(), seed: int = 1) -> Result:
    stream = recognizer.create_stream(cohort)
    for piece in pieces_of(babble(2.0, seed=seed), sizes):
        stream.accept(piece, RATE)
        recognizer.step([stream])
    return finish(recognizer, stream)


def test_pieces_change_no_result_of_any_cohort(recognizer):
    results = {cohort: told(recognizer, cohort) for cohort in KNOWN}
    untold = transcribe(recognizer, babble(2.0, 1))
    assert untold == results[None] == results["middle"]
    assert len({results[cohort].token_log_probs for cohort in (None, "top", "bottom")}) == 3
    for cohort, result in results.items():
        assert outcome(told(recognizer, cohort, [160, 4001, 777])) == outcome(result)


def test_company_of_other_cohorts_changes_nothing(recognizer):
    streams = [recognizer.create_stream(cohort) for cohort in KNOWN]
    for i, stream in enumerate(streams):
        stream.accept(babble(2.0, seed=i), RATE)
        stream.finish()
    recognizer.step(streams)
    for i, (cohort, stream) in enumerate(zip(KNOWN, streams, strict=True)):
        alone = told(recognizer, cohort, seed=i)
        assert outcome(recognizer.result(stream)) == outcome(alone)


def test_a_stream_told_later_keeps_its_past_and_continues(recognizer):
    samples = babble(3.0, seed=1)
    first, rest = samples[: 3 * RATE // 2], samples[3 * RATE // 2 :]
    heard = {}
    for cohort in (None, "bottom"):
        stream = recognizer.create_stream()
        stream.accept(first, RATE)
        recognizer.step([stream])
        before = recognizer.result(stream)
        if cohort is not None:
            recognizer.tell_cohort(stream, cohort)
        stream.accept(rest, RATE)
        after, past = finish(recognizer, stream), slice(len(before.tokens))
        assert after.tokens[past] == before.tokens
        assert after.token_log_probs[past] == before.token_log_probs
        heard[cohort] = flatten_state(stream.encoder_state.own)
    assert not all(torch.equal(a, b) for a, b in zip(*heard.values(), strict=True))
    # Told before the first frame is told from the start; untold again is unknown.
    stream = recognizer.create_stream("top")
    recognizer.tell_cohort(stream, "bottom")
    stream.accept(samples, RATE)
    from_start = recognizer.create_stream("bottom")
    from_start.accept(samples, RATE)
    assert outcome(finish(recognizer, stream)) == outcome(finish(recognizer, from_start))
    stream = recognizer.create_stream("top")
    recognizer.tell_cohort(stream, None)
    stream.accept(samples, RATE)
    assert outcome(finish(recognizer, stream)) == outcome(transcribe(recognizer, samples))


def test_a_model_without_condition_knows_no_cohort(random_models, tokenizer):
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer)
    stream = recognizer.create_stream()
    membership = Membership(COHORTS, Path("cohorts.jsonl"))
    for attempt in (
        lambda: recognizer.create_stream("bottom"),
        lambda: recognizer.tell_cohort(stream, "bottom"),
        lambda: decode_cuts(recognizer, [], membership),
    ):
        with pytest.raises(ConfigError, match="does not know cohorts") as caught:
            attempt()
        assert "model.encoder.condition=2" in caught.value.fix


@pytest.fixture
def recipe(tmp_path, models, random_models, tokenizer) -> Path:
    cuts = []
    for i in range(4):
        path = tmp_path / f"u{i}.wav"
        soundfile.write(path, babble(1.0 + i / 4, seed=i).numpy(), RATE, subtype="FLOAT")
        cut = Recording.from_file(path, recording_id=f"u{i}").to_cut()
        cut.supervisions = [
            SupervisionSegment(
                f"u{i}", f"u{i}", 0.0, cut.duration, text="ONE", speaker=f"s{i if i < 3 else 9}"
            )
        ]
        cuts.append(cut)
    (tmp_path / "data/test").mkdir(parents=True)
    CutSet.from_cuts(cuts).to_file(tmp_path / "data/test/cuts.jsonl.gz")
    for name, model in (("told", models["lstm"]), ("plain", random_models["lstm", "stateless"])):
        payload = transducer_payload(model, tokenizer, FbankConfig())
        content = {"model": model.state_dict(), "payload": payload, "facts": {}}
        save(tmp_path / f"exp/{name}/final.pt", KIND, content)
    write_cohorts(tmp_path, COHORTS)
    return tmp_path


def write_cohorts(recipe: Path, cohorts: dict[str, str]) -> Path:
    path = recipe / "exp/cohorts/geo/cohorts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"speaker": s, "cohort": c}) for s, c in cohorts.items()]
    path.write_text("\n".join(rows))
    return path


def decode(recipe: Path, *args: object, name: str = "told") -> None:
    """Decode; errors for the user are raised as they are."""
    options = ["--recipe-dir", recipe, "--name", name, *args]
    result = click.testing.CliRunner().invoke(
        command, [str(o) for o in options], standalone_mode=False
    )
    if result.exception:
        raise result.exception


def hyps(recipe: Path, directory: str) -> list[str]:
    lines = (recipe / "exp/told" / directory / "hyp.jsonl").read_text().splitlines()
    return [json.loads(line)["hyp"] for line in lines]


def test_true_and_unknown_memberships_leave_two_directories(recipe, models, tokenizer):
    geo = recipe / "exp/cohorts/geo"
    decode(recipe, "--cohorts", geo)
    decode(recipe, "--cohorts", geo, "--membership", "unknown", "--set", "decode.max_streams=2")
    recognizer = recognizer_of(models["lstm"], tokenizer)
    for directory, cohorts in (
        ("decode_test_greedy_true_cohorts", ["top", "bottom", "middle", None]),
        ("decode_test_greedy", [None] * 4),
    ):
        expected = []
        for i, cohort in enumerate(cohorts):
            stream = recognizer.create_stream(cohort)
            stream.accept(babble(1.0 + i / 4, seed=i), RATE)
            expected.append(finish(recognizer, stream).text)
        assert hyps(recipe, directory) == expected
    metas = [
        json.loads((recipe / "exp/told" / d / "meta.json").read_text())
        for d in ("decode_test_greedy_true_cohorts", "decode_test_greedy")
    ]
    assert (metas[0]["membership"], metas[0]["cohorts"]) == ("true", str(geo))
    assert "membership" not in metas[1]
    assert metas[0]["flops_per_second"] == metas[1]["flops_per_second"]


def test_other_cohorts_are_decoded_again_and_the_same_are_not(recipe):
    geo = recipe / "exp/cohorts/geo"
    out = recipe / "exp/told/decode_test_greedy_true_cohorts/hyp.jsonl"

    def written() -> int:
        decode(recipe, "--cohorts", geo)
        return out.stat().st_ino

    first = written()
    assert written() == first
    write_cohorts(recipe, {**COHORTS, "s0": "bottom"})
    assert written() != first


@pytest.mark.parametrize(
    ("args", "name", "kind", "words"),
    [
        (["--membership", "true"], "told", ConfigError, "no cohorts are given"),
        (["--cohorts", "nowhere"], "told", DataError, "nowhere/cohorts.jsonl: missing"),
        (["--cohorts", "GEO"], "plain", ConfigError, "does not know cohorts"),
        (["--cohorts", "OTHER"], "told", DataError, "names no speaker of the set test"),
    ],
)
def test_memberships_that_do_not_fit_are_explained(recipe, args, name, kind, words):
    (recipe / "other").mkdir()
    (recipe / "other/cohorts.jsonl").write_text('{"speaker": "x", "cohort": "top"}\n')
    places = {"GEO": recipe / "exp/cohorts/geo", "OTHER": recipe / "other"}
    with pytest.raises(kind) as caught:
        decode(recipe, *(places.get(a, a) for a in args), name=name)
    assert words in caught.value.what
    assert caught.value.fix
    assert not list((recipe / "exp").glob("*/decode_*/hyp.jsonl"))


def test_scores_of_the_two_are_two_rows(recipe):
    from asrlib.experiments.runs import collect_runs, systems

    geo = recipe / "exp/cohorts/geo"
    where = ("--recipe-dir", recipe, "--name", "told")
    for options in (("--cohorts", geo), ()):
        decode(recipe, *options)
    for options in (("--membership", "true"), ("--membership", "unknown")):
        scored = call("score", *where, *options, "--set", "score.replicates=100")
        assert scored.code == 0, scored.err
    runs, skipped = collect_runs(recipe / "exp")
    assert skipped == []
    assert [run.search for run in runs] == ["greedy", "greedy, true cohorts"]
    assert [len(members) for members in systems(runs).values()] == [1, 1]
    page = call("results", "--recipe-dir", recipe)
    assert page.code == 0, page.err
    text = (recipe / "exp/report.html").read_text()
    assert f"--search greedy --membership true --cohorts {geo}" in text
    assert "greedy, true cohorts" in text


def test_transcribe_tells_the_cohort(recipe, models, tokenizer):
    samples = babble(1.5, seed=2) / 4
    soundfile.write(recipe / "a.wav", samples.numpy(), RATE, subtype="FLOAT")
    recognizer, texts = recognizer_of(models["lstm"], tokenizer), []
    for cohort in (None, "top", "bottom"):
        options = ("--cohort", cohort) if cohort else ()
        said = call("transcribe", "--model", recipe / "exp/told", *options, recipe / "a.wav")
        stream = recognizer.create_stream(cohort)
        stream.accept(samples, RATE)
        assert said.out == finish(recognizer, stream).text + "\n"
        texts.append(said.out)
    assert len(set(texts)) == 3
    refused = call(
        "transcribe", "--model", recipe / "exp/plain", "--cohort", "top", recipe / "a.wav"
    )
    assert explained(refused, "does not know cohorts")
