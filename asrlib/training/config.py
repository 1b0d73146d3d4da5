"""What an experiment may change about training: `conf/train.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from asrlib.config import configclass
from asrlib.numbers import Count, NonNegative, Positive, PositiveFloat, Probability, Share

# A run may be continued although these differ: they do not touch the weights.
HARMLESS_KEYS = frozenset({"log_interval", "num_workers", "keep_last", "bad_batch_budget"})
# A finished model serves although these differ: one that a GPU has trained is as good without it.
FINISHED_KEYS = HARMLESS_KEYS | {"device"}
# The machine's share: a run on another machine is the same run although these differ.
MACHINE_KEYS = FINISHED_KEYS | {"num_threads"}
# By the law of `StreamingRecognizer` these keys of decoding change no result of it.
HARMLESS_DECODING_KEYS = frozenset(
    {"chunk_seconds", "max_streams", "max_chunk_frames", "num_threads"}
)


@configclass
class TrainConfig:
    """Length, optimiser, schedule and bookkeeping of a training run; units in conf/train.yaml.

    Attributes:
        epochs, max_steps: the run ends at whichever comes first; `max_steps` 0 sets no bound.
        peak_lr, warmup_steps, schedule, final_lr_ratio: see `asrlib.training.optim.lr_at`.
        beta1, beta2, adam_eps, weight_decay: AdamW (arXiv 1711.05101).
        clip_norm: largest gradient norm; larger gradients are scaled down to it.
        ema_decay: evaluate and keep an exponential moving average of the weights; 0 is off.
        average, average_of: `final.pt` is the mean of this many validated checkpoints.
        valid_interval: steps between validations, each leaving a checkpoint; 0: once an epoch.
        keep_last, keep_best: checkpoints kept, by age and by dev metric.
        best_by: the key of the task's evaluation that ranks checkpoints, lower is better.
        dev_wer_utts: dev utterances decoded at each validation, for the dev figure `wer`, as
            `conf/decode.yaml` says; for transducers of one talker.
        bad_batch_budget: steps that may meet a non-finite loss or gradient before the run stops.
        num_threads: torch threads; sums depend on their number, so a resumed run must keep it.
    """

    seed: int = 1
    epochs: Positive = 30
    max_steps: Count = 0
    device: Literal["cpu", "cuda"] = "cpu"
    num_threads: Positive = 1
    num_workers: Count = 1
    peak_lr: PositiveFloat = 4e-3
    warmup_steps: Count = 200
    schedule: Literal["cosine", "constant"] = "cosine"
    final_lr_ratio: Share = 0.02
    beta1: Probability = 0.9
    beta2: Probability = 0.98
    adam_eps: PositiveFloat = 1e-8
    weight_decay: NonNegative = 0.01
    clip_norm: PositiveFloat = 5.0
    ema_decay: Probability = 0.0
    average: Positive = 3
    average_of: Literal["best", "last"] = "best"
    valid_interval: Count = 0
    keep_last: Positive = 3
    keep_best: Positive = 3
    best_by: str = "loss"
    dev_wer_utts: Count = 0
    log_interval: Positive = 50
    bad_batch_budget: Count = 100

    @model_validator(mode="after")
    def _averaged_are_kept(self) -> TrainConfig:
        kept = self.keep_best if self.average_of == "best" else self.keep_last
        if self.average > kept:
            raise ValueError(
                f"average ({self.average}) exceeds keep_{self.average_of} ({kept}): "
                "what is to be averaged must be kept"
            )
        return self
