"""How fast: features, training, streaming; measured on this machine, left in exp/bench/."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asrlib.cli.common import Recipe, command_line, log_to, recipe_options
from asrlib.files import atomic_write

if TYPE_CHECKING:
    from lhotse import CutSet

    from asrlib.streaming.batch import Cost
    from asrlib.streaming.recognizer import StreamingRecognizer

# Options that say what was measured; each command has some of them.
_OWN = ("model", "name", "steps", "test_set", "search", "utterances", "piece", "rounds", "minutes")
_ROUNDS = "How often each is measured; the fastest counts: what else runs only slows down."
_NOISE_SECONDS = 20


@click.group(name="bench")
def command() -> None:
    """Measure throughput; figures go to exp/bench/, from where `results` takes them."""


def _report(recipe: Recipe, name: str, figures: dict[str, Any]) -> None:
    from asrlib.processor import machine

    computer = machine()
    path = recipe.exp / "bench" / f"{name}.json"
    with atomic_write(path) as f:
        json.dump(
            {**figures, "machine": computer, "command": command_line(recipe, *_OWN)}, f, indent=1
        )
    lines = {**figures, "processor": computer["cpu"], "matrix code": computer["matrix_code"]}
    for key, value in lines.items():
        click.echo(f"{key:>28}  {value:.4g}" if isinstance(value, float) else f"{key:>28}  {value}")
    click.echo(f"written to {path}")


def _cuts(recipe: Recipe, name: str, utterances: int) -> Any:
    from asrlib.data.cuts import read_cuts

    path = recipe.data / name / "cuts.jsonl.gz"
    return read_cuts(path, "run stage 1, or choose another set").subset(first=utterances)


@command.command()
@click.option("--test-set", default="train", show_default=True, help="A set under data/.")
@click.option("--utterances", default=300, show_default=True, help="How many to take of it.")
@recipe_options
def features(recipe: Recipe, test_set: str, utterances: int) -> None:
    """The fbank stage, reading and storing included, against bare kaldifeat, one core each."""
    from asrlib.features.bench import measure_extraction
    from asrlib.features.fbank import FbankConfig

    log_to(None)
    speed = measure_extraction(
        _cuts(recipe, test_set, utterances), recipe.config(FbankConfig, "features")
    )
    _report(recipe, "features", {**dataclasses.asdict(speed), "ratio": speed.ratio})


@command.command()
@click.option("--model", default="conv_rnnt", show_default=True, help="conf/model/MODEL.yaml.")
@click.option("--steps", default=200, show_default=True, help="Steps to train.")
@recipe_options
def training(recipe: Recipe, model: str, steps: int) -> None:
    """Audio seconds a second, data wait and share of the loss, of a short training from scratch.

    Runs the trainer itself in a directory that is thrown away.
    """
    from asrlib.cli.train import Configs, build_trainer
    from asrlib.scoring.training_log import read_curves, run_facts
    from asrlib.training.recipe_inputs import read_inputs

    log_to(None)
    short = (f"train.max_steps={steps}", f"train.log_interval={max(1, steps // 10)}")
    configs = Configs.of(Recipe(recipe.dir, (*recipe.overrides, *short)), model)
    with tempfile.TemporaryDirectory() as name:
        build_trainer(configs, read_inputs(recipe.data), Path(name), recipe.data).run()
        facts = run_facts(read_curves(Path(name)))
    wanted = ("steps", "throughput", "data_wait", "loss_share")
    figures = {key: facts[key] for key in wanted if key in facts}
    _report(recipe, f"training_{model}", {"model": model, **figures})


@command.command()
@click.option(
    "--name",
    multiple=True,
    default=("conv_rnnt",),
    show_default=True,
    help="A directory under exp/; may be given again: then in turn, so that ratios hold.",
)
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@click.option("--search", help="greedy, modified_beam or fast_beam, in place of decode.search.")
@click.option("--utterances", default=64, show_default=True, help="How many to take of it.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help=_ROUNDS)
@recipe_options
def streaming(
    recipe: Recipe,
    name: tuple[str, ...],
    test_set: str,
    search: str | None,
    utterances: int,
    rounds: int,
) -> None:
    """Real-time factor on one core, of one stream and of 32 at a time."""
    import torch

    from asrlib.scoring.records import streaming_file
    from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer

    log_to(None)
    cuts = _cuts(recipe, test_set, utterances)
    chosen = (f"decode.search={search}",) if search else ()
    config = Recipe(recipe.dir, (*recipe.overrides, *chosen)).config(DecodeConfig, "decode")
    torch.set_num_threads(1)
    recognizers = {
        (model, streams): StreamingRecognizer.from_checkpoint(
            recipe.exp / model / "final.pt", dataclasses.replace(config, max_streams=streams)
        )
        for model in name
        for streams in (1, 32)
    }
    for recognizer in recognizers.values():
        _decode(recognizer, cuts.subset(first=2))  # warm up
    costs = [{key: _decode(r, cuts) for key, r in recognizers.items()} for _ in range(rounds)]
    for model in name:
        figures: dict[str, Any] = {"model": model, "set": test_set, "search": config.search}
        for streams in (1, 32):
            taken = [cost[model, streams] for cost in costs]
            figures[f"real_time_factor_{streams}"] = min(cost.real_time for cost in taken)
            cpu_seconds = min(cost.cpu_seconds for cost in taken)
            figures[f"cpu_seconds_{streams}"] = cpu_seconds / taken[0].audio_seconds
        _report(recipe, streaming_file(model, test_set, config.search).stem, figures)


@command.command()
@click.option(
    "--model",
    multiple=True,
    default=("lstm", "conv_rnnt", "conformer", "contextnet", "amortized/full"),
    show_default=True,
    help="conf/model/MODEL.yaml; may be given again: then in turn, so that ratios hold.",
)
@click.option(
    "--piece",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    default=(0.32, 1.28),
    show_default=True,
    help="Seconds of audio at a time; may be given again.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help=_ROUNDS)
@recipe_options
def encoder(recipe: Recipe, model: tuple[str, ...], piece: tuple[float, ...], rounds: int) -> None:
    """CPU time of encoders before they are trained: one stream, one core, 20 s of noise a round.

    Weights are random. Arbitrators that learn leave everything on then; those of amortized/random
    switch off what `keep` says.
    """
    import torch

    from asrlib.encoders import build_encoder
    from asrlib.encoders.bench import measure_steps
    from asrlib.features.fbank import FbankConfig
    from asrlib.transducer.model import TransducerConfig

    log_to(None)
    torch.set_num_threads(1)
    fbank = recipe.config(FbankConfig, "features")
    shift = fbank.frame_shift_ms / 1000
    configs = {name: recipe.config(TransducerConfig, "model", name) for name in model}
    encoders = {n: build_encoder(c.encoder, fbank.num_bins) for n, c in configs.items()}
    for seconds in piece:
        frames, total = round(seconds / shift), round(_NOISE_SECONDS / shift)
        for name, cost in measure_steps(encoders, frames, total, rounds, shift).items():
            taken = f"pieces of {cost.frames * shift:g} s"  # whole groups of the model's frames
            figures: dict[str, Any] = {"model": name, "piece": taken}
            figures["encoder_cpu_ms"] = 1000 * cost.cpu
            if cost.work is not None:
                figures["encoder_work_percent"] = 100 * cost.work
            _report(recipe, f"encoder_{name.replace('/', '_')}_{seconds:g}", figures)


def _decode(recognizer: StreamingRecognizer, cuts: CutSet) -> Cost:
    """What it takes."""
    from asrlib.streaming.batch import decode_cuts, decode_turns

    decode = decode_turns if recognizer.talkers > 1 else decode_cuts
    decoded, cost = decode(recognizer, cuts)
    list(decoded)
    return cost


@command.command()
@click.option("--name", default="sts", show_default=True, help="A directory under exp/.")
@click.option("--test-set", default="mix_test", show_default=True, help="A set of mixtures.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Of audio, in one stream.",
)
@recipe_options
def meeting(recipe: Recipe, name: str, test_set: str, minutes: float) -> None:
    """Real-time factor and memory of one long meeting on one core: the set's mixtures in a row."""
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.streaming.meeting_bench import measure_meeting
    from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer

    log_to(None)
    torch.set_num_threads(1)
    recognizer = StreamingRecognizer.from_checkpoint(
        recipe.exp / name / "final.pt", recipe.config(DecodeConfig, "decode")
    )
    mixtures = read_cuts(recipe.data / test_set / "cuts.jsonl.gz", "run stage 7")
    cost = measure_meeting(recognizer, list(mixtures), minutes)
    figures = {f"meeting_{key}": value for key, value in dataclasses.asdict(cost).items()}
    _report(recipe, f"meeting_{name}", {"model": name, **figures})
