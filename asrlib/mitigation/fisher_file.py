"""The file of a Fisher information, beside the model that it was computed for."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import CutSet

from asrlib.checkpoint_file import load, save
from asrlib.config import to_dict
from asrlib.data.dataset import Batch, eval_batches
from asrlib.errors import CheckpointError
from asrlib.mitigation.config import FisherConfig
from asrlib.mitigation.epoch_mix import ranked
from asrlib.mitigation.fisher import Fisher, estimate_fisher, for_fisher
from asrlib.mitigation.sampled_labels import with_sampled_labels
from asrlib.stamps import hash_file
from asrlib.text.tokenizer import Tokenizer
from asrlib.transducer.model import Transducer

KIND = "fisher"

logger = logging.getLogger(__name__)


def fisher_of(
    model: Transducer,
    checkpoint: Path,
    general: CutSet,
    tokenizer: Tokenizer,
    config: FisherConfig,
    max_frames: int,
) -> Fisher:
    """Read the Fisher information from its file beside the checkpoint, or compute it first.

    Args:
        model: the model with the weights of the checkpoint; it does not change.
        checkpoint: the file of the model.
        general: general speech, of other speakers than those that are adapted on. The utterances
            are chosen by a hash of (seed, id).
        tokenizer: the tokens of the model.
        config: how it is estimated.
        max_frames: bound on a batch's padded size, in frames.

    Raises:
        CheckpointError: the file is of another checkpoint or of other data, or it is broken or
            cannot be written.
        DataError: see `estimate_fisher`.
    """
    chosen = CutSet.from_cuts(ranked(general, config.seed, "fisher")[: config.utterances])
    sought = {"checkpoint": hash_file(checkpoint), "data": _key(model, chosen, config)}
    path = checkpoint.parent / f"fisher-{config.labels}-{sought['data'][:8]}.pt"
    if path.exists():
        return _read(path, sought)
    begin = time.monotonic()
    bound = max_frames if config.estimator == "signs" else 1
    own = for_fisher(model)
    fisher = estimate_fisher(own, _batches(own, chosen, tokenizer, config, bound), config.seed)
    seconds = time.monotonic() - begin
    logger.info("Fisher information of %d utterances: %.1f s", fisher.utterances, seconds)
    content = {"diagonal": fisher.diagonal, "mean": fisher.mean, "utterances": fisher.utterances}
    save(path, KIND, {**content, "of": sought})
    return fisher


def _batches(
    model: Transducer, cuts: CutSet, tokenizer: Tokenizer, config: FisherConfig, max_frames: int
) -> Iterator[Batch]:
    for batch in eval_batches(cuts, tokenizer, max_frames):
        sampled = config.labels == "sampled"
        yield with_sampled_labels(model, batch, config.seed) if sampled else batch


def _key(model: Transducer, cuts: CutSet, config: FisherConfig) -> str:
    """Return a hash of all that the Fisher information depends on besides the checkpoint."""
    said = [(cut.id, cut.duration, cut.supervisions[0].text) for cut in cuts]
    shapes = {name: list(weight.shape) for name, weight in model.named_parameters()}
    content = [to_dict(config), to_dict(model.config.loss), shapes, sorted(said)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path, sought: dict[str, Any]) -> Fisher:
    content = load(path, KIND)
    for what in ("checkpoint", "data"):
        if content["of"][what] != sought[what]:
            raise CheckpointError(
                f"{path}: is the Fisher information of another {what}: {content['of'][what][:12]}, "
                f"not {sought[what][:12]}",
                "remove the file, so that it is computed again",
            )
    logger.info("%s: Fisher information of %d utterances", path, content["utterances"])
    return Fisher(content["diagonal"], content["mean"], content["utterances"])
