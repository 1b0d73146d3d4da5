"""The three usual endpoint rules: when an utterance is over."""

from __future__ import annotations

import math

from asrlib.config import configclass
from asrlib.numbers import NonNegative, PositiveFloat


@configclass
class EndpointRule:
    """A rule that fires when all of its conditions hold.

    Attributes:
        needs_token: something must have been decoded in the segment.
        trailing_silence: seconds since the last token (since the segment's start without one).
        utterance_length: seconds since the segment's start.
    """

    needs_token: bool = False
    trailing_silence: NonNegative = 0.0
    utterance_length: NonNegative = 0.0


@configclass
class EndpointConfig:
    """Endpointing, as Kaldi's online decoders do it.

    Attributes:
        enabled: cut the stream into segments where a rule fires: the segment becomes final and
            the search begins anew (the encoder's state continues).
        interval: seconds of audio between looks at the rules, whatever the pieces' size.
        rule1: long silence, even if nothing was decoded.
        rule2: silence after something was decoded.
        rule3: too long an utterance.
    """

    enabled: bool = False
    interval: PositiveFloat = 0.1
    rule1: EndpointRule = EndpointRule(trailing_silence=2.4)
    rule2: EndpointRule = EndpointRule(needs_token=True, trailing_silence=1.2)
    rule3: EndpointRule = EndpointRule(utterance_length=20.0)


def endpoint_time(config: EndpointConfig, last_token: float | None) -> float:
    """Earliest time at which a rule fires if no further token comes.

    Args:
        last_token: time of the segment's last token, None without one.

    Returns:
        Seconds since the segment's start, as is `last_token`; infinity when no rule ever fires.
    """
    since = last_token or 0.0
    times = [
        max(since + rule.trailing_silence, rule.utterance_length)
        for rule in (config.rule1, config.rule2, config.rule3)
        if last_token is not None or not rule.needs_token
    ]
    return min(times, default=math.inf)
