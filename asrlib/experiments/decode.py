"""Decode one test set with one model: hypotheses, or turns, and what that cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from tqdm import tqdm

from asrlib.config import from_dict, to_dict
from asrlib.data.cuts import read_cuts
from asrlib.data.membership import Membership
from asrlib.errors import CheckpointError
from asrlib.experiments.run_record import identity_in
from asrlib.experiments.training_log import settings_of
from asrlib.files import atomic_write
from asrlib.machine import machine
from asrlib.scoring.records import HYP_FILE, DecodeMeta, Machine, ParameterCounts, Told
from asrlib.stamps import hash_file
from asrlib.streaming.batch import Cost, decode_cuts, decode_turns, hyp_line
from asrlib.streaming.decode_files import decode_files, located
from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer
from asrlib.text.turns import TURNS_FILE, write_turns
from asrlib.transducer import TransducerConfig
from asrlib.transducer.flops import flops_per_second

META_FILE = "meta.json"


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
    cuts = read_cuts(cuts_path, "run stage 1 again with --force")
    recognizer = StreamingRecognizer.from_checkpoint(checkpoint, located(config, folder))
    _check_model(recognizer, checkpoint, out.parent)
    membership = None
    if cohort_dir is not None:
        recognizer.check_cohorts()
        membership = Membership.read(cohort_dir)
        membership.check_known(cuts, test_set)
    if recognizer.talkers > 1:
        decoded, cost = decode_turns(recognizer, cuts)
        results = dict(_shown(decoded, cuts, test_set))
        (out / HYP_FILE).unlink(missing_ok=True)  # of a model of one talker that was there before
        write_turns(out / TURNS_FILE, [turn for turns in results.values() for turn in turns])
    else:
        decoded, cost = decode_cuts(recognizer, cuts, membership)
        results = dict(_shown(decoded, cuts, test_set))
        (out / TURNS_FILE).unlink(missing_ok=True)
        with atomic_write(out / HYP_FILE) as f:
            for cut in cuts:
                line = hyp_line(cut, results[cut.id], cost.shares.get(cut.id))
                f.write(json.dumps(line, ensure_ascii=False) + "\n")
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


def _check_model(recognizer: StreamingRecognizer, checkpoint: Path, directory: Path) -> None:
    """See that a checkpoint is of the model whose results it is to leave.

    Raises:
        CheckpointError: it is of another one, or what the directory says of its own is broken.
    """
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
    total = round(sum(cut.duration for cut in cuts))
    with tqdm(total=total, unit="s", desc=f"decode {name}", disable=None) as bar:
        for cut, result in decoded:
            yield cut.id, result
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
