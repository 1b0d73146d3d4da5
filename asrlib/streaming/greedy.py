"""Greedy search: each frame emits its most probable symbol, until blank or a limit.

Shape suffixes: B streams, N emitting streams, S output frames, D encoder width, J joiner width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from asrlib.config import configclass
from asrlib.encoders.state import stack_states, unstack_state
from asrlib.numbers import Positive
from asrlib.streaming.search import Hypothesis, symbol_log_probs
from asrlib.text.tokenizer import BLANK_ID
from asrlib.transducer.model import Transducer

WINDOW = 8  # output frames that go through the joiner in one call


@configclass
class GreedyConfig:
    """Settings of greedy search.

    Attributes:
        max_symbols_per_frame: largest number of tokens that one output frame may emit. None means
            1 if the model was trained with at most one symbol per frame
            (`loss.rnnt_type: modified`), because such a model repeats a token until the limit
            stops it, and 3 for other models.
    """

    max_symbols_per_frame: Positive | None = None


@dataclass
class GreedyState:
    """A stream's predictor state and the tokens that it has emitted so far."""

    frame: int
    predictor_state: Any
    decoder_J: Tensor
    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    score: float = 0.0


@dataclass
class Place:
    """Position of a stream in a window: its frame, and the number of symbols emitted there."""

    frame: int = 0
    symbols: int = 0


def start_predictor(model: Transducer, first_symbol: int = BLANK_ID) -> tuple[Any, Tensor]:
    """Return the predictor's state and projected output (J) after its first symbol."""
    device = next(model.parameters()).device
    first_B = torch.full((1,), first_symbol, dtype=torch.int64, device=device)
    state = model.predictor.initial_state(1)
    decoder_BD, state = model.predictor.step(first_B, state)
    return state, model.joiner.decoder_proj(decoder_BD)[0]


def advance_predictor(
    model: Transducer, tokens: Sequence[int], predictor_states: Sequence[Any]
) -> tuple[list[Any], Tensor]:
    """Feed one token to each of N predictors; return their states and projected outputs (N, J)."""
    device = model.joiner.output_linear.weight.device
    y_N = torch.tensor(tokens, dtype=torch.int64, device=device)
    decoder_ND, state = model.predictor.step(y_N, stack_states(list(predictor_states)))
    return unstack_state(state), model.joiner.decoder_proj(decoder_ND)


class GreedySearch:
    """Greedy search, batched over streams (Graves 2012, arXiv 1211.3711, with a symbol limit).

    Args:
        model: the transducer.
        config: settings of the search.
        blank_penalty, temperature: see `symbol_log_probs`.
        first_symbol: the predictor's first symbol, see `Tokenizer.first_symbol`.
    """

    def __init__(
        self,
        model: Transducer,
        config: GreedyConfig,
        blank_penalty: float = 0.0,
        temperature: float = 1.0,
        first_symbol: int = BLANK_ID,
    ) -> None:
        self.model, self.first_symbol = model, first_symbol
        self.blank_penalty, self.temperature = blank_penalty, temperature
        default = 1 if model.config.loss.rnnt_type == "modified" else 3
        self.max_symbols = config.max_symbols_per_frame or default

    @torch.no_grad()
    def initial_state(self, frame: int = 0) -> GreedyState:
        """Return the state of a new segment that starts at output frame `frame`."""
        predictor_state, decoder_J = start_predictor(self.model, self.first_symbol)
        return GreedyState(frame, predictor_state, decoder_J)

    @torch.no_grad()
    def advance(self, h_BSD: Tensor, states: Sequence[GreedyState]) -> None:
        """Consume S frames of each stream and update `states` in place."""
        am_BSJ = self.model.joiner.encoder_proj(h_BSD)
        lm_BJ = torch.stack([state.decoder_J for state in states])
        for am_BWJ in am_BSJ.split(WINDOW, dim=1):
            self._window(am_BWJ, lm_BJ, states)
        for b, state in enumerate(states):
            state.decoder_J = lm_BJ[b].clone()

    def _window(self, am_BWJ: Tensor, lm_BJ: Tensor, states: Sequence[GreedyState]) -> None:
        """Decode a window of W frames of all streams; update the rows of `lm_BJ` that emit.

        The joiner computes all remaining frames as if none of them emitted a token, because most
        frames are blank. For a stream that emits one, it computes the frames from there again.
        """
        active, places = list(range(len(states))), [Place() for _ in states]
        while active:
            first = min(places[b].frame for b in active)
            logits_NWV = self.model.joiner(
                am_BWJ[active, first:], lm_BJ[active].unsqueeze(1), project_input=False
            )
            log_probs_NWV = symbol_log_probs(
                logits_NWV.float(), self.blank_penalty, self.temperature
            )
            log_prob_NW, token_NW = log_probs_NWV.max(-1)
            rows = zip(active, token_NW.tolist(), log_prob_NW.tolist(), strict=True)
            emitted = [
                b
                for b, token_W, log_prob_W in rows
                if self._follow(places[b], first, token_W, log_prob_W, states[b])
            ]
            if emitted:
                new, lm_BJ[emitted] = advance_predictor(
                    self.model,
                    [states[b].tokens[-1] for b in emitted],
                    [states[b].predictor_state for b in emitted],
                )
                for b, predictor_state in zip(emitted, new, strict=True):
                    states[b].predictor_state = predictor_state
            active = [b for b in emitted if places[b].frame < am_BWJ.shape[1]]
        for state in states:
            state.frame += am_BWJ.shape[1]

    def _follow(
        self,
        place: Place,
        first: int,
        token_W: Sequence[int],
        log_prob_W: Sequence[float],
        state: GreedyState,
    ) -> bool:
        """Move past the next token, or to the end of the window; return whether there was a token.

        Args:
            first: frame of the window at which `token_W` and `log_prob_W` begin.
        """
        for w in range(place.frame - first, len(token_W)):
            state.score += log_prob_W[w]
            if token_W[w] == BLANK_ID:
                place.frame, place.symbols = place.frame + 1, 0
                continue
            state.tokens.append(token_W[w])
            state.frames.append(state.frame + place.frame)
            state.log_probs.append(log_prob_W[w])
            place.symbols += 1
            if place.symbols == self.max_symbols:
                place.frame, place.symbols = place.frame + 1, 0
            return True
        return False

    def best(self, state: GreedyState) -> Hypothesis:
        """Return all tokens emitted so far."""
        return Hypothesis(
            tuple(state.tokens), tuple(state.frames), tuple(state.log_probs), state.score
        )

    def settle(self, state: GreedyState, closing: Collection[int] = ()) -> Hypothesis:
        """Return all tokens emitted so far, which are final, and forget them."""
        settled = self.best(state)
        state.tokens, state.frames, state.log_probs = [], [], []
        return settled

    def last_frame(self, state: GreedyState) -> int | None:
        """Return the output frame of the last token; None if there is no token."""
        return state.frames[-1] if state.frames else None
