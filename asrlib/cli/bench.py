"""`python -m asrlib bench`: measure the speed of features, training and decoding."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asrlib.cli.bench_anywhere import discovery, memory, statistics
from asrlib.cli.bench_embedding import embedding
from asrlib.cli.bench_hotwords import hotwords
from asrlib.cli.bench_report import cuts_of, report, rounds_option
from asrlib.cli.common import log_to, recipe_options, search_option
from asrlib.cli.rank_options import joined, own_place, rank_options, start
from asrlib.recipe import Recipe

if TYPE_CHECKING:
    from asrlib.experiments.benchmarks import Benchmark
    from asrlib.training.build import Configs
    from asrlib.training.ranks import Ranks

_NOISE_SECONDS = 20


@click.group(name="bench")
def command() -> None:
    """Measure speed on this machine; write the figures to exp/bench/, for `results` to read."""


for one in (statistics, discovery, memory, hotwords, embedding):
    command.add_command(one)


@command.command()
@click.option("--test-set", default="train", show_default=True, help="A set under data/.")
@click.option("--utterances", default=300, show_default=True, help="Utterances to take from it.")
@recipe_options
def features(recipe: Recipe, test_set: str, utterances: int) -> None:
    """Compare the fbank stage, including reading and storing, with kaldifeat alone, on one core."""
    from asrlib.experiments.benchmarks import Benchmark
    from asrlib.features.bench import measure_extraction
    from asrlib.features.fbank import FbankConfig

    log_to(None)
    speed = measure_extraction(
        cuts_of(recipe, test_set, utterances), recipe.config(FbankConfig, "features")
    )
    measured = Benchmark(**dataclasses.asdict(speed), ratio=speed.ratio)
    report(recipe, "features", measured)


@command.command()
@click.option("--model", default="conv_rnnt", show_default=True, help="conf/model/MODEL.yaml.")
@click.option("--steps", default=200, show_default=True, help="Number of training steps.")
@recipe_options
@rank_options
def training(recipe: Recipe, model: str, steps: int, ranks: int, rank_timeout: float) -> int:
    """Measure throughput, data wait and share of the loss in a short training from scratch.

    Throughput is in seconds of audio per second; the other two are fractions of the time. The
    trainer runs in a temporary directory, which is deleted. With several ranks, the throughput is
    compared with that of one rank, if it was measured before.
    """
    from asrlib.training.build import load_configs

    place = own_place(ranks)
    log_to(None, quiet=place is not None and place.rank > 0)
    short = (f"train.max_steps={steps}", f"train.log_interval={max(1, steps // 10)}")
    configs = load_configs(Recipe(recipe.dir, (*recipe.overrides, *short)), model)
    if place is None and ranks > 1:
        return start(ranks)
    with joined(place, configs.train.device, rank_timeout) as met:
        measured = _short_training(recipe, configs, model, met)
    if met.is_first:
        report(recipe, _training_name(model, met.size), measured)
    return 0


def _training_name(model: str, ranks: int) -> str:
    of_ranks = f"_{ranks}_ranks" if ranks > 1 else ""
    return f"training_{model.replace('/', '_')}{of_ranks}"


def _short_training(recipe: Recipe, configs: Configs, model: str, ranks: Ranks) -> Benchmark:
    """Train by these ranks; the figures are those of rank 0, for all of them together."""
    import torch

    from asrlib.experiments.benchmarks import Benchmark, read_benchmark
    from asrlib.experiments.training_log import read_curves, run_facts
    from asrlib.training.build import build_trainer
    from asrlib.transducer.loss import backend_name

    with tempfile.TemporaryDirectory() as name:
        trainer = build_trainer(configs, Path(name), recipe.data, ranks=ranks)
        trainer.resume()
        trainer.run()
        if not ranks.is_first:
            return Benchmark()
        facts = run_facts(read_curves(Path(name)))
    alone = recipe.exp / "bench" / f"{_training_name(model, 1)}.json"
    before = read_benchmark(alone).throughput if ranks.size > 1 and alone.exists() else None
    return Benchmark(
        model=model,
        steps=facts.steps,
        torch=torch.__version__,
        loss_library=backend_name(),
        throughput=facts.throughput,
        data_wait=facts.data_wait,
        loss_share=facts.loss_share,
        ranks=ranks.size if ranks.size > 1 else None,
        speedup=facts.throughput / before if before and facts.throughput else None,
    )


@command.command()
@click.option(
    "--name",
    multiple=True,
    default=("conv_rnnt",),
    show_default=True,
    help="The model, a directory under exp/. May be repeated: models are then measured in turn, so"
    " that they are comparable.",
)
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@search_option(about="instead of decode.search")
@click.option("--utterances", default=64, show_default=True, help="Utterances to take from it.")
@rounds_option
@recipe_options
def streaming(
    recipe: Recipe,
    name: tuple[str, ...],
    test_set: str,
    search: str | None,
    utterances: int,
    rounds: int,
) -> None:
    """Measure the real-time factor on one core, with one stream and with 32 streams at a time."""
    import torch

    from asrlib.experiments.benchmarks import Benchmark, streaming_file
    from asrlib.streaming.bench import measure_streaming
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.settings import DecodeConfig

    log_to(None)
    cuts = cuts_of(recipe, test_set, utterances)
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
    speeds = measure_streaming(recognizers, cuts, rounds)
    for model in name:
        one, many = speeds[model, 1], speeds[model, 32]
        measured = Benchmark(
            model=model,
            set=test_set,
            search=config.search,
            real_time_factor_1=one.real_time_factor,
            real_time_factor_32=many.real_time_factor,
            cpu_seconds_1=one.cpu_seconds,
            cpu_seconds_32=many.cpu_seconds,
        )
        report(recipe, streaming_file(model, test_set, config.search).stem, measured)


@command.command()
@click.option(
    "--model",
    multiple=True,
    default=("lstm", "conv_rnnt", "conformer", "contextnet", "amortized/full"),
    show_default=True,
    help="conf/model/MODEL.yaml. May be repeated: models are then measured in turn, so that they"
    " are comparable.",
)
@click.option(
    "--piece",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    default=(0.32, 1.28),
    show_default=True,
    help="Seconds of audio per encoder call. May be repeated.",
)
@rounds_option
@recipe_options
def encoder(recipe: Recipe, model: tuple[str, ...], piece: tuple[float, ...], rounds: int) -> None:
    """Measure the CPU time of untrained encoders on one stream of 20 s of noise, on one core.

    The weights are random. Arbitrators that learn then skip nothing; those of amortized/random
    skip all but the fraction `keep`.
    """
    import torch

    from asrlib.encoders.bench import measure_steps
    from asrlib.experiments.benchmarks import Benchmark
    from asrlib.features.fbank import FbankConfig
    from asrlib.transducer.model import TransducerConfig

    log_to(None)
    torch.set_num_threads(1)
    fbank = recipe.config(FbankConfig, "features")
    shift = fbank.frame_shift_ms / 1000
    for name in model:
        recipe.task(name, [TransducerConfig.task])
    configs = {name: recipe.config(TransducerConfig, "model", name) for name in model}
    encoders = {n: c.encoder.build(fbank.num_bins) for n, c in configs.items()}
    for seconds in piece:
        frames, total = round(seconds / shift), round(_NOISE_SECONDS / shift)
        for name, cost in measure_steps(encoders, frames, total, rounds, shift).items():
            measured = Benchmark(
                model=name,
                piece=f"pieces of {cost.frames * shift:g} s",  # whole groups of the model's frames
                encoder_cpu_ms=1000 * cost.cpu,
                encoder_work_percent=None if cost.work is None else 100 * cost.work,
            )
            report(recipe, f"encoder_{name.replace('/', '_')}_{seconds:g}", measured)


@command.command()
@click.option("--name", default="sts", show_default=True, help="A directory under exp/.")
@click.option("--test-set", default="mix_test", show_default=True, help="A set of mixtures.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Minutes of audio in one stream.",
)
@recipe_options
def meeting(recipe: Recipe, name: str, test_set: str, minutes: float) -> None:
    """Measure the real-time factor and memory of one long meeting, on one core.

    The meeting consists of the mixtures of the set, one after another.
    """
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.experiments.benchmarks import Benchmark
    from asrlib.streaming.meeting_bench import measure_meeting
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.settings import DecodeConfig

    log_to(None)
    torch.set_num_threads(1)
    recognizer = StreamingRecognizer.from_checkpoint(
        recipe.exp / name / "final.pt", recipe.config(DecodeConfig, "decode")
    )
    mixtures = read_cuts(recipe.data / test_set / "cuts.jsonl.gz", "run stage 7")
    cost = measure_meeting(recognizer, list(mixtures), minutes)
    measured = Benchmark(
        model=name,
        meeting_minutes=cost.minutes,
        meeting_turns=cost.turns,
        meeting_real_time_factor=cost.real_time_factor,
        meeting_cpu_seconds=cost.cpu_seconds,
        meeting_early_memory_mb=cost.early_memory_mb,
        meeting_memory_mb=cost.memory_mb,
    )
    report(recipe, f"meeting_{name}", measured)


@command.command()
@click.option("--speakers", type=click.IntRange(min=1000), default=1_000_000, show_default=True)
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Seed of all draws.")
@recipe_options
def cohorts(recipe: Recipe, speakers: int, replicates: int, seed: int) -> None:
    """Measure the discovery of cohorts among made-up speakers: tree, clusters and bootstrap.

    The tree is pruned by 5-fold cross-validation; embeddings of 192 numbers fall into 50 clusters;
    the bootstrap draws speakers REPLICATES times.
    """
    from asrlib.cohorts.bench import measure_discovery
    from asrlib.experiments.benchmarks import Benchmark

    log_to(None)
    costs = measure_discovery(speakers, replicates, seed)
    measured = Benchmark(
        speakers=speakers,
        tree_seconds=costs["tree"].seconds,
        tree_memory_mb=costs["tree"].memory_mb,
        clusters_seconds=costs["clusters"].seconds,
        clusters_memory_mb=costs["clusters"].memory_mb,
        bootstrap_seconds=costs["bootstrap"].seconds,
        bootstrap_memory_mb=costs["bootstrap"].memory_mb,
    )
    report(recipe, "cohorts", measured)
