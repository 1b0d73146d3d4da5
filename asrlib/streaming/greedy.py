"""Greedy search: at each frame the most probable symbol, until blank or a limit.

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
from asrlib.streaming.search import Hypothesis
from asrlib.text.tokenizer import BLANK_ID
from asrlib.transducer.model import Transducer

WINDOW = 8  # frames that one call of the joiner looks at


@configclass
class GreedyConfig:
    """Greedy search.

    Attributes:
        max_symbols_per_frame: tokens one output frame may emit; None: 1 where the model was
            trained with at most one (`loss.rnnt_type: modified`; such a model repeats a token
            as long as it is asked), else 3.
    """

    max_symbols_per_frame: Positive | None = None


@dataclass
class GreedyState:
    """A stream's predictor and what it emitted so far."""

    frame: int
    predictor_state: Any
    decoder_J: Tensor
    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    score: float = 0.0


@dataclass
class Place:
    """Where a stream is in a window: its frame, and the symbols that it emitted there."""

    frame: int = 0
    symbols: int = 0


def start_predictor(model: Transducer) -> tuple[Any, Tensor]:
    """State and projected output (J) of the predictor that has seen only the start (blank)."""
    device = next(model.parameters()).device
    blank_B = torch.full((1,), BLANK_ID, dtype=torch.int64, device=device)
    state = model.predictor.initial_state(1)
    decoder_BD, state = model.predictor.step(blank_B, state)
    return state, model.joiner.decoder_proj(decoder_BD)[0]


def advance_predictor(
    model: Transducer, tokens: Sequence[int], predictor_states: Sequence[Any]
) -> tuple[list[Any], Tensor]:
    """Feed one token to each of N predictors; their states and projected outputs (N, J)."""
    device = model.joiner.output_linear.weight.device
    y_N = torch.tensor(tokens, dtype=torch.int64, device=device)
    decoder_ND, state = model.predictor.step(y_N, stack_states(list(predictor_states)))
    return unstack_state(state), model.joiner.decoder_proj(decoder_ND)


class GreedySearch:
    """Greedy search, batched over streams (Graves 2012, arXiv 1211.3711, with a symbol limit)."""

    def __init__(self, model: Transducer, config: GreedyConfig) -> None:
        self.model = model
        default = 1 if model.config.loss.rnnt_type == "modified" else 3
        self.max_symbols = config.max_symbols_per_frame or default

    @torch.no_grad()
    def initial_state(self, frame: int = 0) -> GreedyState:
        """State of a new segment that starts at output frame `frame`."""
        predictor_state, decoder_J = start_predictor(self.model)
        return GreedyState(frame, predictor_state, decoder_J)

    @torch.no_grad()
    def advance(self, h_BSD: Tensor, states: Sequence[GreedyState]) -> None:
        """Consume S frames of each stream; updates `states` in place."""
        am_BSJ = self.model.joiner.encoder_proj(h_BSD)
        lm_BJ = torch.stack([state.decoder_J for state in states])
        for am_BWJ in am_BSJ.split(WINDOW, dim=1):
            self._window(am_BWJ, lm_BJ, states)
        for b, state in enumerate(states):
            state.decoder_J = lm_BJ[b].clone()

    def _window(self, am_BWJ: Tensor, lm_BJ: Tensor, states: Sequence[GreedyState]) -> None:
        """Some frames of all streams; rows of `lm_BJ` change where a token is emitted.

        The joiner sees all frames that are left as if they were blank, which most are; a stream
        that emits looks again from there.
        """
        active, places = list(range(len(states))), [Place() for _ in states]
        while active:
            first = min(places[b].frame for b in active)
            logits_NWV = self.model.joiner(
                am_BWJ[active, first:], lm_BJ[active].unsqueeze(1), project_input=False
            )
            log_prob_NW, token_NW = logits_NWV.float().log_softmax(-1).max(-1)
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
        """Go behind the next token, or to the end of the window; whether there was a token.

        Args:
            first: frame of the window that `token_W` and `log_prob_W` begin with.
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
        """All that was emitted."""
        return Hypothesis(
            tuple(state.tokens), tuple(state.frames), tuple(state.log_probs), state.score
        )

    def settle(self, state: GreedyState, closing: Collection[int] = ()) -> Hypothesis:
        """Hand out and forget all that was emitted: it stands."""
        settled = self.best(state)
        state.tokens, state.frames, state.log_probs = [], [], []
        return settled

    def last_frame(self, state: GreedyState) -> int | None:
        """Frame of the last token, None while there is none."""
        return state.frames[-1] if state.frames else None
