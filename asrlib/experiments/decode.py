"""Decode one test set with one model: hypotheses, or turns, and what that cost."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from lhotse.cut import Cut
from tqdm import tqdm

from asrlib.config import to_dict
from asrlib.data.cuts import iter_cuts
from asrlib.data.membership import Membership
from asrlib.experiments.run_record import identity_in
from asrlib.experiments.training_log import check_same_model
from asrlib.files import atomic_write
from asrlib.machine import machine
from asrlib.scoring.records import HYP_FILE, DecodeMeta, Machine, ParameterCounts, Told
from asrlib.stamps import hash_file
from asrlib.streaming.batch import Cost, decode_cuts, decode_turns, hyp_line
from asrlib.streaming.decode_files import decode_files, located
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.result import Result
from asrlib.streaming.settings import DecodeConfig
from asrlib.text.turns import TURNS_FILE, write_turns
from asrlib.transducer.flops import flops_per_second

META_FILE = "meta.json"
T = TypeVar("T")
Decoder = Callable[[Iterable[Cut]], tuple[Iterator[tuple[Cut, Result]], Cost]]


def decode_set(
    cuts_path: Path,
    checkpoint: Path,
    config: DecodeConfig,
    out: Path,
    model: str,
    test_set: str,
    cohort_dir: Path | None = None,
    tag: str | None = None,
    folder: Path = Path(),
    told: Told | None = None,
) -> Cost:
    """Decode all cuts; write hypotheses in their order, or turns, and meta.json last.

    Args:
        out: the decode directory, below the model's own, exp/MODEL.
        model, test_set: names that meta.json tells.
        cohort_dir: cohort directory from which the model is told the cohort of each speaker; None
            if it is not to know them.
        tag: name of the settings of decoding, which meta.json tells.
        folder: directory that relative paths of language models and hotwords start from.
        told: what these cohorts are, which meta.json tells.

    Raises:
        CheckpointError: the checkpoint is of another model than exp/MODEL.
        ConfigError: there are cohorts, but the model does not know cohorts.
        DataError: the cuts or their audio cannot be read, or the cohorts are of other speakers.
    """
    torch.set_num_threads(config.num_threads)
    # A damaged manifest is found before hours of decoding.
    total = sum(cut.duration for cut in _cuts(cuts_path))
    recognizer = StreamingRecognizer.from_checkpoint(checkpoint, located(config, folder))
    check_same_model(checkpoint, recognizer.model.config, out.parent)
    membership = None
    if cohort_dir is not None:
        recognizer.check_cohorts()
        membership = Membership.read(cohort_dir)
        membership.check_known(_cuts(cuts_path), test_set)
    cuts = _cuts(cuts_path)
    if recognizer.talkers > 1:
        decoded, cost = decode_turns(recognizer, cuts)
        found = [turn for _, turns in _shown(decoded, total, test_set) for turn in turns]
        (out / HYP_FILE).unlink(missing_ok=True)  # of a model of one talker that was there before
        write_turns(out / TURNS_FILE, found)
    else:
        decoder = partial(decode_cuts, recognizer, membership=membership)
        cost = write_hypotheses(out / HYP_FILE, cuts, decoder, total, test_set)
        (out / TURNS_FILE).unlink(missing_ok=True)
    files = {key: hash_file(path) for key, path in decode_files(config, folder).items()}
    meta = replace(
        _meta(recognizer, cost, model, test_set),
        config=to_dict(config),
        tag=tag,
        files=files or None,
    )
    if cohort_dir is not None:
        meta = replace(meta, membership=told, cohorts=str(cohort_dir))
    replace(meta, run=identity_in(out.parent)).to_file(out / META_FILE)
    return cost


def write_hypotheses(
    path: Path, cuts: Iterable[Cut], decoder: Decoder, seconds: float, name: str
) -> Cost:
    """Decode cuts and write hyp.jsonl in their order, as they are decoded.

    Args:
        decoder: function that decodes cuts, as `decode_cuts`.
        seconds, name: length of all cuts and name of the set, for the bar of progress.
    """
    order: deque[str] = deque()
    decoded, cost = decoder(_noted(cuts, order))
    with atomic_write(path) as f:
        for cut, result in in_order(_shown(decoded, seconds, name), order):
            line = hyp_line(cut, result, cost.shares.pop(cut.id, None))
            f.write(json.dumps(line, ensure_ascii=False) + "\n")
    return cost


def _cuts(path: Path) -> Iterator[Cut]:
    return iter_cuts(path, "run stage 1 again with --force")


def _noted(cuts: Iterable[Cut], order: deque[str]) -> Iterator[Cut]:
    """Yield cuts, and append their ids to `order`."""
    for cut in cuts:
        order.append(cut.id)
        yield cut


def in_order(decoded: Iterable[tuple[Cut, T]], order: deque[str]) -> Iterator[tuple[Cut, T]]:
    """Yield decoded cuts in the order in which they were started.

    A cut waits in memory until those before it are decoded. As many cuts wait as are decoded beside
    the longest one, whatever the size of the set.

    Args:
        decoded: the cuts with their results, in order of completion.
        order: ids of the started cuts that were not yielded yet.
    """
    waiting: dict[str, tuple[Cut, T]] = {}
    for cut, result in decoded:
        waiting[cut.id] = cut, result
        while order and order[0] in waiting:
            yield waiting.pop(order.popleft())


def _shown(decoded: Iterable[tuple[Cut, T]], seconds: float, name: str) -> Iterator[tuple[Cut, T]]:
    """Yield decoded cuts with their results, with a bar of progress."""
    with tqdm(total=round(seconds), unit="s", desc=f"decode {name}", disable=None) as bar:
        for cut, result in decoded:
            yield cut, result
            bar.update(cut.duration)


def _meta(recognizer: StreamingRecognizer, cost: Cost, model: str, test_set: str) -> DecodeMeta:
    peak_memory_mb = cost.peak_memory_mb  # of decoding: before operations are counted
    transducer, fbank = recognizer.model, recognizer.fbank.config
    counted = flops_per_second(transducer, fbank.num_bins, frame_shift=fbank.frame_shift)
    flops = counted["total"]
    if cost.audio_seconds and cost.full_multiplications:
        flops += 2.0 * cost.multiplications / cost.audio_seconds - counted["toggled"]
    return DecodeMeta(
        model=model,
        set=test_set,
        search=recognizer.config.search,
        config=to_dict(recognizer.config),
        audio_seconds=cost.audio_seconds,
        cpu_seconds=cost.cpu_seconds,
        wall_seconds=cost.wall_seconds,
        real_time_factor=cost.real_time,
        peak_memory_mb=peak_memory_mb,
        parameters=ParameterCounts(**transducer.parameter_counts()),
        flops_per_second=flops,
        compute_share=cost.compute_share,
        machine=Machine(**machine()),
        threads=recognizer.config.num_threads,
        streams=recognizer.config.max_streams,
    )
