"""The source of an utterance, such as its corpus, as the predictor's first symbol.

A model that is trained on several corpora may be told which one an utterance is from, because each
has words and spellings of its own. The symbols are part of the tokens (`tokens.sources`). In
training, a share of the utterances begins with blank, so that the model also works without.

Shape suffix: B utterances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from asrlib.seeds import derive_seed
from asrlib.text.tokenizer import BLANK_ID

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass(frozen=True)
class SourceSymbols:
    """The first symbol of each speaker's utterances; blank for a speaker that is not named.

    Attributes:
        symbols: token id by speaker.
        unknown: probability that an utterance begins with blank in an epoch.
    """

    symbols: Mapping[str, int]
    unknown: float = 0.0

    def of(self, cuts: Iterable[Cut]) -> Tensor:
        """Return the first symbols (B) of cuts, int64."""
        return torch.tensor([self._symbol(cut) for cut in cuts], dtype=torch.int64)

    def drawn(self, cuts: Iterable[Cut], seed: int, epoch: int) -> Tensor:
        """Return the first symbols (B) of cuts in an epoch, some of them replaced by blank.

        The draw depends on the seed, the epoch and the id of a cut only.
        """
        symbols = [
            BLANK_ID if self._untold(cut.id, seed, epoch) else self._symbol(cut) for cut in cuts
        ]
        return torch.tensor(symbols, dtype=torch.int64)

    def _symbol(self, cut: Cut) -> int:
        speaker = cut.supervisions[0].speaker if cut.supervisions else None
        return self.symbols.get(speaker or "", BLANK_ID)

    def _untold(self, name: str, seed: int, epoch: int) -> bool:
        return derive_seed("source", seed, epoch, name) < self.unknown * 2.0**32
