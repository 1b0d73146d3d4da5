"""Stage 5: streaming decoding of a test set."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from asrlib.cli.common import Recipe, log_to, recipe_options
from asrlib.errors import CheckpointError, DataError, UserError
from asrlib.files import atomic_write
from asrlib.stamps import Stamp

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

    from asrlib.streaming.batch import Cost
    from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer

HYP_FILE = "hyp.jsonl"

log = logging.getLogger(__name__)


@click.command(name="decode")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@click.option("--search", help="greedy, modified_beam or fast_beam, in place of decode.search.")
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="In place of exp/NAME/final.pt; of the same model.",
)
@recipe_options
def command(
    recipe: Recipe, name: str, test_set: str, search: str | None, checkpoint: Path | None
) -> None:
    """Decode data/SET in streaming mode; leaves exp/NAME/decode_SET_SEARCH/hyp.jsonl, meta.json.

    A model of several talkers leaves their turns, turns.seglst.json, in place of hyp.jsonl.
    """
    from asrlib.streaming.recognizer import DecodeConfig, SearchName
    from asrlib.streaming.turns import TURNS_FILE

    if search is not None:
        if search not in get_args(SearchName):
            raise UserError(
                f"--search {search}: no such search", f"choose {', '.join(get_args(SearchName))}"
            )
        overrides = (*recipe.overrides, f"decode.search={search}")
        recipe = Recipe(recipe.dir, overrides, recipe.force)
    config = recipe.config(DecodeConfig, "decode")
    cuts_path = recipe.data / test_set / "cuts.jsonl.gz"
    if not cuts_path.exists():
        stage = 7 if test_set.startswith("mix_") else 1
        raise DataError(f"{cuts_path}: missing", f"run stage {stage}, or choose another --test-set")
    checkpoint = checkpoint or recipe.exp / name / "final.pt"
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: missing", "train the model first (stage 4)")
    out = recipe.exp / name / f"decode_{test_set}_{config.search}"
    log_to(out / "log" / "decode.log")
    # Which of the two there is depends on the model, which a current stamp spares us to load.
    found = next((out / n for n in (TURNS_FILE, HYP_FILE) if (out / n).exists()), out / HYP_FILE)
    outputs = [found, out / "meta.json"]
    stamp = Stamp(out / ".decode.stamp", [cuts_path, checkpoint], config, outputs)
    title = f"decode {name} {test_set} {config.search}"
    if not recipe.force and stamp.is_current():
        log.info("%s: up to date", title)
        return
    cost = _decode(cuts_path, checkpoint, config, out, {"model": name, "set": test_set})
    stamp.write()
    log.info(
        "%s: %.0f s of audio, real-time factor %.4f", title, cost.audio_seconds, cost.real_time
    )


def _decode(cuts_path: Path, checkpoint: Path, config: DecodeConfig, out: Path, meta: dict) -> Cost:
    """Decode all cuts; write hypotheses in their order, or turns, and meta.json last."""
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.streaming.batch import decode_cuts, decode_turns, hyp_line
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.turns import TURNS_FILE, write_turns

    torch.set_num_threads(config.num_threads)
    cuts = read_cuts(cuts_path, "run stage 1 again with --force")
    recognizer = StreamingRecognizer.from_checkpoint(checkpoint, config)
    _check_model(recognizer, checkpoint, out.parent)
    if recognizer.talkers > 1:
        decoded, cost = decode_turns(recognizer, cuts)
        results = dict(_shown(decoded, cuts, meta["set"]))
        (out / HYP_FILE).unlink(missing_ok=True)  # of a model of one talker that was there before
        write_turns(out / TURNS_FILE, [turn for turns in results.values() for turn in turns])
    else:
        decoded, cost = decode_cuts(recognizer, cuts)
        results = dict(_shown(decoded, cuts, meta["set"]))
        (out / TURNS_FILE).unlink(missing_ok=True)
        with atomic_write(out / HYP_FILE) as f:
            for cut in cuts:
                f.write(json.dumps(hyp_line(cut, results[cut.id]), ensure_ascii=False) + "\n")
    with atomic_write(out / "meta.json") as f:
        json.dump(meta | _meta(recognizer, cost), f, indent=1)
    return cost


def _check_model(recognizer: StreamingRecognizer, checkpoint: Path, directory: Path) -> None:
    """See that a checkpoint is of the model whose results it is to leave.

    Raises:
        CheckpointError: it is of another one, or what the directory says of its own is broken.
    """
    from asrlib.config import from_dict
    from asrlib.scoring.training_log import settings_of
    from asrlib.transducer import TransducerConfig

    path = directory / "config.yaml"
    if not path.exists():
        return
    trained = from_dict(TransducerConfig, settings_of(directory, "model"), str(path))
    if trained != recognizer.model.config:
        raise CheckpointError(
            f"{checkpoint}: another model than that of {path}",
            "name the directory that the checkpoint belongs to with --name",
        )


def _shown(
    decoded: Iterator[tuple[Cut, Any]], cuts: CutSet, name: str
) -> Iterator[tuple[str, Any]]:
    """The ids of decoded cuts and what was recognised, with a bar of progress."""
    from tqdm import tqdm

    total = round(sum(cut.duration for cut in cuts))
    with tqdm(total=total, unit="s", desc=f"decode {name}", disable=None) as bar:
        for cut, result in decoded:
            yield cut.id, result
            bar.update(cut.duration)


def _meta(recognizer: StreamingRecognizer, cost: Cost) -> dict:
    from asrlib.config import to_dict
    from asrlib.processor import machine
    from asrlib.scoring.compute import flops_per_second

    peak_memory_mb = cost.peak_memory_mb  # of decoding: before operations are counted
    model, fbank = recognizer.model, recognizer.fbank.config
    counted = flops_per_second(model, fbank.num_bins, frame_shift=fbank.frame_shift)
    flops = counted["total"]
    if cost.audio_seconds and cost.full_multiplications:
        flops += 2.0 * cost.multiplications / cost.audio_seconds - counted["toggled"]
    return {
        "search": recognizer.config.search,
        "config": to_dict(recognizer.config),
        "audio_seconds": cost.audio_seconds,
        "cpu_seconds": cost.cpu_seconds,
        "wall_seconds": cost.wall_seconds,
        "real_time_factor": cost.real_time,
        "peak_memory_mb": peak_memory_mb,
        "parameters": model.parameter_counts(),
        "flops_per_second": flops,
        "compute_share": cost.compute_share,
        "machine": machine(),
        "threads": recognizer.config.num_threads,
        "streams": recognizer.config.max_streams,
    }
