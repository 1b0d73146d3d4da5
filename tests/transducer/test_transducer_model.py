"""The whole model: its loss, its extras, its independence of k2."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from asrlib.config import from_dict, to_dict
from asrlib.errors import ConfigError
from asrlib.transducer import Transducer, TransducerConfig

BINS, VOCAB = 5, 7
ENCODERS = {
    "lstm": {"name": "lstm", "lstm": {"layers": 1, "hidden_dim": 6}, "output_dim": 8},
    "conv_rnnt": {
        "name": "conv_rnnt",
        "dim": 6,
        "local_channels": [2],
        "global_blocks": 2,
        "lstm": {"layers": 1, "hidden_dim": 6},
        "output_dim": 8,
    },
}
PREDICTORS = {
    "stateless": {"name": "stateless", "output_dim": 6},
    "lstm": {"name": "lstm", "embedding_dim": 3, "hidden_dim": 4, "output_dim": 6},
}


def make(encoder: str, predictor: str, **loss: float) -> Transducer:
    torch.manual_seed(0)
    values = {
        "encoder": ENCODERS[encoder],
        "predictor": PREDICTORS[predictor],
        "joiner_dim": 9,
        "loss": loss,
    }
    return Transducer(from_dict(TransducerConfig, values), BINS, VOCAB)


def make_batch() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    x_lengths_B = torch.tensor([40, 33, 20, 11])
    token_lengths_B = torch.tensor([3, 4, 0, 1])
    return (
        torch.randn(4, 40, BINS),
        x_lengths_B,
        torch.randint(1, VOCAB, (4, 4)),
        token_lengths_B,
    )


models = pytest.mark.parametrize(
    ("encoder", "predictor"), [(e, p) for e in ENCODERS for p in PREDICTORS]
)


@models
@torch.no_grad()
def test_a_batch_loses_what_its_utterances_lose(encoder, predictor):
    model = make(encoder, predictor, ctc_scale=0.3, prune_range=3).eval()
    x_BTF, x_lengths_B, tokens_BU, token_lengths_B = make_batch()
    together = model.loss(x_BTF, x_lengths_B, tokens_BU, token_lengths_B, step=10)
    assert together.frames_B.tolist() == [10, 8, 5, 2]
    for i, (frames, tokens) in enumerate(
        zip(x_lengths_B.tolist(), token_lengths_B.tolist(), strict=True)
    ):
        one = slice(i, i + 1)
        alone = model.loss(
            x_BTF[one, :frames], x_lengths_B[one], tokens_BU[one, :tokens],
            token_lengths_B[one], step=10,
        )  # fmt: skip
        for name in ("total_B", "simple_B", "pruned_B", "ctc_B"):
            a, b = getattr(together, name)[i], getattr(alone, name)[0]
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@models
def test_every_parameter_learns(encoder, predictor):
    model = make(encoder, predictor, ctc_scale=0.3).train()
    model.loss(*make_batch(), step=0).total_B.sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_total_is_the_weighted_sum():
    model = make("lstm", "stateless", ctc_scale=0.3, simple_scale=0.4, warmup_steps=100).eval()
    loss = model.loss(*make_batch(), step=50)
    expected_B = 0.7 * loss.simple_B + 0.55 * loss.pruned_B + 0.3 * loss.ctc_B
    torch.testing.assert_close(loss.total_B, expected_B)


def test_without_ctc_there_is_no_such_layer():
    model = make("lstm", "stateless", ctc_scale=0.0)
    assert model.ctc_output is None
    assert model.loss(*make_batch(), step=0).ctc_B is None


@torch.no_grad()
def test_tokens_at_padding_do_not_matter():
    model = make("conv_rnnt", "lstm").eval()
    x_BTF, x_lengths_B, tokens_BU, token_lengths_B = make_batch()
    padding_BU = torch.arange(4) >= token_lengths_B.unsqueeze(1)
    losses = [
        model.loss(x_BTF, x_lengths_B, tokens_BU.masked_fill(padding_BU, fill), token_lengths_B, 0)
        for fill in (0, 3, -100)
    ]
    assert torch.equal(losses[0].total_B, losses[1].total_B)
    assert torch.equal(losses[0].total_B, losses[2].total_B)


@torch.no_grad()
def test_audio_shorter_than_one_output_frame_is_legal():
    model = make("lstm", "stateless").eval()
    lengths_B, none_B = torch.tensor([3, 0]), torch.zeros(2, dtype=torch.int64)
    no_tokens_BU = torch.zeros(2, 0, dtype=torch.int64)
    loss = model.loss(torch.randn(2, 3, BINS), lengths_B, no_tokens_BU, none_B, step=0)
    assert loss.total_B.tolist() == [0.0, 0.0]


@models
def test_a_model_learns_one_utterance(encoder, predictor):
    model = make(encoder, predictor, warmup_steps=10).train()
    batch = [x[:2] for x in make_batch()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for step in range(30):
        loss = model.loss(*batch, step=step)
        optimizer.zero_grad()
        loss.total_B.sum().backward()
        optimizer.step()
        losses.append(float(loss.pruned_B.sum()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"joiner_project": False}, "joiner_project"),
        ({"joiner_dim": 0}, "joiner_dim"),
        ({"encoder": {"name": "lstn"}}, "encoder"),
        ({"encoder": {"name": "lstm", "lstm": {"layers": 0}}}, "encoder.lstm.layers"),
        ({"predictor": {"name": "stateless", "contxt": 1}}, "did you mean context"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change, match):
    values = {"encoder": ENCODERS["lstm"], "predictor": PREDICTORS["lstm"], "joiner_dim": 9}
    with pytest.raises(ConfigError, match=match):
        Transducer(from_dict(TransducerConfig, values | change), BINS, VOCAB)


def test_a_vocabulary_of_blank_alone_is_refused():
    config = from_dict(
        TransducerConfig, {"encoder": ENCODERS["lstm"], "predictor": PREDICTORS["lstm"]}
    )
    with pytest.raises(ConfigError, match="vocab_size: 1"):
        Transducer(config, BINS, 1)


@models
def test_a_config_survives_a_checkpoint(encoder, predictor):
    config = make(encoder, predictor).config
    assert from_dict(TransducerConfig, to_dict(config)) == config


def test_inference_needs_no_k2():
    code = (
        "import sys; sys.modules['k2'] = None\n"
        "import asrlib, torch\n"
        "from asrlib.encoders import LstmConfig\n"
        "from asrlib.transducer import StatelessConfig, Transducer, TransducerConfig\n"
        "config = TransducerConfig(encoder=LstmConfig(), predictor=StatelessConfig())\n"
        "model = Transducer(config, 4, 5).eval()\n"
        "h, _ = model.encoder.step(torch.zeros(1, 4, 4), model.encoder.initial_state(1))\n"
        "d, _ = model.predictor.step(torch.tensor([0]), model.predictor.initial_state(1))\n"
        "assert model.joiner(h[:, 0], d).shape == (1, 5)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
