"""Settings of mitigation: `conf/mitigation.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from asrlib.config import configclass
from asrlib.numbers import NonNegative, Positive, Probability

Part = Literal["whole", "encoder", "predictor", "joiner"]


@configclass
class CohortsConfig:
    """Which speech belongs to the cohort whose recognition is to improve.

    Attributes:
        directory: directory of `cohorts.jsonl`, relative to the recipe; empty if no cohorts are
            known.
        cohort: name of the cohort in that file.
        split: only speakers of this split are used; `any` means all of them. Speakers without a
            split, which were assigned later, count as `discovery`.
        sets: sets of `data/` that hold speech of the cohort to train on.
        choose: share of the cohort's speakers that are not trained on and give the dev metrics
            `cohort_*`.
        labels: decode directory, relative to the recipe, whose hypotheses replace the cohort's
            transcripts, as in the semi-supervised training of arXiv 2207.11345; empty for the
            transcripts.
    """

    directory: str = ""
    cohort: str = "bottom"
    split: Literal["discovery", "confirmation", "any"] = "discovery"
    sets: Annotated[tuple[str, ...], Field(min_length=1)] = ("train",)
    choose: Probability = 0.2
    labels: str = ""


@configclass
class OversamplingConfig:
    """How often an epoch holds the cohort's utterances.

    Attributes:
        times: number of copies of each utterance, at least 1. A fraction is a share of the
            cohort's audio, drawn anew in each epoch.
        random: whether as much audio of any speakers of the same split and sets is repeated
            instead, as a control.
    """

    times: Annotated[float, Field(ge=1.0)] = 1.0
    random: bool = False


@configclass
class FisherConfig:
    """How the diagonal of the Fisher information is estimated; see `asrlib.mitigation.fisher`.

    Attributes:
        labels: `empirical` for gradients at the transcripts, `sampled` for gradients at labels
            drawn from the model.
        estimator: `utterances` for one gradient per utterance, `signs` for one random-sign
            gradient per batch.
        utterances: number of general utterances.
        seed: seed of their choice, of the signs and of the sampled labels.
    """

    labels: Literal["empirical", "sampled"] = "empirical"
    estimator: Literal["signs", "utterances"] = "signs"
    utterances: Positive = 512
    seed: int = 1


_TRAIN: dict[str, Any] = {
    "epochs": 1000000,
    "max_steps": 200,
    "peak_lr": 4e-4,
    "warmup_steps": 20,
    "weight_decay": 0.0,
    "valid_interval": 50,
    "average": 1,
    "average_of": "last",
}


@configclass
class AdaptationConfig:
    """How a trained transducer is adapted.

    Attributes:
        method: `finetune` without a penalty, `l2` with a penalty on the distance to the start,
            `ewc` with this penalty weighted by the Fisher information (arXiv 1612.00796,
            2207.07850); `none` is no adaptation but the usual training.
        speech: `cohort` adapts on the cohort alone; `general` on `data/train`, as a control;
            `oversampled` on `data/train` with the cohort's utterances as `OversamplingConfig`
            says.
        replay: share of general speech in the audio of an epoch, for `speech` = `cohort`.
        part: the weights that are adapted; all others keep their values.
        strength: weight of the penalty.
        form: `proximal` for a step towards the start after each update, `loss` for a term of the
            loss.
        fisher: settings of the Fisher information, for `ewc`.
        train: values that replace those of `conf/train.yaml`.
    """

    method: Literal["none", "finetune", "l2", "ewc"] = "none"
    speech: Literal["cohort", "general", "oversampled"] = "cohort"
    replay: Probability = 0.0
    part: Part = "whole"
    strength: NonNegative = 1.0
    form: Literal["proximal", "loss"] = "proximal"
    fisher: FisherConfig = FisherConfig()
    train: dict[str, Any] = Field(default_factory=lambda: dict(_TRAIN))

    @model_validator(mode="after")
    def _replay_fits_speech(self) -> AdaptationConfig:
        if self.replay and self.speech != "cohort":
            raise ValueError(
                f"replay ({self.replay:g}) needs speech: cohort; {self.speech} has general speech"
            )
        return self


@configclass
class MitigationConfig:
    """`conf/mitigation.yaml`."""

    cohorts: CohortsConfig = CohortsConfig()
    oversampling: OversamplingConfig = OversamplingConfig()
    adaptation: AdaptationConfig = AdaptationConfig()

    @property
    def adapts(self) -> bool:
        """Whether the training is an adaptation."""
        return self.adaptation.method != "none"

    @property
    def takes_part(self) -> bool:
        """Whether the section affects a training."""
        return self.adapts or self.knows_cohorts

    @property
    def knows_cohorts(self) -> bool:
        """Whether the cohort is known, which all but the control on general speech need."""
        return bool(self.cohorts.directory)
