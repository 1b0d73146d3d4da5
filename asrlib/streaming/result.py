"""Result of decoding a stream: text, tokens and words with times, and segments."""

from __future__ import annotations

from dataclasses import dataclass

from asrlib.features.fbank import FbankConfig
from asrlib.text.words import TimedWord


@dataclass(frozen=True)
class StreamClock:
    """Converts output frames to stream time, the seconds of audio that must arrive before them.

    Attributes:
        frame_shift: seconds between input frames.
        window: seconds of audio in one input frame.
        subsampling: number of input frames per output frame.
        lookahead: number of future input frames that the encoder waits for.
    """

    frame_shift: float
    window: float
    subsampling: int
    lookahead: int

    @classmethod
    def of(cls, fbank: FbankConfig, subsampling: int, lookahead: int) -> StreamClock:
        """Build the clock from the feature settings and the encoder's geometry."""
        return cls(fbank.frame_shift, fbank.window / fbank.sample_rate, subsampling, lookahead)

    @property
    def frame(self) -> float:
        """Seconds between output frames."""
        return self.subsampling * self.frame_shift

    def heard(self, frames: int) -> float:
        """Return the seconds of audio that must arrive before `frames` output frames are computed.

        Input frame i is centred on (i + 1/2) shifts. Its window therefore ends at (i + 1) shifts
        plus (window - shift) / 2.
        """
        inputs = frames * self.subsampling + self.lookahead
        return inputs * self.frame_shift + max(0.0, self.window - self.frame_shift) / 2

    def token_time(self, frame: int) -> float:
        """Return the seconds of audio that must arrive before output frame `frame` can emit."""
        return self.heard(frame + 1)


@dataclass(frozen=True)
class Alternative:
    """One of the best transcripts of a segment.

    Attributes:
        text: the transcript.
        score: its natural-log score, as `asrlib.streaming.search.Hypothesis` defines it.
    """

    text: str
    score: float


@dataclass(frozen=True)
class Segment:
    """Transcript between two endpoints.

    Attributes:
        text: the transcript.
        tokens: token ids.
        pieces: text of each token.
        token_times: stream time in seconds at which each token was emitted: the audio that must
            arrive before it, including the encoder's lookahead.
        token_log_probs: natural-log probability of each token.
        words: (word, start, end), with the times of the word's first and last token in seconds.
        confidences: probability of each word, 0 to 1: that of its least probable token at the frame
            that emitted it, given the tokens before (our choice).
        alternatives: the best transcripts, best first; empty unless `n_best` is above 1.
        final_time: stream time in seconds at which an endpoint rule made the segment final; None
            while the segment is open.
    """

    text: str
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    token_times: tuple[float, ...]
    token_log_probs: tuple[float, ...]
    words: tuple[TimedWord, ...]
    confidences: tuple[float, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    final_time: float | None = None


@dataclass(frozen=True)
class Result:
    """Transcript of a stream so far; its properties join the values of its segments.

    Attributes:
        segments: segments that hold tokens; the last one is open while its `final_time` is None.
        is_final: whether the stream was finished and all of its audio is decoded.
        final_time: stream time in seconds at which the last word became final: the time at which
            an endpoint rule fired after it, or would have fired, but at most the end of the audio
            with its tail. None before `is_final`.
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
        """Text of the open segment, which may still change."""
        return "".join(s.text for s in self.segments[-1:] if s.final_time is None)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids."""
        return tuple(t for s in self.segments for t in s.tokens)

    @property
    def pieces(self) -> tuple[str, ...]:
        """Text of each token."""
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
        """Words as (word, start, end), with stream times in seconds."""
        return tuple(w for s in self.segments for w in s.words)

    @property
    def confidences(self) -> tuple[float, ...]:
        """Confidence of each word, 0 to 1."""
        return tuple(c for s in self.segments for c in s.confidences)
