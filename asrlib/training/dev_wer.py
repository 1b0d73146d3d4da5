"""Word error rate of dev utterances at each validation of a training."""

from __future__ import annotations

from collections.abc import Callable

from lhotse import CutSet

from asrlib.data.membership import Membership
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import ErrorRate, align
from asrlib.streaming.batch import decode_cuts
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.settings import DecodeConfig
from asrlib.text.tokenizer import Tokenizer
from asrlib.transducer.model import Transducer


def dev_wer(
    cuts: CutSet,
    count: int,
    tokenizer: Tokenizer,
    features: FbankConfig,
    decode: DecodeConfig,
    membership: Membership | None = None,
) -> Callable[[Transducer], dict[str, float]]:
    """Return a function that decodes dev utterances in streaming mode and measures the WER.

    The function takes a model and returns the dev metric `wer` as a fraction (0 means no errors).

    Args:
        cuts: the dev set, with audio.
        count: number of utterances to decode; they are spread evenly over the sorted ids.
        tokenizer: the tokens of the model.
        features: feature settings of the model.
        decode: settings of decoding, the same as for the recipe's test sets.
        membership: the cohorts of the speakers; None if they are not known.
    """
    ordered = sorted(cuts, key=lambda cut: cut.id)
    number = min(count, len(ordered))
    chosen = [ordered[i * len(ordered) // number] for i in range(number)]
    fbank = FbankExtractor(features)

    def figures(model: Transducer) -> dict[str, float]:
        recognizer = StreamingRecognizer(model, tokenizer, fbank, decode)
        decoded, _ = decode_cuts(recognizer, chosen, membership)
        aligned = align(
            [
                Utterance(cut.id, "", _words(cut.supervisions[0].text), _words(result.text))
                for cut, result in decoded
            ]
        )
        return {"wer": ErrorRate.sum(a.words for a in aligned).rate}

    return figures


def _words(text: str | None) -> tuple[str, ...]:
    return tuple((text or "").split())
