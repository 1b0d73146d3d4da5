"""What hotwords bring and cost: recall of rare words, false alarms, and time.

The test is made from a set: the hotwords are those of its words that training has least often. A
false alarm is a hotword that was recognised where it was not said. All other sentences of the set
are where false alarms can occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from asrlib.errors import DataError
from asrlib.features.fbank import FbankExtractor
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import Aligned, ErrorRate, align
from asrlib.streaming.batch import decode_cuts
from asrlib.streaming.bench import measure_streaming
from asrlib.streaming.fusion import HotwordsConfig, LmConfig
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.settings import DecodeConfig
from asrlib.transducer.model_io import load_transducer

_SHORTEST = 3  # letters of a hotword; shorter ones are parts of many words


@dataclass(frozen=True)
class Recall:
    """How a set's hotwords were recognised.

    Attributes:
        said: number of times that a hotword was said.
        found: number of these that were recognised in their place.
        false_alarms: number of hotwords that were recognised where none of them was said.
        words: word errors of the whole set.
    """

    said: int
    found: int
    false_alarms: int
    words: ErrorRate


@dataclass(frozen=True)
class HotwordGain:
    """Recall without and with hotwords, and the time that language model and hotwords cost.

    Attributes:
        hotwords: the words.
        without, boosted: the same set without and with hotwords, all else being equal.
        real_time_factor: wall-clock seconds per second of audio, one stream, with language model
            and hotwords.
        ratio: this factor divided by that of the same search without both.
    """

    hotwords: tuple[str, ...]
    without: Recall
    boosted: Recall
    real_time_factor: float
    ratio: float


def rare_words(train: Iterable[str], texts: Iterable[str], count: int) -> tuple[str, ...]:
    """Choose the words of `texts` that occur least often in `train`, in order of rareness.

    Raises:
        DataError: there are fewer words.
    """
    known = Counter(word for text in train for word in text.split())
    words = {word for text in texts for word in text.split() if len(word) >= _SHORTEST}
    if len(words) < count:
        raise DataError(
            f"the set has {len(words)} words of {_SHORTEST} letters or more, fewer than {count}",
            "choose a larger set, or fewer --words",
        )
    return tuple(sorted(words, key=lambda word: (known[word], word))[:count])


def recall_of(aligned: Sequence[Aligned], hotwords: Iterable[str]) -> Recall:
    """Count hotwords that were said and recognised, and false alarms."""
    wanted, said, found, alarms = set(hotwords), 0, 0, 0
    for a in aligned:
        ref, hyp = a.utterance.ref, a.utterance.hyp
        for op in a.ops:
            if op.ref is not None and ref[op.ref] in wanted:
                said += 1
                found += op.kind == "C"
            if op.hyp is not None and op.kind != "C":
                alarms += hyp[op.hyp] in wanted
    return Recall(said, found, alarms, ErrorRate.sum(a.words for a in aligned))


def measure_hotwords(
    checkpoint: Path,
    config: DecodeConfig,
    train: Iterable[str],
    cuts: CutSet,
    count: int,
    timed: int,
    rounds: int,
) -> HotwordGain:
    """Decode a set without and with hotwords, and measure the time of both.

    Args:
        config: settings of modified beam search, with a language model or without.
        train: transcripts of the training set.
        cuts: the set; words of its private utterances become no hotwords.
        count: number of hotwords.
        timed: number of cuts whose decoding is timed, one stream at a time, `rounds` times.
    """
    texts = [_text(cut) for cut in cuts]
    hotwords = rare_words(train, (_text(cut) for cut in cuts if not _is_private(cut)), count)
    model, tokenizer, fbank, _ = load_transducer(checkpoint)

    def recognizer(settings: DecodeConfig) -> StreamingRecognizer:
        return StreamingRecognizer(model, tokenizer, FbankExtractor(fbank), settings)

    def recall(settings: DecodeConfig) -> Recall:
        decoded, _ = decode_cuts(recognizer(settings), cuts)
        hyps = {cut.id: tuple(result.text.split()) for cut, result in decoded}
        told = [
            Utterance(cut.id, "", tuple(text.split()), hyps[cut.id])
            for cut, text in zip(cuts, texts, strict=True)
        ]
        return recall_of(align(told), hotwords)

    without = replace(config, hotwords=HotwordsConfig())
    boosted = replace(config, hotwords=replace(config.hotwords, path="", phrases=hotwords))
    one = {
        "plain": recognizer(replace(without, lm=LmConfig(), max_streams=1)),
        "full": recognizer(replace(boosted, max_streams=1)),
    }
    speeds = measure_streaming(one, cuts.subset(first=min(timed, len(cuts))), rounds)
    factor = speeds["full"].real_time_factor
    ratio = factor / speeds["plain"].real_time_factor
    return HotwordGain(hotwords, recall(without), recall(boosted), factor, ratio)


def _is_private(cut: Cut) -> bool:
    return any((s.custom or {}).get("private") for s in cut.supervisions)


def _text(cut: Cut) -> str:
    return " ".join(s.text for s in cut.supervisions if s.text)
