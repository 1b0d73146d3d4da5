"""Settings of training: `conf/train.yaml`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import model_validator

from asrlib.config import configclass
from asrlib.numbers import Count, NonNegative, Positive, PositiveFloat, Probability, Share

# A run may be resumed with other values of these keys, because they do not affect the weights.
HARMLESS_KEYS = frozenset({"log_interval", "num_workers", "keep_last", "bad_batch_budget"})
# A finished model is up to date even if these keys differ: a model trained on a GPU is not trained
# again on a machine without one.
FINISHED_KEYS = HARMLESS_KEYS | {"device"}
# A run on another machine is the same run even if these keys differ.
MACHINE_KEYS = FINISHED_KEYS | {"num_threads"}
# These keys of decoding change no result, by the law of `StreamingRecognizer`.
HARMLESS_DECODING_KEYS = frozenset(
    {"chunk_seconds", "max_streams", "max_chunk_frames", "num_threads"}
)
# Features that are computed on the fly are the same numbers.
HARMLESS_DATA_KEYS = frozenset({"features"})
# Names of directories decide nothing; the hashes of their files are among the inputs.
HARMLESS_MEMBERSHIP_KEYS = frozenset({"cohorts"})
HARMLESS_MITIGATION_KEYS = frozenset({"cohorts.directory", "cohorts.labels"})


def without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return nested values without some keys, of which `a.b` is the key b of the mapping a."""
    inner: dict[str, set[str]] = {}
    for key in keys:
        outer, _, rest = key.partition(".")
        inner.setdefault(outer, set()).update({rest} if rest else ())
    kept = {}
    for key, value in values.items():
        if key in keys:
            continue
        kept[key] = without(value, inner[key]) if key in inner else value
    return kept


@configclass
class TrainConfig:
    """Length, optimiser, schedule and bookkeeping of a training run; units in conf/train.yaml.

    Attributes:
        seed: seed of the weights, the data order and dropout.
        epochs, max_steps: the run ends when either number is reached; `max_steps` 0 means no limit.
        device: device of the model.
        precision: precision of the network in training steps, by autocast. Weights, gradients,
            losses and dev metrics are float32; float16 needs a GPU, and scales the losses.
        num_threads: number of torch threads. Sums depend on it, so a resumed run must keep it.
        num_workers: number of processes that load batches; 0 loads them in the training process.
        peak_lr, warmup_steps, schedule, final_lr_ratio: see `asrlib.training.optim.lr_at`.
        beta1, beta2, adam_eps, weight_decay: parameters of AdamW (arXiv 1711.05101).
        clip_norm: largest gradient norm; larger gradients are scaled down to it.
        ema_decay: decay of an exponential moving average of the weights, which is then validated
            and kept instead of the weights; 0 turns it off.
        average, average_of: `final.pt` is the mean of this many checkpoints: those with the best
            dev metric, or the last validated ones.
        average_window: `final.pt` is the mean of the weights after each of this many last steps,
            instead of checkpoints; 0 turns it off.
        init_part: what a run takes from the model of `--init`: all of its weights, or those of the
            encoder with the feature statistics, so that its tokens may differ.
        valid_interval: steps between validations, each of which leaves a checkpoint; 0 means one
            validation per epoch.
        keep_last, keep_best: numbers of checkpoints kept: the last ones, and the best ones by dev
            metric.
        best_by: key of the dev metric that ranks checkpoints; lower is better.
        dev_wer_utts: number of dev utterances decoded at each validation to measure the dev
            metric `wer`, with the settings of `conf/decode.yaml`; only for transducers of one
            talker.
        log_interval: steps between two lines of the log.
        bad_batch_budget: number of steps that may meet a non-finite loss or gradient; at the next
            one the run stops.
    """

    seed: int = 1
    epochs: Positive = 30
    max_steps: Count = 0
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
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
    average_window: Count = 0
    init_part: Literal["all", "encoder"] = "all"
    valid_interval: Count = 0
    keep_last: Positive = 3
    keep_best: Positive = 3
    best_by: str = "loss"
    dev_wer_utts: Count = 0
    log_interval: Positive = 50
    bad_batch_budget: Count = 100

    @model_validator(mode="after")
    def _precision_fits(self) -> TrainConfig:
        if self.precision == "float16" and self.device != "cuda":
            raise ValueError("precision float16 needs device cuda: choose bfloat16 or float32")
        return self

    @model_validator(mode="after")
    def _averages_fit(self) -> TrainConfig:
        kept = self.keep_best if self.average_of == "best" else self.keep_last
        if self.average > kept:
            raise ValueError(
                f"average ({self.average}) exceeds keep_{self.average_of} ({kept}): "
                "checkpoints that are averaged must be kept"
            )
        if self.average_window and self.ema_decay:
            raise ValueError(
                "average_window and ema_decay are two averages of the same updates: set one to 0"
            )
        return self
