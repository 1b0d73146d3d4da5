"""What the recogniser says of a stream: text, tokens and words with times, segments."""

from __future__ import annotations

from dataclasses import dataclass

from asrlib.features.fbank import FbankConfig
from asrlib.text.words import TimedWord


@dataclass(frozen=True)
class StreamClock:
    """Maps output frames to stream time: how much audio must be heard for them.

    Attributes:
        frame_shift: seconds between input frames.
        window: seconds of audio under one input frame.
        subsampling: input frames per output frame.
        lookahead: input frames of the future that the encoder waits for.
    """

    frame_shift: float
    window: float
    subsampling: int
    lookahead: int

    @classmethod
    def of(cls, fbank: FbankConfig, subsampling: int, lookahead: int) -> StreamClock:
        """The clock of a feature configuration and an encoder's geometry."""
        return cls(fbank.frame_shift, fbank.window / fbank.sample_rate, subsampling, lookahead)

    @property
    def frame(self) -> float:
        """Seconds between output frames."""
        return self.subsampling * self.frame_shift

    def heard(self, frames: int) -> float:
        """Seconds of audio that must be heard before `frames` output frames are out.

        Input frame i is centred on (i + 1/2) shifts, so its window ends half of what the window
        exceeds the shift by after (i + 1) shifts.
        """
        inputs = frames * self.subsampling + self.lookahead
        return inputs * self.frame_shift + max(0.0, self.window - self.frame_shift) / 2

    def token_time(self, frame: int) -> float:
        """Seconds of audio that must be heard before output frame `frame` can emit."""
        return self.heard(frame + 1)


@dataclass(frozen=True)
class Segment:
    """What was said between two endpoints.

    Attributes:
        tokens: token ids.
        pieces: the tokens' text.
        token_times: per token, the stream time in seconds at which it was emitted: the audio
            that must be heard for it, the encoder's lookahead included.
        token_log_probs: per token, its natural-log probability.
        words: (word, start, end): the times of its first and last token.
        final_time: stream time in seconds at which an endpoint rule made it final, None while
            it is open.
    """

    text: str
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    token_times: tuple[float, ...]
    token_log_probs: tuple[float, ...]
    words: tuple[TimedWord, ...]
    final_time: float | None = None


@dataclass(frozen=True)
class Result:
    """All that was said in a stream so far; the fields are those of its segments, joined.

    Attributes:
        segments: those that hold tokens; the last one is open while its `final_time` is None.
        is_final: the stream was finished and all of its audio is decoded.
        final_time: stream time in seconds at which the last word was final: when an endpoint
            rule fired behind it, or would have, at the latest the end of the audio with its
            tail; None before `is_final`.
    """

    segments: tuple[Segment, ...] = ()
    is_final: bool = False
    final_time: float | None = None

    @property
    def text(self) -> str:
        """The transcript."""
        return " ".join(s.text for s in self.segments if s.text)

    @property
    def partial(self) -> str:
        """Text of the open segment: what may still change."""
        return "".join(s.text for s in self.segments[-1:] if s.final_time is None)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids."""
        return tuple(t for s in self.segments for t in s.tokens)

    @property
    def pieces(self) -> tuple[str, ...]:
        """The tokens' text."""
        return tuple(p for s in self.segments for p in s.pieces)

    @property
    def token_times(self) -> tuple[float, ...]:
        """Stream time of each token's emission, in seconds."""
        return tuple(t for s in self.segments for t in s.token_times)

    @property
    def token_log_probs(self) -> tuple[float, ...]:
        """Natural-log probability of each token."""
        return tuple(p for s in self.segments for p in s.token_log_probs)

    @property
    def words(self) -> tuple[TimedWord, ...]:
        """(word, start, end) with stream times in seconds."""
        return tuple(w for s in self.segments for w in s.words)
