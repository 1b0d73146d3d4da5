"""Stage 5: streaming decoding of a test set."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from asrlib.cli.common import Recipe, log_to, recipe_options
from asrlib.errors import DataError, UserError
from asrlib.files import atomic_write
from asrlib.stamps import Stamp

if TYPE_CHECKING:
    from asrlib.streaming.batch import Cost
    from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer

log = logging.getLogger(__name__)


@click.command(name="decode")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@click.option("--search", help="greedy, modified_beam or fast_beam, in place of decode.search.")
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="In place of exp/NAME/final.pt.",
)
@recipe_options
def command(
    recipe: Recipe, name: str, test_set: str, search: str | None, checkpoint: Path | None
) -> None:
    """Decode data/SET in streaming mode; leaves exp/NAME/decode_SET_SEARCH/hyp.jsonl, meta.json."""
    from asrlib.streaming.recognizer import DecodeConfig, SearchName

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
        raise DataError(f"{cuts_path}: missing", "run stage 1, or choose another --test-set")
    checkpoint = checkpoint or recipe.exp / name / "final.pt"
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: missing", "train the model first (stage 4)")
    out = recipe.exp / name / f"decode_{test_set}_{config.search}"
    log_to(out / "log" / "decode.log")
    stamp = Stamp(
        path=out / ".decode.stamp",
        inputs=[cuts_path, checkpoint],
        config=config,
        outputs=[out / "hyp.jsonl", out / "meta.json"],
    )
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
    """Decode all cuts; write hyp.jsonl in their order, and meta.json."""
    import torch
    from tqdm import tqdm

    from asrlib.data.cuts import read_cuts
    from asrlib.streaming.batch import decode_cuts, hyp_line
    from asrlib.streaming.recognizer import StreamingRecognizer

    torch.set_num_threads(config.num_threads)
    cuts = read_cuts(cuts_path, "run stage 1 again with --force")
    recognizer = StreamingRecognizer.from_checkpoint(checkpoint, config)
    lines: dict[str, dict] = {}
    total = sum(cut.duration for cut in cuts)
    with tqdm(total=round(total), unit="s", desc=f"decode {meta['set']}", disable=None) as bar:
        decoded, cost = decode_cuts(recognizer, cuts)
        for cut, result in decoded:
            lines[cut.id] = hyp_line(cut, result)
            bar.update(cut.duration)
    with atomic_write(out / "hyp.jsonl") as f:
        for cut in cuts:
            f.write(json.dumps(lines[cut.id], ensure_ascii=False) + "\n")
    with atomic_write(out / "meta.json") as f:
        json.dump(meta | _meta(recognizer, cost), f, indent=1)
    return cost


def _meta(recognizer: StreamingRecognizer, cost: Cost) -> dict:
    from asrlib.config import to_dict
    from asrlib.scoring.compute import flops_per_second
    from asrlib.scoring.score import machine

    model, fbank = recognizer.model, recognizer.fbank.config
    flops = flops_per_second(model, fbank.num_bins, frame_shift=fbank.frame_shift)["total"]
    if cost.audio_seconds:
        left_out = cost.full_multiplications - cost.multiplications
        flops -= 2.0 * left_out / cost.audio_seconds
    return {
        "search": recognizer.config.search,
        "config": to_dict(recognizer.config),
        "audio_seconds": cost.audio_seconds,
        "cpu_seconds": cost.cpu_seconds,
        "wall_seconds": cost.wall_seconds,
        "real_time_factor": cost.real_time,
        "peak_memory_mb": cost.peak_memory_mb,
        "parameters": model.parameter_counts(),
        "flops_per_second": flops,
        "compute_share": cost.compute_share,
        "machine": machine(),
        "threads": recognizer.config.num_threads,
        "streams": recognizer.config.max_streams,
    }
