"""A trained transducer's file: everything that decoding elsewhere needs, in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from asrlib.config import from_dict, to_dict
from asrlib.errors import CheckpointError, UserError
from asrlib.features.fbank import FbankConfig
from asrlib.text.tokenizer import Tokenizer
from asrlib.training.checkpoint import load
from asrlib.transducer.model import Transducer, TransducerConfig

KIND = "transducer"


class LoadedTransducer(NamedTuple):
    """A model ready to decode.

    Attributes:
        model: in evaluation mode, on the CPU.
        tokenizer: the one it was trained with.
        fbank: the features it was trained on.
        meta: facts of its training: steps, seed, dev figures, configuration.
    """

    model: Transducer
    tokenizer: Tokenizer
    fbank: FbankConfig
    meta: dict[str, Any]


def transducer_payload(model: Transducer, tokenizer: Tokenizer, fbank: FbankConfig) -> dict:
    """What a checkpoint holds beside the weights, so that `load_transducer` needs nothing else."""
    return {
        "kind": KIND,
        "config": to_dict(model.config),
        "tokenizer": tokenizer.model_bytes,
        "fbank": to_dict(fbank),
        "num_bins": model.encoder.num_bins,
        "vocab_size": model.vocab_size,
    }


def load_transducer(path: Path) -> LoadedTransducer:
    """Load `final.pt` (or a `best-*.pt`).

    Raises:
        CheckpointError: missing, corrupt, of another format or kind, or of a model that this
            version builds otherwise.
    """
    path = Path(path)
    content = load(path, KIND)
    try:
        payload = content["payload"]
        config = from_dict(TransducerConfig, payload["config"], str(path))
        fbank = from_dict(FbankConfig, payload["fbank"], str(path))
        model = Transducer(config, payload["num_bins"], payload["vocab_size"])
        model.load_state_dict(content["model"])
        tokenizer = Tokenizer.from_bytes(payload["tokenizer"])
        return LoadedTransducer(model.eval(), tokenizer, fbank, content["facts"])
    except (UserError, KeyError, TypeError, RuntimeError) as e:
        reason = e.what if isinstance(e, UserError) else " ".join(str(e).split())
        if isinstance(e, KeyError):
            reason = f"it holds no {reason}"
        raise CheckpointError(
            f"{path}: not a model that this version builds: {reason}",
            "use the version that trained it, or train again",
        ) from e
