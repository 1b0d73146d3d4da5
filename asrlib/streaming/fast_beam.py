"""Fast beam search of k2 over a trivial graph; it is the only search that needs k2.

Shape suffixes: B streams, N contexts of all streams, C context tokens of a stateless predictor,
S output frames, D encoder width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.numbers import Positive, PositiveFloat
from asrlib.streaming.search import Hypothesis
from asrlib.text.tokenizer import BLANK_ID
from asrlib.transducer.model import Transducer
from asrlib.transducer.predictor import StatelessPredictor

NO_SYMBOL = -1
NO_FRAME = -1
IMPOSSIBLE = -1e10


@configclass
class FastBeamConfig:
    """Settings of k2's fast beam search.

    Attributes:
        beam: width of the beam: a state is kept if its natural-log probability lies at most this
            far below that of the best state.
        max_contexts: largest number of token contexts kept per stream and frame.
        max_states: largest number of graph states kept per stream and frame.
        max_lattice_frames: largest number of output frames in a lattice. After as many, the best
            path becomes final and a new lattice begins, which bounds memory and time on long
            streams.
    """

    beam: PositiveFloat = 20.0
    max_contexts: Positive = 8
    max_states: Positive = 64
    max_lattice_frames: Positive = 1000


class Lattices:
    """Lattices of the streams that last advanced together; best paths are found on demand."""

    def __init__(self, k2: Any, decoding: Any, num_frames: Sequence[int]) -> None:
        self._k2 = k2
        self._decoding = decoding
        self._num_frames = list(num_frames)
        self._paths: list[tuple[list[int], list[float]]] | None = None

    def path(self, index: int) -> tuple[list[int], list[float]]:
        """Return symbol and log-probability of the best path at each lattice frame of a stream.

        Args:
            index: position of the stream among those that advanced together.
        """
        if self._paths is None:
            lattice = self._decoding.format_output(self._num_frames, allow_partial=True)
            best = self._k2.shortest_path(lattice, use_double_scores=True)
            fsas = [best[i] for i in range(len(self._num_frames))]
            self._paths = [(f.labels.tolist(), f.scores.tolist()) for f in fsas]
        return self._paths[index]


@dataclass
class FastBeamState:
    """A stream's lattice, and the hypothesis that became final before the lattice began.

    Attributes:
        stream: k2's decoding stream; None before the lattice has a frame.
        start: index of the output frame at which the lattice begins.
        history_C: token context of the predictor at the lattice's start.
        length: number of output frames in the lattice.
        frames: index of the output frame for each lattice frame; NO_FRAME for the frames that
            were added to close the lattice.
        settled: the final hypothesis before the lattice.
        lattices: the lattices of the streams that this one last advanced with.
        index: position of this stream among them.
    """

    stream: Any
    start: int
    history_C: Tensor
    length: int = 0
    frames: list[int] = field(default_factory=list)
    settled: Hypothesis = field(default_factory=Hypothesis)
    lattices: Lattices | None = None
    index: int = 0


class FastBeamSearch:
    """Fast beam search of k2 (Kang et al. 2022, arXiv 2211.00484), with one symbol per frame.

    The best path is found in the lattice as it is, so tokens that were already shown may change.

    Args:
        model: the transducer.
        config: settings of the search.
        first_symbol: the predictor's first symbol, see `Tokenizer.first_symbol`.

    Raises:
        ConfigError: the predictor is not stateless, or k2 is not installed.
    """

    def __init__(
        self, model: Transducer, config: FastBeamConfig, first_symbol: int = BLANK_ID
    ) -> None:
        if not isinstance(model.predictor, StatelessPredictor):
            raise ConfigError(
                "decode.search fast_beam needs a stateless predictor, and this model has none",
                "choose modified_beam or greedy",
            )
        try:
            import k2
        except ImportError as e:
            raise ConfigError(
                f"decode.search fast_beam needs k2, which cannot be imported ({e})",
                "choose modified_beam, or decode with torch 1.13, which has k2: unset "
                "FAIRSTREAM_VENV, run tools/install.sh",
            ) from e
        self.model, self.config, self.first_symbol = model, config, first_symbol
        self.predictor = model.predictor
        self.context_size = model.predictor.context
        self.vocab_size = model.joiner.output_linear.out_features
        self._k2 = k2

    def initial_state(self, frame: int = 0) -> FastBeamState:
        """Return the state of a new segment that starts at output frame `frame`."""
        history_C = torch.full((self.context_size,), NO_SYMBOL, dtype=torch.int64)
        history_C[-1] = self.first_symbol
        return FastBeamState(None, frame, history_C)

    @torch.no_grad()
    def advance(self, h_BSD: Tensor, states: Sequence[FastBeamState]) -> None:
        """Consume S frames of each stream and update `states` in place."""
        am_BSJ = self.model.joiner.encoder_proj(h_BSD)
        s, total = 0, am_BSJ.shape[1]
        while s < total:
            for state in states:
                if state.length == self.config.max_lattice_frames:
                    self._settle(state)
            room = min(self.config.max_lattice_frames - state.length for state in states)
            n = min(total - s, room)
            self._extend(am_BSJ[:, s : s + n], states)
            s += n

    def _extend(self, am_BSJ: Tensor, states: Sequence[FastBeamState]) -> None:
        """Extend the lattices of all streams by the same number of frames."""
        k2, config = self._k2, self.config
        for state in states:
            if state.stream is None:
                graph = k2.trivial_graph(self.vocab_size - 1, device=am_BSJ.device)
                state.stream = k2.RnntDecodingStream(graph)
        decoding = k2.RnntDecodingStreams(
            [state.stream for state in states],
            k2.RnntDecodingConfig(
                vocab_size=self.vocab_size,
                decoder_history_len=self.context_size,
                beam=config.beam,
                max_contexts=config.max_contexts,
                max_states=config.max_states,
            ),
        )
        history_BC = torch.stack([state.history_C for state in states]).to(am_BSJ.device)
        for s in range(am_BSJ.shape[1]):
            shape, context_NC = decoding.get_contexts()
            row_N = shape.row_ids(1).long()
            y_NC = _with_history(context_NC.long(), history_BC[row_N])
            lm_NJ = self.model.joiner.decoder_proj(self.predictor.window(y_NC))
            logits_NV = self.model.joiner(am_BSJ[row_N, s], lm_NJ, project_input=False)
            decoding.advance(logits_NV.float().log_softmax(-1))
        self._close(decoding)
        for state in states:
            first = state.start + state.length
            state.frames += [*range(first, first + am_BSJ.shape[1]), NO_FRAME]
            state.length += am_BSJ.shape[1]
        lattices = Lattices(k2, decoding, [len(state.frames) for state in states])
        for index, state in enumerate(states):
            state.lattices, state.index = lattices, index

    def _close(self, decoding: Any) -> None:
        """Append a frame of certain blank to the lattices and flush them to the streams.

        k2 uses the symbols of the last frame as the arc into the final state and loses them. A
        certain blank loses nothing, and changes neither states nor scores.
        """
        shape, _ = decoding.get_contexts()
        size = (shape.tot_size(1), self.vocab_size)
        blank_NV = torch.full(
            size, IMPOSSIBLE, device=self.model.joiner.output_linear.weight.device
        )
        blank_NV[:, BLANK_ID] = 0.0
        decoding.advance(blank_NV)
        decoding.terminate_and_flush_to_streams()

    def _settle(self, state: FastBeamState) -> None:
        """Make the best path final and begin a new lattice after it."""
        state.settled = self.best(state)
        tokens_C = torch.tensor(state.settled.tokens[-self.context_size :], dtype=torch.int64)
        initial_C = self.initial_state().history_C
        state.history_C = torch.cat([initial_C, tokens_C])[-self.context_size :]
        state.start += state.length
        state.length, state.stream, state.lattices, state.frames = 0, None, None, []

    def best(self, state: FastBeamState) -> Hypothesis:
        """Return the hypothesis before the lattice, followed by the lattice's best path."""
        if state.lattices is None:
            return state.settled
        symbols, log_probs = state.lattices.path(state.index)
        emitted = [i for i, symbol in enumerate(symbols) if symbol > BLANK_ID]
        settled = state.settled
        return Hypothesis(
            settled.tokens + tuple(symbols[i] for i in emitted),
            settled.frames + tuple(state.frames[i] for i in emitted),
            settled.log_probs + tuple(log_probs[i] for i in emitted),
            settled.score + math.fsum(log_probs),
        )

    def last_frame(self, state: FastBeamState) -> int | None:
        """Return the output frame of the best path's last token; None if it has no token."""
        frames = self.best(state).frames
        return frames[-1] if frames else None


def _with_history(context_NC: Tensor, history_NC: Tensor) -> Tensor:
    """Replace the zeros at the beginning of k2's contexts by the tokens before the lattice.

    k2 starts from the context [0, ..., 0], but training starts from [-1, ..., -1, 0]. Zero (blank)
    is never a token.
    """
    known_N1 = (context_NC != 0).sum(1, keepdim=True)
    size = context_NC.shape[1]
    position_C = torch.arange(size, device=context_NC.device)
    shifted_NC = history_NC.gather(1, (position_C + known_N1).clamp(max=size - 1))
    return torch.where(context_NC == 0, shifted_NC, context_NC)
