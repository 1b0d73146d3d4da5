"""Draw sentences from the patterns in conf/sentences.yaml."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from asrlib.seeds import hash_name

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Sentence:
    """The text of a sentence, and the intent of its pattern."""

    intent: str
    text: str


class Grammar:
    """Patterns with slots, expanded at random.

    Args:
        path: YAML file with `intents` (intent -> patterns) and `slots` (slot -> values).
    """

    def __init__(self, path: Path) -> None:
        content = _read(path)
        self.intents: dict[str, list[str]] = content["intents"]
        self.slots: dict[str, list[str]] = content["slots"]
        self._patterns = [(i, pattern) for i, group in self.intents.items() for pattern in group]

    def draw(self, rng: np.random.Generator) -> Sentence:
        """Draw a pattern and values for its slots, all uniformly."""
        intent, text = self._patterns[int(rng.integers(len(self._patterns)))]
        while match := _SLOT.search(text):
            values = self.slots[match[1]]
            value = values[int(rng.integers(len(values)))]
            text = text[: match.start()] + value + text[match.end() :]
        return Sentence(intent, text)

    def stream(
        self, rng: np.random.Generator, reserved: float, allow_reserved: bool
    ) -> Iterator[Sentence]:
        """Yield sentences without end, none of them twice.

        Args:
            reserved: share of all sentences that is reserved for testing.
            allow_reserved: whether to yield reserved sentences; False for the training set.
        """
        seen: set[str] = set()
        while True:
            sentence = self.draw(rng)
            if sentence.text in seen:
                continue
            if is_reserved(sentence.text, reserved) and not allow_reserved:
                continue
            seen.add(sentence.text)
            yield sentence

    def vocabulary(self) -> set[str]:
        """Return all words that sentences can contain."""
        patterns = [p for group in (self.intents, self.slots) for v in group.values() for p in v]
        return {word for p in patterns for word in _SLOT.sub(" ", p).split()}


@functools.cache  # reading takes a quarter of the time that a speaker of thirty seconds takes
def _read(path: Path) -> dict[str, dict[str, list[str]]]:
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # so that `on` stays a word


def is_reserved(text: str, share: float) -> bool:
    """Whether a sentence is reserved for testing, which depends on its text alone."""
    return hash_name(text) % 1000 < 1000 * share
