"""The joint network: it combines encoder and predictor outputs into symbol logits.

Shapes: `...` any leading axes that broadcast, D encoder or predictor width, J joiner width,
V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from asrlib.errors import ConfigError


class Joiner(nn.Module):
    """Projects both inputs to width J, adds them, applies tanh and a Linear to V (arXiv 1303.5778).

    With `project=False` both inputs must already have width J. They are added without a
    projection, as in arXiv 2209.14868, and `encoder_proj` and `decoder_proj` are identities.

    Raises:
        ConfigError: `project` is False and the widths differ.
    """

    def __init__(
        self, encoder_dim: int, predictor_dim: int, dim: int, vocab_size: int, project: bool = True
    ) -> None:
        super().__init__()
        if not project and not encoder_dim == predictor_dim == dim:
            raise ConfigError(
                f"joiner_project is false, but encoder.output_dim = {encoder_dim},"
                f" predictor.output_dim = {predictor_dim} and joiner_dim = {dim}",
                "make the three equal, or set joiner_project: true",
            )
        self.encoder_proj = nn.Linear(encoder_dim, dim) if project else nn.Identity()
        self.decoder_proj = nn.Linear(predictor_dim, dim) if project else nn.Identity()
        self.output_linear = nn.Linear(dim, vocab_size)

    def forward(self, am: Tensor, lm: Tensor, project_input: bool = True) -> Tensor:
        """Compute the logits `(..., V)`.

        Args:
            am: encoder output `(..., D)`; its leading axes broadcast with those of `lm`.
            lm: predictor output `(..., D)`.
            project_input: whether to project the inputs; False if the caller has applied
                `encoder_proj` and `decoder_proj`.
        """
        if project_input:
            am, lm = self.encoder_proj(am), self.decoder_proj(lm)
        return self.output_linear((am + lm).tanh())
