"""Endpoint detection: the three usual rules that decide when an utterance is over."""

from __future__ import annotations

import math

from asrlib.config import configclass
from asrlib.numbers import NonNegative, PositiveFloat


@configclass
class EndpointRule:
    """An endpoint rule, which fires when all of its conditions hold.

    Attributes:
        needs_token: whether the segment must hold at least one token.
        trailing_silence: least time in seconds since the last token, or since the segment's start
            if it has no token.
        utterance_length: least time in seconds since the segment's start.
    """

    needs_token: bool = False
    trailing_silence: NonNegative = 0.0
    utterance_length: NonNegative = 0.0


@configclass
class EndpointConfig:
    """Settings of endpoint detection, which follows Kaldi's online decoders.

    Attributes:
        enabled: whether the stream is cut into segments where a rule fires. The segment then
            becomes final and the search starts again; the encoder's state continues.
        interval: seconds of audio between two checks of the rules, whatever the size of the
            pieces of audio.
        rule1: the rule for a long silence, even if nothing was decoded.
        rule2: the rule for a silence after decoded tokens.
        rule3: the rule for an utterance that is too long.
    """

    enabled: bool = False
    interval: PositiveFloat = 0.1
    rule1: EndpointRule = EndpointRule(trailing_silence=2.4)
    rule2: EndpointRule = EndpointRule(needs_token=True, trailing_silence=1.2)
    rule3: EndpointRule = EndpointRule(utterance_length=20.0)


def endpoint_time(config: EndpointConfig, last_token: float | None) -> float:
    """Return the earliest time at which a rule fires if no further token comes.

    Args:
        last_token: time of the segment's last token, in seconds since the segment's start; None
            if the segment has no token.

    Returns:
        Time in seconds since the segment's start; infinity if no rule ever fires.
    """
    since = last_token or 0.0
    times = [
        max(since + rule.trailing_silence, rule.utterance_length)
        for rule in (config.rule1, config.rule2, config.rule3)
        if last_token is not None or not rule.needs_token
    ]
    return min(times, default=math.inf)
