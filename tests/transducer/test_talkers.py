"""A transducer of two output channels: its loss is the sum over channels, silence is legal."""

from __future__ import annotations

import pytest
import torch

from asrlib.config import from_dict
from asrlib.errors import ConfigError
from asrlib.text.turn_labels import EOT, SOT
from asrlib.transducer import Transducer, TransducerConfig, TurnTargets

BINS, VOCAB, CHANNELS = 5, 9, 2
INF = float("inf")


def make(channels: int = CHANNELS, **loss: object) -> Transducer:
    torch.manual_seed(0)
    encoder = {
        "name": "separator",
        "channels": channels,
        "lstm": {"layers": 1, "hidden_dim": 6},
        "module_dim": 6,
        "output_dim": 8,
    }
    predictor = {"name": "stateless", "output_dim": 6}
    values = {"encoder": encoder, "predictor": predictor, "joiner_dim": 9, "loss": loss}
    return Transducer(from_dict(TransducerConfig, values), BINS, VOCAB)


def make_batch() -> dict[str, torch.Tensor | TurnTargets]:
    """Two turns and one; one and silence; silence alone."""
    torch.manual_seed(1)
    tokens_RU = torch.tensor(
        [[5, EOT, SOT, 6, 7], [8, 6, 0, 0, 0], [5, 7, 6, 0, 0], [0] * 5, [0] * 5, [0] * 5]
    )
    ends_RU = torch.full(tokens_RU.shape, INF)
    ends_RU[0, 1] = 2.0
    speech_RT = torch.zeros(6, 41).bool()
    speech_RT[:3, 4:20] = True
    return {
        "x_BTF": torch.randn(3, 41, BINS),
        "x_lengths_B": torch.tensor([41, 33, 20]),
        "tokens_RU": tokens_RU,
        "token_lengths_R": torch.tensor([5, 2, 3, 0, 0, 0]),
        "turns": TurnTargets(ends_RU, speech_RT),
    }


def cut(batch: dict, b: int) -> dict:
    """The b-th mixture alone, without padding."""
    frames = int(batch["x_lengths_B"][b])
    rows = slice(b * CHANNELS, b * CHANNELS + CHANNELS)
    tokens = int(batch["token_lengths_R"][rows].max())
    turns = batch["turns"]
    return {
        "x_BTF": batch["x_BTF"][b : b + 1, :frames],
        "x_lengths_B": batch["x_lengths_B"][b : b + 1],
        "tokens_RU": batch["tokens_RU"][rows, :tokens],
        "token_lengths_R": batch["token_lengths_R"][rows],
        "turns": TurnTargets(turns.label_ends_RU[rows, :tokens], turns.speech_RT[rows, :frames]),
    }


@pytest.mark.parametrize("encoder", [{"channels": 1}, {"turn_style": "cot"}])
def test_a_penalty_on_ends_wants_a_model_that_has_ends(encoder):
    values = {"encoder": {"name": "separator"} | encoder, "predictor": {"name": "stateless"}}
    with pytest.raises(ConfigError, match=r"eot_penalty: 0\.5, but the model emits no <eot>"):
        from_dict(TransducerConfig, values | {"loss": {"eot_penalty": 0.5}})


LOSS = {
    "fast_emit": 0.01,
    "masking": 0.3,
    "eot_penalty": 1.0,
    "eot_grace": 0.0,
    "ctc_scale": 0.2,
    "prune_range": 3,
}


