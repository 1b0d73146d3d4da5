"""Modified beam search: at most one symbol per frame; hypotheses with equal tokens are merged.

Shape suffixes: B streams, K hypotheses of a stream, N hypotheses of all streams, S output frames,
D encoder width, J joiner width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from asrlib.config import configclass
from asrlib.lm.scorer import TokenScorer
from asrlib.numbers import Positive
from asrlib.streaming.greedy import advance_predictor, start_predictor
from asrlib.streaming.search import Hypothesis, symbol_log_probs
from asrlib.text.tokenizer import BLANK_ID
from asrlib.transducer.model import Transducer

# The end of a turn counts as certain if the hypotheses that contain it hold this share of the
# beam's probability, or if it was emitted more than this number of output frames ago (our choice).
# The age limit is needed because variants of old words stay in the beam while nobody speaks.
_SURE = 0.95
_LONG_AGO = 12
# Largest number of tokens in which hypotheses may differ; beyond it only the best one is kept. No
# turn has as many tokens.
_MOST_OPEN = 200


@configclass
class ModifiedBeamConfig:
    """Settings of modified beam search.

    Attributes:
        beam: number of hypotheses kept per stream.
        length_norm: whether the best hypothesis is the one with the highest score per token (the
            start symbol counts as a token) instead of the highest score. Scores above 0, which
            only hotwords or a subtracted model make, are not divided.
    """

    beam: Positive = 4
    length_norm: bool = True


class History:
    """A token sequence as a linked list; equal sequences of one stream are the same object."""

    __slots__ = ("__weakref__", "length", "parent", "token")

    def __init__(self, token: int, parent: History | None) -> None:
        self.token = token
        self.parent = parent
        self.length: int = 0 if parent is None else parent.length + 1


class Emission(NamedTuple):
    """Output frame and log-probability of a hypothesis' tokens, as a linked list."""

    frame: int
    log_prob: float
    previous: Any


@dataclass(frozen=True)
class BeamHypothesis:
    """One path of the beam: its tokens, their emissions, its score and its predictor state.

    `score` contains what the token scorer has added, and `scorer_state` is the scorer's state.
    `pending` is a token that the predictor has not consumed yet. While it is set,
    `predictor_state` and `decoder_J` are still those of the parent.
    """

    history: History
    emission: Emission | None
    score: float
    predictor_state: Any
    decoder_J: Tensor
    scorer_state: Any = None
    pending: int | None = None


@dataclass
class BeamState:
    """A stream's beam. Hypotheses share list nodes, so memory grows only with new tokens."""

    frame: int
    beam: list[BeamHypothesis]
    histories: WeakValueDictionary[tuple[int, int], History]

    def extend(self, history: History, token: int) -> History:
        """Return the only object that represents `history` followed by `token`."""
        # A child keeps its parent alive, so no other object has the parent's id while the key
        # exists.
        key = (id(history), token)
        child = self.histories.get(key)
        if child is None:
            child = self.histories[key] = History(token, history)
        return child


def _descends(history: History, node: History) -> bool:
    while history.length > node.length and history.parent is not None:
        history = history.parent
    return history is node


def _last_emissions(emission: Emission | None, count: int) -> Emission | None:
    """Return the last `count` emissions as a linked list of their own."""
    kept: list[Emission] = []
    while emission is not None and len(kept) < count:
        kept.append(emission)
        emission = emission.previous
    chain: Emission | None = None
    for item in reversed(kept):
        chain = item._replace(previous=chain)
    return chain


