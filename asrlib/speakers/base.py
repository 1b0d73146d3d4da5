"""The interface of speaker extractors, which turn an utterance into one vector.

Shapes: B batch, T frames, F features, D width of the embedding.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from asrlib.speakers.pooling import frame_mask, masked, masked_mean


class SpeakerExtractor(nn.Module, abc.ABC):
    """Embeds raw log filter banks of whole utterances or crops.

    The mean of each feature over the utterance or crop is subtracted first, which removes the
    channel's constant colour and the level; this is usual in verification, and the deviation is
    left as it is (our choice: batch normalisation follows the first layer anyway). Padding has no
    effect on the result: in evaluation mode, the embedding of an utterance in a padded batch equals
    that of the utterance alone.

    Attributes:
        num_bins: features per frame.
        embedding_dim: width of the embedding.
    """

    def __init__(self, num_bins: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_bins, self.embedding_dim = num_bins, embedding_dim

    @abc.abstractmethod
    def embed(self, x_BFT: Tensor, mask_B1T: Tensor | None) -> Tensor:
        """Embed normalised features.

        Args:
            x_BFT: features, 0 at padding.
            mask_B1T: 1 at valid frames, 0 at padding; None if there is no padding.
        """

    def forward(self, x_BTF: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Return embeddings (B, D), which have no particular length.

        Args:
            x_BTF: raw log filter-bank energies.
            lengths_B: numbers of valid frames, at least 1; None if there is no padding.
        """
        x_BFT = x_BTF.transpose(1, 2)
        mask_B1T = None
        if lengths_B is not None and bool((lengths_B < x_BFT.shape[-1]).any()):
            mask_B1T = frame_mask(lengths_B, x_BFT.shape[-1])
            # A padded frame may hold anything; NaN times 0 would stay NaN.
            x_BFT = x_BFT.masked_fill(mask_B1T == 0, 0.0)
        return self.embed(masked(x_BFT - masked_mean(x_BFT, mask_B1T), mask_B1T), mask_B1T)


class SqueezeExcite(nn.Module):
    """A gate for each channel from its mean over the utterance (arXiv 1709.01507)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(dim, hidden_dim)
        self.excite = nn.Linear(hidden_dim, dim)

    def forward(self, mean_BD: Tensor) -> Tensor:
        """Return the gates (B, D) of channels with the means `mean_BD`."""
        return torch.sigmoid(self.excite(self.squeeze(mean_BD).relu()))
