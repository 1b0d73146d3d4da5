"""Embed utterances with a trained extractor, many at a time.

Shapes: N utterances, T frames, F features, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asrlib.speakers.base import SpeakerExtractor

# Padded frames in one forward pass; more are no faster on a CPU, since they leave its cache.
MAX_FRAMES = 3000


@torch.no_grad()
def embed_features(
    extractor: SpeakerExtractor, features: Sequence[Tensor], max_frames: int = MAX_FRAMES
) -> Tensor:
    """Embed whole utterances; the result does not depend on which others are in the same batch.

    Args:
        extractor: the extractor in evaluation mode.
        features: raw log filter banks (T, F) of each utterance; T may be 0.
        max_frames: bound on utterances x longest utterance in a batch, in frames.

    Returns:
        Embeddings (N, D), float32 under autocast, too, in the given order, on the CPU. A row is NaN
        if its utterance has no frames.
    """
    device = next(extractor.parameters()).device
    vectors_ND = torch.full((len(features), extractor.embedding_dim), torch.nan)
    for batch in _batches([len(x_TF) for x_TF in features], max_frames):
        chosen = [features[i] for i in batch]
        lengths_B = torch.tensor([len(x_TF) for x_TF in chosen], device=device)
        x_BTF = pad_sequence(chosen, batch_first=True).to(device)
        vectors_ND[batch] = extractor(x_BTF, lengths_B).float().cpu()
    return vectors_ND


def _batches(lengths: Sequence[int], max_frames: int) -> Iterator[list[int]]:
    """Yield the numbers of the utterances of each batch, longest first."""
    order = sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i])
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_frames:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
