"""Draw labels from a transducer's own distribution.

A transducer gives a probability to every path of labels and blanks through its lattice. The path is
drawn symbol by symbol: a label moves on to the next predictor state, a blank to the next frame. The
labels of the path are then an exact draw from the model's distribution of label sequences, which is
the sum over all paths with these labels; no alignment has to be summed over.

Two things differ from the distribution over all sequences. At most `prune_range - 1` labels are
drawn at a frame, which is all that the pruned loss gives a probability to. And the pruned loss, at
whose gradient the labels are used, sums over a band of the lattice only.

Shapes: B utterances, S output frames, J joiner width, V vocabulary, U tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asrlib.data.dataset import Batch
from asrlib.seeds import derive_seed
from asrlib.text.tokenizer import BLANK_ID
from asrlib.transducer.model import Transducer


@torch.no_grad()
def with_sampled_labels(model: Transducer, batch: Batch, seed: int) -> Batch:
    """Replace the labels of a batch by draws from the model, which is in evaluation mode.

    The draw of an utterance depends on (seed, id) and on its audio, not on the rest of the batch.
    """
    device = model.joiner.output_linear.weight.device
    h_BSD, lengths_B = model.encoder(batch.x_BTF.to(device), batch.x_lengths_B.to(device))
    am_BSJ = model.joiner.encoder_proj(h_BSD)
    drawn = [
        torch.tensor(
            _draw(model, am_BSJ[b, :length], derive_seed(seed, "labels", batch.ids[b])),
            dtype=torch.int64,
        )
        for b, length in enumerate(lengths_B.tolist())
    ]
    return replace(
        batch,
        tokens_BU=pad_sequence(drawn, batch_first=True),
        token_lengths_B=torch.tensor([len(tokens_U) for tokens_U in drawn]),
    )


def _draw(model: Transducer, am_SJ: Tensor, seed: int) -> list[int]:
    """Draw the labels of a path through the lattice of one utterance."""
    modified = model.config.loss.rnnt_type == "modified"
    most = 1 if modified else model.config.loss.prune_range - 1
    generator = torch.Generator().manual_seed(seed)
    state = model.predictor.initial_state(1)
    lm_1J, state = _advance(model, BLANK_ID, state)
    tokens: list[int] = []
    for am_J in am_SJ:
        for _ in range(most):
            logits_V = model.joiner(am_J, lm_1J[0], project_input=False)
            probs_V = logits_V.float().softmax(dim=-1).cpu()
            token = int(torch.multinomial(probs_V, 1, generator=generator))
            if token == BLANK_ID:
                break
            tokens.append(token)
            lm_1J, state = _advance(model, token, state)
    return tokens


def _advance(model: Transducer, token: int, state: object) -> tuple[Tensor, object]:
    """Feed a token to the predictor; return its projected output (1, J) and its new state."""
    device = model.joiner.output_linear.weight.device
    d_1D, state = model.predictor.step(torch.tensor([token], device=device), state)
    return model.joiner.decoder_proj(d_1D), state
