"""The feed-forward module of Transformers and Conformers.

Shapes: B batch, S frames, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """LayerNorm, Linear, Swish, Linear, with dropout after each Linear."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor) -> Tensor:
        hidden = self.dropout(F.silu(self.expand(self.norm(x_BSD))))
        return self.dropout(self.contract(hidden))