class ModifiedBeamSearch:
    """Modified beam search, batched over streams and hypotheses.

    This is the usual search for stateless transducers. At each frame every hypothesis is extended
    by blank or one token, the best `beam` extensions are kept, and extensions with equal tokens
    are merged by adding their probabilities. Scores are summed in double precision, so that long
    streams lose no accuracy.

    Args:
        model: the transducer.
        config: settings of the search.
        scorer: adds scores to tokens, for example those of a language model.
        blank_penalty, temperature: see `symbol_log_probs`.
        first_symbol: the predictor's first symbol, see `Tokenizer.first_symbol`.
    """

    def __init__(
        self,
        model: Transducer,
        config: ModifiedBeamConfig,
        scorer: TokenScorer | None = None,
        blank_penalty: float = 0.0,
        temperature: float = 1.0,
        first_symbol: int = BLANK_ID,
    ) -> None:
        self.model, self.config, self.scorer = model, config, scorer
        self.blank_penalty, self.temperature = blank_penalty, temperature
        self.first_symbol = first_symbol

    @torch.no_grad()
    def initial_state(self, frame: int = 0) -> BeamState:
        """Return the state of a new segment that starts at output frame `frame`."""
        scorer_state = self.scorer and self.scorer.start()
        predictor = start_predictor(self.model, self.first_symbol)
        start = BeamHypothesis(History(BLANK_ID, None), None, 0.0, *predictor, scorer_state)
        return BeamState(frame, [start], WeakValueDictionary())

    @torch.no_grad()
    def advance(self, h_BSD: Tensor, states: Sequence[BeamState]) -> None:
        """Consume S frames of each stream and update `states` in place."""
        am_BSJ = self.model.joiner.encoder_proj(h_BSD)
        for s in range(am_BSJ.shape[1]):
            self._frame(am_BSJ[:, s], states)

    def _frame(self, am_BJ: Tensor, states: Sequence[BeamState]) -> None:
        log_probs_BKV, scores_BKV = self._scores(am_BJ, states)
        flat_BX = scores_BKV.flatten(1)
        top = flat_BX.topk(min(self.config.beam, flat_BX.shape[1]))
        log_prob_BX = log_probs_BKV.flatten(1).gather(1, top.indices)
        rows = zip(
            states, top.values.tolist(), top.indices.tolist(), log_prob_BX.tolist(), strict=True
        )
        for state, scores, indices, log_probs in rows:
            self._merge(state, scores, indices, log_probs, scores_BKV.shape[2])
        self._feed_pending(states)

    def _scores(self, am_BJ: Tensor, states: Sequence[BeamState]) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, K, V) of all extensions, and the hypotheses' new scores.

        A new score is the log-probability plus what the scorer adds plus the hypothesis' score, in
        double precision.
        """
        rows = [(b, k) for b, state in enumerate(states) for k in range(len(state.beam))]
        b_N, k_N = (torch.tensor(i, device=am_BJ.device) for i in zip(*rows, strict=True))
        hyps = [hyp for state in states for hyp in state.beam]
        lm_NJ = torch.stack([hyp.decoder_J for hyp in hyps])
        logits_NV = self.model.joiner(am_BJ[b_N], lm_NJ, project_input=False)
        log_probs_NV = symbol_log_probs(logits_NV.double(), self.blank_penalty, self.temperature)
        score_N = log_probs_NV.new_tensor([hyp.score for hyp in hyps])
        width = max(len(state.beam) for state in states)
        log_probs_BKV = log_probs_NV.new_full((len(states), width, logits_NV.shape[1]), -math.inf)
        scores_BKV = log_probs_BKV.clone()
        log_probs_BKV[b_N, k_N] = log_probs_NV
        scores_BKV[b_N, k_N] = log_probs_NV + score_N[:, None]
        if self.scorer is not None:
            added = np.stack([self.scorer.row(hyp.scorer_state) for hyp in hyps])
            scores_BKV[b_N, k_N] += torch.from_numpy(added).to(am_BJ.device)
        return log_probs_BKV, scores_BKV

    def _merge(
        self,
        state: BeamState,
        scores: Sequence[float],
        indices: Sequence[int],
        log_probs: Sequence[float],
        vocab_size: int,
    ) -> None:
        """Replace the beam by the chosen extensions, best first; merge those with equal tokens."""
        merged: dict[int, BeamHypothesis] = {}
        for score, index, log_prob in zip(scores, indices, log_probs, strict=True):
            if score == -math.inf:  # padding of a narrower beam
                continue
            parent, token = state.beam[index // vocab_size], index % vocab_size
            if token == BLANK_ID:
                hyp = replace(parent, score=score)
            else:
                emission = Emission(state.frame, log_prob, parent.emission)
                history = state.extend(parent.history, token)
                scored = self.scorer and self.scorer.advance(parent.scorer_state, token)
                hyp = replace(
                    parent,
                    history=history,
                    emission=emission,
                    score=score,
                    scorer_state=scored,
                    pending=token,
                )
            known = merged.get(id(hyp.history))
            if known is not None:
                high, low = max(known.score, score), min(known.score, score)
                total = high + math.log1p(math.exp(low - high))
                # The emission times are those of the better path, which comes first. The
                # predictor state is that of the path whose predictor needs no further step.
                fed = known if known.pending is None else hyp
                hyp = replace(fed, emission=known.emission, score=total)
            merged[id(hyp.history)] = hyp
        state.beam = list(merged.values())
        state.frame += 1

    def _feed_pending(self, states: Sequence[BeamState]) -> None:
        """Feed the new tokens to the predictors of the hypotheses, for all streams at once."""
        where = [
            (state, k)
            for state in states
            for k, hyp in enumerate(state.beam)
            if hyp.pending is not None
        ]
        if not where:
            return
        hyps = [state.beam[k] for state, k in where]
        new, decoder_NJ = advance_predictor(
            self.model, [h.history.token for h in hyps], [h.predictor_state for h in hyps]
        )
        for (state, k), predictor_state, decoder_J in zip(where, new, decoder_NJ, strict=True):
            state.beam[k] = replace(
                state.beam[k],
                predictor_state=predictor_state,
                decoder_J=decoder_J,
                pending=None,
            )

    def _final_score(self, hyp: BeamHypothesis) -> float:
        return hyp.score + (self.scorer.end(hyp.scorer_state) if self.scorer else 0.0)

    def _rank(self, hyp: BeamHypothesis) -> float:
        score = self._final_score(hyp)
        # Hotwords can lift a score above 0, where a division would favour short hypotheses.
        normed = self.config.length_norm and score < 0
        return score / (hyp.history.length + 1) if normed else score

    def _best(self, state: BeamState) -> BeamHypothesis:
        return max(state.beam, key=self._rank)

    def best(self, state: BeamState) -> Hypothesis:
        """Return the hypothesis with the highest score, or score per token with `length_norm`."""
        return self._transcript(self._best(state))

    def ranked(self, state: BeamState) -> list[Hypothesis]:
        """Return the hypotheses of the beam, best first, as `best` ranks; their tokens differ."""
        found = sorted(state.beam, key=self._rank, reverse=True)
        return [self._transcript(hyp) for hyp in found]

    def _transcript(self, hyp: BeamHypothesis) -> Hypothesis:
        tokens, frames, log_probs = [], [], []
        history, emission = hyp.history, hyp.emission
        while history.parent is not None and emission is not None:
            tokens.append(history.token)
            frames.append(emission.frame)
            log_probs.append(emission.log_prob)
            history, emission = history.parent, emission.previous
        return Hypothesis(
            tuple(reversed(tokens)),
            tuple(reversed(frames)),
            tuple(reversed(log_probs)),
            self._final_score(hyp),
        )

    def settle(self, state: BeamState, closing: Collection[int] = ()) -> Hypothesis:
        """Return the tokens that all hypotheses share, with the times of the best one; forget them.

        Two rules drop hypotheses first. Hypotheses that contradict the end of a turn are dropped
        if this end is nearly certain (`_SURE`) or about half a second old (`_LONG_AGO`). All but
        the best are dropped if they differ in more than `_MOST_OPEN` tokens, which bounds memory
        for any model.

        The last shared token becomes the new root of the linked lists. Lengths still count from
        the stream's start, so that no comparison of hypotheses changes.
        """
        self._close(state, closing)
        root = self._shared(state)
        if self._best(state).history.length - root.length > _MOST_OPEN:
            state.beam = [self._best(state)]
            root = state.beam[0].history
        best = self.best(state)
        count = len(best.tokens) - (self._best(state).history.length - root.length)
        if count == 0:
            return Hypothesis()
        state.beam = [
            replace(hyp, emission=_last_emissions(hyp.emission, hyp.history.length - root.length))
            for hyp in state.beam
        ]
        # The parent is freed, and another history may get its id.
        del state.histories[id(root.parent), root.token]
        root.parent = None
        return Hypothesis(
            best.tokens[:count], best.frames[:count], best.log_probs[:count], best.score
        )

    def _close(self, state: BeamState, closing: Collection[int]) -> None:
        """Drop hypotheses that differ from the best one before its last certain closing token."""
        best = self._best(state)
        share_K = torch.tensor([hyp.score for hyp in state.beam], dtype=torch.float64).softmax(0)
        node, emission = best.history, best.emission
        while node.parent is not None and emission is not None:
            if node.token in closing:
                agrees = [_descends(hyp.history, node) for hyp in state.beam]
                old = state.frame - emission.frame > _LONG_AGO
                if old or share_K[torch.tensor(agrees)].sum() >= _SURE:
                    state.beam = [hyp for hyp, kept in zip(state.beam, agrees, strict=True) if kept]
                    return
            node, emission = node.parent, emission.previous

    @staticmethod
    def _shared(state: BeamState) -> History:
        """Return the longest history that all hypotheses begin with."""
        nodes = [hyp.history for hyp in state.beam]
        while any(node is not nodes[0] for node in nodes):
            longest = max(range(len(nodes)), key=lambda k: nodes[k].length)
            parent = nodes[longest].parent
            if parent is None:  # impossible, because all lists begin at one root
                raise AssertionError("hypotheses of one stream without a common root")
            nodes[longest] = parent
        return nodes[0]

    def last_frame(self, state: BeamState) -> int | None:
        """Return the output frame of the best hypothesis' last token; None if it has no token."""
        emission = self._best(state).emission
        return None if emission is None else emission.frame
