"""Settings of decoding, and the search that they choose."""

from __future__ import annotations

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.numbers import NonNegative, Positive, PositiveFloat
from asrlib.searches import TURN_SEARCHES, SearchName
from asrlib.streaming.endpoint import EndpointConfig
from asrlib.streaming.fast_beam import FastBeamConfig, FastBeamSearch
from asrlib.streaming.fusion import HotwordsConfig, LmConfig, build_scorer
from asrlib.streaming.greedy import GreedyConfig, GreedySearch
from asrlib.streaming.modified_beam import ModifiedBeamConfig, ModifiedBeamSearch
from asrlib.streaming.search import TurnSearch
from asrlib.text.tokenizer import Tokenizer
from asrlib.transducer.model import Transducer

AnySearch = GreedySearch | ModifiedBeamSearch | FastBeamSearch


@configclass
class DecodeConfig:
    """Settings of decoding (`conf/decode.yaml`).

    Attributes:
        search: name of the search that is used.
        source: source of the audio, which the predictor is told by its first symbol, for a model
            with `tokens.sources`; None if it is not known.
        chunk_seconds: seconds of audio given to a stream at a time when a file is decoded.
        max_streams: largest number of files decoded at the same time.
        max_chunk_frames: largest number of input frames in one call of the encoder, which bounds
            memory if a stream gets all of its audio in one piece.
        tail_padding: seconds of zeros after the audio, in addition to the zeros that the encoder's
            lookahead and subsampling need.
        num_threads: number of torch threads in the commands.
        blank_penalty, temperature: see `asrlib.streaming.search.symbol_log_probs`; not for
            fast_beam.
        n_best: number of different transcripts that results hold, at most those of the beam; above
            1 only with modified_beam.
        lm, hotwords: what modified_beam adds to the scores of tokens.
        greedy, modified_beam, fast_beam: settings of each search.
        endpoint: settings of endpoint detection.
    """

    search: SearchName = "greedy"
    source: str | None = None
    chunk_seconds: PositiveFloat = 0.32
    max_streams: Positive = 32
    max_chunk_frames: Positive = 1000
    tail_padding: NonNegative = 0.0
    num_threads: Positive = 1
    blank_penalty: float = 0.0
    temperature: PositiveFloat = 1.0
    n_best: Positive = 1
    lm: LmConfig = LmConfig()
    hotwords: HotwordsConfig = HotwordsConfig()
    greedy: GreedyConfig = GreedyConfig()
    modified_beam: ModifiedBeamConfig = ModifiedBeamConfig()
    fast_beam: FastBeamConfig = FastBeamConfig()
    endpoint: EndpointConfig = EndpointConfig()


def build_search(model: Transducer, tokenizer: Tokenizer, config: DecodeConfig) -> AnySearch:
    """Build the search that `config.search` names.

    Raises:
        ConfigError: the search cannot decode this model, or not with these settings.
        DataError: a language model or a file of hotwords is missing or broken.
    """
    _check_supported(config)
    first = tokenizer.first_symbol(config.source)
    scaled = (config.blank_penalty, config.temperature)
    if config.search == "greedy":
        return GreedySearch(model, config.greedy, *scaled, first_symbol=first)
    if config.search == "modified_beam":
        scorer = build_scorer(tokenizer, config.lm, config.hotwords)
        return ModifiedBeamSearch(model, config.modified_beam, scorer, *scaled, first_symbol=first)
    return FastBeamSearch(model, config.fast_beam, first_symbol=first)


def _check_supported(config: DecodeConfig) -> None:
    """Refuse settings that the chosen search would ignore.

    Raises:
        ConfigError: names the setting.
    """
    default = DecodeConfig()
    only_beam = {
        "n_best": config.n_best != 1,
        "lm": config.lm.in_use,
        "hotwords": config.hotwords.in_use,
    }
    not_fast = {
        key: getattr(config, key) != getattr(default, key)
        for key in ("blank_penalty", "temperature")
    }
    refused = {"greedy": only_beam, "fast_beam": {**only_beam, **not_fast}}
    for key, used in refused.get(config.search, {}).items():
        if used:
            raise ConfigError(
                f"decode.{key}: the search {config.search} does not support it",
                "choose decode.search=modified_beam, or leave the setting at its default",
            )


def turn_search(search: AnySearch, talkers: int, config: DecodeConfig) -> TurnSearch:
    """Check that a search can close the turns of several talkers, and return it.

    Raises:
        ConfigError: it cannot, or endpoint detection is on; the message names the setting.
    """
    if config.endpoint.enabled:
        raise ConfigError(
            f"decode.endpoint.enabled: a model of {talkers} talkers finds the ends of turns itself",
            "leave out --endpoint, or set decode.endpoint.enabled=false",
        )
    if isinstance(search, FastBeamSearch):
        raise ConfigError(
            f"decode.search {config.search}: cannot close the turns of {talkers} talkers",
            f"choose {' or '.join(TURN_SEARCHES)}",
        )
    return search
