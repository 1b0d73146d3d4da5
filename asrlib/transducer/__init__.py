"""The transducer: prediction network, joiner, pruned loss, and the model that combines them."""

from __future__ import annotations

from asrlib.transducer.joiner import Joiner
from asrlib.transducer.loss import LossConfig
from asrlib.transducer.model import Transducer, TransducerConfig, TransducerLoss, TurnTargets
from asrlib.transducer.predictor import (
    LstmPredictorConfig,
    Predictor,
    PredictorConfig,
    StatelessConfig,
)

__all__ = [
    "Joiner",
    "LossConfig",
    "LstmPredictorConfig",
    "Predictor",
    "PredictorConfig",
    "StatelessConfig",
    "Transducer",
    "TransducerConfig",
    "TransducerLoss",
    "TurnTargets",
]
