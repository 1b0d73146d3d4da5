"""The streaming recogniser: decodes many streams, in batches of the streams that have frames.

Shape suffixes: B streams, R output channels of all streams (R = B if the model knows one talker),
T input frames, F features, S output frames, D encoder width, C values of a membership.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asrlib.data.membership import MEMBERSHIP, memberships
from asrlib.encoders.state import stack_states, unstack_state
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankExtractor
from asrlib.streaming.endpoint import endpoint_time
from asrlib.streaming.modified_beam import ModifiedBeamSearch
from asrlib.streaming.result import Alternative, Result, Segment, StreamClock
from asrlib.streaming.search import Hypothesis, Search
from asrlib.streaming.settings import DecodeConfig, build_search, turn_search
from asrlib.streaming.stream import AudioFront, Decoding, Stream
from asrlib.streaming.talkers import TurnMaker
from asrlib.text.tokenizer import Tokenizer
from asrlib.text.turn_labels import TURN_SYMBOLS
from asrlib.text.turns import Turn
from asrlib.transducer.model import Transducer
from asrlib.transducer.model_io import load_transducer


class StreamingRecognizer:
    """Decodes any number of streams with one model.

    Call `create_stream` first, then `stream.accept` and `step` in turn, and `result` at any time;
    at the end call `stream.finish`, `step` and `result`. Law: a result depends neither on how the
    audio is cut into pieces nor on the other streams that are decoded at the same time.

    With a model of several talkers (`talkers` above 1), call `turns` instead of `result`;
    `take_turns` returns closed turns and removes them from the stream.

    Args:
        model: the model, which is set to evaluation mode; decoding runs on its device.
        tokenizer: the tokens of the model.
        fbank: the features that the model was trained with.
        config: settings of decoding.

    Raises:
        ConfigError: the model does not fit the search or the features.
    """

    def __init__(
        self,
        model: Transducer,
        tokenizer: Tokenizer,
        fbank: FbankExtractor,
        config: DecodeConfig,
    ) -> None:
        encoder = model.encoder
        if encoder.num_bins != fbank.config.num_bins:
            raise ConfigError(
                f"the model takes {encoder.num_bins} filter-bank bins, not {fbank.config.num_bins}",
                "use the feature settings that are stored in the model's checkpoint",
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.fbank = fbank
        self.config = config
        search = build_search(model, tokenizer, config)
        self.search: Search = search
        self.clock = StreamClock.of(fbank.config, encoder.subsampling, encoder.lookahead)
        self.device = next(model.parameters()).device
        groups = max(1, config.max_chunk_frames // encoder.subsampling)
        self._max_frames = groups * encoder.subsampling
        self._check_frames = max(1, round(config.endpoint.interval / self.clock.frame))
        self.talkers = encoder.num_channels
        self._check: Callable[[Decoding, int], None] | None = None
        style = model.config.turn_style
        if style is not None:
            self.turn_search = turn_search(search, self.talkers, config)
            self.turn_maker = TurnMaker(tokenizer, self.clock, style)
            self._check = self._check_turns
        elif config.endpoint.enabled:
            self._check = self._check_endpoint

    @classmethod
    def from_checkpoint(cls, path: Path, config: DecodeConfig) -> StreamingRecognizer:
        """Load `final.pt`, which also holds the tokens and the feature settings.

        Raises:
            CheckpointError: the file is missing, corrupt, or of another kind.
        """
        model, tokenizer, fbank, _ = load_transducer(path)
        return cls(model, tokenizer, FbankExtractor(fbank), config)

    def create_stream(self, cohort: str | None = None) -> Stream:
        """Create a stream, which has received no audio yet.

        Args:
            cohort: cohort of the speaker; None if it is not known.

        Raises:
            ConfigError: a cohort is given, but the model does not know cohorts.
        """
        front = AudioFront(self.fbank, self.clock, self.config.tail_padding)
        membership_BC = None if cohort is None else self._membership(cohort)
        encoder_state = self.model.encoder.initial_state(1, self.device, membership_BC)
        channels = [Decoding(self.search.initial_state()) for _ in range(self.talkers)]
        return Stream(front, self.clock, encoder_state, channels)

    def tell_cohort(self, stream: Stream, cohort: str | None) -> None:
        """Tell a running stream the cohort of its speaker, or that it is not known any more.

        It counts for all frames that are not decoded yet.

        Raises:
            ConfigError: the model does not know cohorts.
        """
        encoder, membership_BC = self.model.encoder, self._membership(cohort)
        stream.encoder_state = encoder.with_condition(stream.encoder_state, membership_BC)

    def check_cohorts(self) -> None:
        """Check that the model knows cohorts.

        Raises:
            ConfigError: it does not.
        """
        if self.model.encoder.condition_dim != len(MEMBERSHIP):
            raise ConfigError(
                "the model does not know cohorts: its encoder takes no membership",
                f"train one with model.encoder.condition={len(MEMBERSHIP)}, or give it no cohort",
            )

    def _membership(self, cohort: str | None) -> Tensor:
        self.check_cohorts()
        return memberships([cohort])

    @torch.no_grad()
    def step(self, streams: Sequence[Stream]) -> None:
        """Decode all frames that are ready; a stream without a whole group of frames waits."""
        while ready := [stream for stream in streams if stream.available]:
            length = min(self._max_frames, *(stream.available for stream in ready))
            x_BTF = torch.stack([stream.take(length) for stream in ready]).to(self.device)
            state = stack_states([stream.encoder_state for stream in ready])
            h_RSD, state = self.model.encoder.step(x_BTF, state)
            for stream, encoder_state in zip(ready, unstack_state(state), strict=True):
                stream.encoder_state = encoder_state
            self._search(h_RSD, [decoding for stream in ready for decoding in stream.channels])

    def _search(self, h_RSD: Tensor, decodings: Sequence[Decoding]) -> None:
        """Advance the search; stop wherever endpoints or turns have to be checked.

        The checks come at fixed frames of each stream, so that the result does not depend on the
        pieces of audio.
        """
        s, total = 0, h_RSD.shape[1]
        while s < total:
            length = total - s
            if self._check is not None:
                until = [self._check_frames - d.frames % self._check_frames for d in decodings]
                length = min(length, *until)
            states = [decoding.search_state for decoding in decodings]
            self.search.advance(h_RSD[:, s : s + length], states)
            s += length
            for row, decoding in enumerate(decodings):
                decoding.frames += length
                if self._check is not None and decoding.frames % self._check_frames == 0:
                    self._check(decoding, row % self.talkers)

    def _check_turns(self, decoding: Decoding, channel: int) -> None:
        """Move tokens that are final from the search to the turns, and close turns."""
        settled = self.turn_search.settle(decoding.search_state, TURN_SYMBOLS)
        self.turn_maker.settle(decoding.said, channel, settled, self.clock.heard(decoding.frames))

    def _check_endpoint(self, decoding: Decoding, channel: int) -> None:
        """Close the segment if an endpoint rule fires."""
        last = self.search.last_frame(decoding.search_state)
        start = decoding.segment_start
        since = None if last is None else (last + 1 - start) * self.clock.frame
        length = (decoding.frames - start) * self.clock.frame
        # Times are multiples of a frame up to rounding; half a frame makes the comparison safe.
        if length < endpoint_time(self.config.endpoint, since) - self.clock.frame / 2:
            return
        if last is not None:
            best = self.search.best(decoding.search_state)
            final_time = self.clock.heard(decoding.frames)
            decoding.segments.append(self._segment(best, decoding.search_state, final_time))
        decoding.segment_start = decoding.frames
        decoding.search_state = self.search.initial_state(decoding.frames)

    def _segment(self, best: Hypothesis, search_state: Any, final_time: float | None) -> Segment:
        times = tuple(self.clock.token_time(frame) for frame in best.frames)
        spans = self.tokenizer.word_spans(best.tokens)
        return Segment(
            text=self.tokenizer.decode(best.tokens),
            tokens=best.tokens,
            pieces=tuple(self.tokenizer.piece(token) for token in best.tokens),
            token_times=times,
            token_log_probs=best.log_probs,
            words=tuple(self.tokenizer.words(best.tokens, times)),
            confidences=tuple(math.exp(min(best.log_probs[i] for i in span)) for span in spans),
            alternatives=self._alternatives(search_state),
            final_time=final_time,
        )

    def _alternatives(self, search_state: Any) -> tuple[Alternative, ...]:
        if self.config.n_best == 1 or not isinstance(self.search, ModifiedBeamSearch):
            return ()
        texts: dict[str, Alternative] = {}
        # A text that is segmented in several ways counts as its best one.
        for hyp in self.search.ranked(search_state):
            text = self.tokenizer.decode(hyp.tokens)
            texts.setdefault(text, Alternative(text, hyp.score))
        return tuple(texts.values())[: self.config.n_best]

    def result(self, stream: Stream) -> Result:
        """Return what was recognised so far; it is final once the stream is finished and decoded.

        Raises:
            ValueError: the model knows several talkers; call `turns` instead.
        """
        (decoding,) = stream.channels
        segments = list(decoding.segments)
        is_final = stream.finished and not stream.available
        best = self.search.best(decoding.search_state)
        if best.tokens:
            final_time = self._final_time(stream, best.frames[-1]) if is_final else None
            segments.append(self._segment(best, decoding.search_state, final_time))
        if not is_final:
            return Result(tuple(segments))
        last_time = segments[-1].final_time if segments else self._final_time(stream, None)
        return Result(tuple(segments), is_final=True, final_time=last_time)

    def _final_time(self, stream: Stream, last_frame: int | None) -> float:
        """Return the stream time in seconds at which a rule fires for the open segment.

        The time is at most the end of the audio.
        """
        (decoding,) = stream.channels
        start = decoding.segment_start
        since = None if last_frame is None else (last_frame + 1 - start) * self.clock.frame
        fires = endpoint_time(self.config.endpoint, since) + self.clock.heard(start)
        return min(fires, self.clock.heard(decoding.frames))

    def turns(self, stream: Stream, session: str = "") -> list[Turn]:
        """Return the turns of all channels in order of start, without those already taken.

        A channel's last turn may still grow until the stream is finished and decoded; then all
        open turns are closed.
        """
        is_final = stream.finished and not stream.available
        turns = [
            turn
            for channel, decoding in enumerate(stream.channels)
            for turn in self.turn_maker.all_turns(
                decoding.said, channel, self.search.best(decoding.search_state)
            )
        ]
        if is_final:
            end = self.clock.heard(stream.channels[0].frames)
            turns = [t if t.closed_time is not None else replace(t, closed_time=end) for t in turns]
        return _in_order(turns, session)

    def take_turns(self, stream: Stream, session: str = "") -> list[Turn]:
        """Return turns closed since the last call, in order of start, and remove them.

        A meeting of any length thus needs memory only for its open turns. At the end, `turns`
        returns the turns that are still open.
        """
        turns = [turn for decoding in stream.channels for turn in decoding.said.closed]
        for decoding in stream.channels:
            decoding.said.closed = []
        return _in_order(turns, session)

    def open_texts(self, stream: Stream) -> list[tuple[int, str]]:
        """Return each channel that has an open turn, with the last words of the turn."""
        texts = (
            self.turn_maker.open_text(decoding.said, self.search.best(decoding.search_state))
            for decoding in stream.channels
        )
        return [(channel, text) for channel, text in enumerate(texts) if text]


def _in_order(turns: list[Turn], session: str) -> list[Turn]:
    named = [replace(turn, session=session) for turn in turns]
    return sorted(named, key=lambda turn: (turn.start, turn.channel))
