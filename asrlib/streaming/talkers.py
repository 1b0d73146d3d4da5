"""Build turns from the tokens of an output channel while the stream is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asrlib.streaming.result import StreamClock
from asrlib.streaming.search import Hypothesis
from asrlib.text.tokenizer import Tokenizer
from asrlib.text.turn_labels import COT, TURN_SYMBOLS, TurnSpan, TurnStyle, split_turns
from asrlib.text.turns import Turn

_SHOWN = 64  # largest number of settled tokens that are shown of an open turn


@dataclass
class ChannelTurns:
    """Tokens and closed turns of one output channel.

    Attributes:
        tokens: settled tokens, turn symbols included, from the last symbol that closed a turn on.
        frames: output frame of each of these tokens.
        closed: turns that are closed and not yet taken.
    """

    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    closed: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class TurnMaker:
    """Builds turns. Their session is left empty, because it is not known here."""

    tokenizer: Tokenizer
    clock: StreamClock
    style: TurnStyle

    def settle(self, said: ChannelTurns, channel: int, settled: Hypothesis, now: float) -> None:
        """Append tokens that will not change any more, and close the turns that they end.

        Args:
            said: tokens and turns of the channel; updated in place.
            channel: index of the output channel.
            settled: the new tokens.
            now: stream time in seconds.
        """
        known = len(said.tokens)
        said.tokens += settled.tokens
        said.frames += settled.frames
        last = self._last_symbol(said.tokens, known)
        if last is None:
            return
        spans = [s for s in split_turns(said.tokens, self.style) if s.tokens[-1] < last]
        turns = self._turns(spans, channel, said.tokens, said.frames)
        said.closed += [replace(turn, closed_time=now) for turn in turns]
        del said.tokens[:last], said.frames[:last]

    def all_turns(self, said: ChannelTurns, channel: int, rest: Hypothesis) -> list[Turn]:
        """Return closed turns that were not taken, and turns that `rest` may still change."""
        tokens, frames = [*said.tokens, *rest.tokens], [*said.frames, *rest.frames]
        spans = split_turns(tokens, self.style)
        return [*said.closed, *self._turns(spans, channel, tokens, frames)]

    def open_text(self, said: ChannelTurns, rest: Hypothesis) -> str:
        """Return the last words of the open turn; the cost does not grow with the turn."""
        tokens = [*said.tokens[-_SHOWN:], *rest.tokens]
        last = self._last_symbol(tokens)
        return self.tokenizer.decode(tokens if last is None else tokens[last + 1 :])

    def _last_symbol(self, tokens: list[int], start: int = 0) -> int | None:
        """Return the index of the last turn symbol of this style from `start` on, or None."""
        for i in range(len(tokens) - 1, start - 1, -1):
            if tokens[i] in TURN_SYMBOLS and (tokens[i] == COT) == (self.style == "cot"):
                return i
        return None

    def _turns(
        self, spans: list[TurnSpan], channel: int, tokens: list[int], frames: list[int]
    ) -> list[Turn]:
        turns = [self._turn(span, channel, tokens, frames) for span in spans]
        return [turn for turn in turns if turn.words]

    def _turn(self, span: TurnSpan, channel: int, tokens: list[int], frames: list[int]) -> Turn:
        ids = [tokens[i] for i in span.tokens]
        times = [self.clock.token_time(frames[i]) for i in span.tokens]
        sot, eot = (
            None if i is None else self.clock.token_time(frames[i]) for i in (span.sot, span.eot)
        )
        return Turn(
            session="",
            channel=channel,
            start=times[0],
            end=times[-1] if eot is None else eot,
            words=" ".join(self.tokenizer.decode(ids).split()),
            word_times=tuple(self.tokenizer.words(ids, times)),
            sot_time=sot,
            eot_time=eot,
        )