@torch.no_grad()
@pytest.mark.parametrize("rnnt_type", ["regular", "modified"])
def test_a_batch_of_mixtures_loses_what_each_loses_alone(rnnt_type):
    model, batch = make(rnnt_type=rnnt_type, **LOSS).eval(), make_batch()
    together = model.loss(**batch, step=10)
    assert together.frames_B.tolist() == [10, 8, 5]
    for b in range(3):
        alone = model.loss(**cut(batch, b), step=10)
        for name in ("total_B", "simple_B", "pruned_B", "ctc_B", "masking_B", "late_B"):
            a, b_ = getattr(together, name)[b], getattr(alone, name)[0]
            torch.testing.assert_close(a, b_, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_loss_is_the_sum_over_channels_of_the_labels_given_there():
    """Exchanging labels and separators together changes nothing; exchanging one alone does."""
    model, batch = make(**LOSS).eval(), make_batch()
    loss_B = model.loss(**batch, step=0).total_B
    order = torch.tensor([1, 0, 3, 2, 5, 4])
    turns = batch["turns"]
    swapped = batch | {
        "tokens_RU": batch["tokens_RU"][order],
        "token_lengths_R": batch["token_lengths_R"][order],
        "turns": TurnTargets(turns.label_ends_RU[order], turns.speech_RT[order]),
    }
    assert not torch.allclose(model.loss(**swapped, step=0).total_B[:2], loss_B[:2])
    separators = model.encoder.separators
    states = [{k: v.clone() for k, v in s.state_dict().items()} for s in separators]
    for separator, state in zip(separators, reversed(states), strict=True):
        separator.load_state_dict(state)
    torch.testing.assert_close(model.loss(**swapped, step=0).total_B, loss_B)


def test_one_channel_is_an_ordinary_transducer():
    model = make(channels=1).eval()
    x_BTF, lengths_B = torch.randn(2, 24, BINS), torch.tensor([24, 20])
    loss = model.loss(x_BTF, lengths_B, torch.tensor([[5, 6], [7, 0]]), torch.tensor([2, 1]), 0)
    assert loss.total_B.shape == (2,)
    assert loss.masking_B is None
    assert loss.late_B is None


@pytest.mark.parametrize("labels", [0, 4])
def test_a_batch_of_silence_alone_is_legal(labels):
    model, batch = make(**LOSS).train(), make_batch()
    batch["tokens_RU"] = torch.zeros(6, labels, dtype=torch.int64)
    batch["token_lengths_R"] = torch.zeros(6, dtype=torch.int64)
    batch["turns"] = TurnTargets(torch.full((6, labels), INF), torch.zeros(6, 41).bool())
    loss = model.loss(**batch, step=0)
    assert torch.isfinite(loss.total_B).all()
    assert (loss.masking_B > 0).all()
    loss.total_B.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert all(p.grad.any() for p in model.encoder.parameters())


def test_every_parameter_learns():
    model = make(**LOSS).train()
    model.loss(**make_batch(), step=0).total_B.sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_fast_emit_with_the_penalty_trains_from_the_start_to_the_end():
    """Finite losses and gradients at every step; and the ends come early, the text still right."""
    settings = {"fast_emit": 0.05, "eot_penalty": 5.0, "eot_grace": 1.0, "warmup_steps": 10}
    losses = {}
    for name, loss in (("plain", {}), ("both", settings)):
        model, batch = make(**{"warmup_steps": 10, **loss}).train(), make_batch()
        batch["turns"].label_ends_RU[0, 1] = 8.0
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        for step in range(80):
            result = model.loss(**batch, step=step)
            optimizer.zero_grad()
            result.total_B.sum().backward()
            assert torch.isfinite(result.total_B).all()
            assert all(torch.isfinite(p.grad).all() for p in model.parameters())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        losses[name] = result
    assert losses["both"].pruned_B.sum() < 3.0
    assert losses["both"].emission_frames_RU[0, 1] <= 3.2
    assert losses["both"].emission_frames_RU[0, 1] < losses["plain"].emission_frames_RU[0, 1]


def test_masking_pulls_silent_channels_to_zero():
    energies = []
    for gamma in (0.0, 3.0):
        model, batch = make(masking=gamma, warmup_steps=0).train(), make_batch()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        for _ in range(40):
            loss = model.loss(**batch, step=0)
            optimizer.zero_grad()
            loss.total_B.sum().backward()
            optimizer.step()
        energies.append(float(loss.masking_B.sum()))
    assert energies[1] < 0.3 * energies[0]
