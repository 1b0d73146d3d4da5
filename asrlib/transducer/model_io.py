"""The file of a trained transducer, which holds everything that decoding needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from asrlib.checkpoint_file import building, load
from asrlib.config import from_dict, to_dict
from asrlib.encoders.base import CONDITION, TakesWeights
from asrlib.errors import CheckpointError
from asrlib.features.fbank import FbankConfig
from asrlib.layers.progress import completed
from asrlib.text.tokenizer import Tokenizer
from asrlib.transducer.model import Transducer, TransducerConfig

KIND = "transducer"
_ENCODER = "encoder."


class LoadedTransducer(NamedTuple):
    """A model that is ready to decode.

    Attributes:
        model: the transducer in evaluation mode, on the CPU.
        tokenizer: the tokenizer that the model was trained with.
        fbank: configuration of the features that the model was trained on.
        meta: facts about the training: steps, seed, dev figures, configuration.
    """

    model: Transducer
    tokenizer: Tokenizer
    fbank: FbankConfig
    meta: dict[str, Any]


def transducer_payload(model: Transducer, tokenizer: Tokenizer, fbank: FbankConfig) -> dict:
    """Data that a checkpoint needs besides the weights, so that `load_transducer` can read it."""
    return {
        "kind": KIND,
        "config": to_dict(model.config),
        "tokenizer": tokenizer.model_bytes,
        "fbank": to_dict(fbank),
        "num_bins": model.encoder.num_bins,
        "vocab_size": model.vocab_size,
    }


def _check_tokens(tokenizer: Tokenizer, model: Transducer) -> None:
    if tokenizer.vocab_size != model.vocab_size:
        raise CheckpointError(
            f"the model has {model.vocab_size} symbols, but its tokenizer {tokenizer.vocab_size}:"
            f" symbols from {min(tokenizer.vocab_size, model.vocab_size)} on are unknown",
            "train the model again",
        )


def load_start(
    model: Transducer,
    tokenizer: Tokenizer,
    path: Path,
    part: Literal["all", "encoder"] = "all",
) -> None:
    """Initialise a model with the weights of a trained one, including its feature statistics.

    Args:
        model: the model to initialise.
        tokenizer: the tokenizer of this model; the trained one must have the same, unless its
            encoder alone is taken.
        path: file of a trained model with the same configuration, or of one whose weights the
            encoder can convert (`TakesWeights`). If the trained one takes no condition, the new
            projection stays zero, and the outputs are the same.
        part: what is taken. With `encoder`, predictor, joiner and CTC layer keep their random
            weights, so that the tokens and the sizes of these parts may differ.

    Raises:
        CheckpointError: the file cannot be loaded, or its tokens or sizes differ. The message
            names the first weight that differs.
    """
    start = load_transducer(path)
    fix = "train it with the same configuration"
    channels = start.model.encoder.num_channels
    if model.encoder.num_channels > 1:
        fix += ", or with that and --set model.encoder.channels=1"
    if channels not in (1, model.encoder.num_channels):
        wanted = " or ".join(map(str, sorted({1, model.encoder.num_channels})))
        raise CheckpointError(f"{path}: has {channels} channels, not {wanted}", fix)
    if part == "all" and start.tokenizer.model_bytes != tokenizer.model_bytes:
        raise CheckpointError(
            f"{path}: was trained with other tokens than this recipe's",
            "train it again in this recipe, give a model that was trained here, or take its "
            "encoder alone: --set train.init_part=encoder",
        )
    weights = start.model.state_dict()
    encoder = completed(start.model.encoder.state_dict())
    if isinstance(model.encoder, TakesWeights):
        encoder = model.encoder.take_weights(encoder)
    own = model.state_dict()
    others = weights if part == "all" else own
    weights = {k: v for k, v in others.items() if not k.startswith(_ENCODER)}
    weights |= {_ENCODER + name: weight for name, weight in encoder.items()}
    projection = _ENCODER + CONDITION
    if projection in own:
        weights.setdefault(projection, own[projection])
    for name in [*own, *(n for n in weights if n not in own)]:
        there, here = (str(list(w[name].shape)) if name in w else "nothing" for w in (weights, own))
        if there != here:
            raise CheckpointError(f"{path}: has {there} for {name}, the new model has {here}", fix)
    model.load_state_dict(weights)


def load_transducer(path: Path) -> LoadedTransducer:
    """Load a trained model from `final.pt` or a `best-*.pt`.

    Raises:
        CheckpointError: the file is missing or corrupt, has another format or kind, or holds a
            model that this version cannot build.
    """
    path = Path(path)
    content = load(path, KIND)
    with building(path):
        payload = content["payload"]
        config = from_dict(TransducerConfig, payload["config"], str(path))
        fbank = from_dict(FbankConfig, payload["fbank"], str(path))
        model = Transducer(config, payload["num_bins"], payload["vocab_size"])
        model.load_state_dict(content["model"])
        tokenizer = Tokenizer.from_bytes(payload["tokenizer"])
        _check_tokens(tokenizer, model)
        return LoadedTransducer(model.eval(), tokenizer, fbank, content["facts"])
