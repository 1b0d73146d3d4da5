"""Training on mixtures: sums over channels, drops, figures; starting from a single channel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from small_transducer import CONFIG, FBANK, tokenizer, transducer
from talker_fakes import MixtureBatch

from asrlib.checkpoint_file import save
from asrlib.data.share import WHOLE, RankShare
from asrlib.encoders import LstmStackConfig, SeparatorConfig
from asrlib.errors import CheckpointError, ConfigError
from asrlib.text.turn_labels import EOT, channel_labels
from asrlib.training.config import TrainConfig
from asrlib.training.talker_task import TalkerTask
from asrlib.training.trainer import Trainer
from asrlib.transducer.model import Transducer
from asrlib.transducer.model_io import (
    KIND,
    load_start,
    load_transducer,
    transducer_payload,
)

TRAIN = TrainConfig(num_threads=1, num_workers=0, epochs=3, warmup_steps=4, average=2)
LOSS = replace(CONFIG.loss, masking=0.1, fast_emit=0.01, eot_penalty=1.0)


def separator(channels: int, seed: int = 0, hidden: int = 16) -> Transducer:
    stack = LstmStackConfig(layers=1, hidden_dim=hidden)
    encoder = SeparatorConfig(channels=channels, lstm=stack, module_dim=16, output_dim=16)
    loss = LOSS if channels > 1 else replace(LOSS, eot_penalty=0.0)
    return transducer(replace(CONFIG, encoder=encoder, loss=loss), seed)


class Mixtures:
    """Three mixtures a batch: three turns, one, and none at all."""

    tokenizer = tokenizer()
    fbank = FBANK

    def batches_per_epoch(self) -> int:
        return 2

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterator[MixtureBatch]:
        return (self.batch(10 * epoch + i) for i in range(start_batch, 2))

    def dev_batches(self) -> Iterator[MixtureBatch]:
        return iter([self.batch(99)])

    def batch(self, seed: int) -> MixtureBatch:
        generator = torch.Generator().manual_seed(seed)
        one, two = (self.tokenizer.encode(text) for text in ("ONE TWO", "TWO"))
        labels = channel_labels([one, two], "sot_eot")
        tokens_BNU = torch.zeros(3, 2, len(labels), dtype=torch.int64)
        tokens_BNU[0, 0] = torch.tensor(labels)
        tokens_BNU[:2, 1, : len(two)] = torch.tensor(two)
        ends_BNU = torch.full(tokens_BNU.shape, math.inf)
        ends_BNU[0, 0, len(one)] = 0.5
        speech_BNT = torch.zeros(3, 2, 120).bool()
        speech_BNT[0, 0], speech_BNT[:2, 1, 20:60] = True, True
        return MixtureBatch(
            x_BTF=torch.randn(3, 120, 12, generator=generator),
            x_lengths_B=torch.tensor([120, 100, 80]),
            tokens_BNU=tokens_BNU,
            token_lengths_BN=torch.tensor([[len(labels), len(two)], [0, len(two)], [0, 0]]),
            turn_ends_BNU=ends_BNU,
            speech_BNT=speech_BNT,
            ids=[f"mix-{seed}-{i}" for i in range(3)],
        )


def task(seed: int = 0) -> TalkerTask:
    return TalkerTask(separator(2, seed), Mixtures(), TRAIN)


def test_losses_and_figures_are_per_mixture():
    one = task()
    batch = Mixtures().batch(1)
    sums = one.loss(batch, 3)
    assert sums.per_item_B.shape == (3,)
    assert sums.weight == 30 + 25 + 20
    parts = {"simple", "pruned", "ctc", "masking", "eot_late", "eot_delay_s"}
    assert set(sums.stats) == parts
    assert sums.stats["eot_delay_s"][1] == 1
    assert sums.stats["eot_late"][0] > 0


@torch.no_grad()
def test_an_end_in_seconds_is_the_penaltys_frame():
    """One <eot> in a lattice whose paths are equally likely: it is late as a softmax says."""
    one, end = task(), 0.5
    for weight in one.model.joiner.output_linear.parameters():
        weight.zero_()
    batch = Mixtures().batch(1)
    tokens_BNU = torch.full((3, 2, 1), EOT)
    ends_BNU = torch.full(tokens_BNU.shape, end)
    lengths_BN = torch.tensor([[1, 0], [0, 0], [0, 0]])
    batch = replace(
        batch, tokens_BNU=tokens_BNU, token_lengths_BN=lengths_BN, turn_ends_BNU=ends_BNU
    )
    output_frames = torch.arange(1, 30 + 1)  # the first mixture has 120 of 10 ms, stacked by 4
    late_S = (output_frames - end / 0.04 - LOSS.eot_grace).clamp(min=0.0)
    expected = ((-late_S).softmax(0) * late_S).sum()
    late_B = one._loss(batch, 3).late_B
    torch.testing.assert_close(late_B, torch.tensor([expected, 0.0, 0.0]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_what_is_put_out_without_speech_is_masked():
    """A frame of output has speech where any of its inputs has."""
    one, batch = task(), Mixtures().batch(1)
    one.model.eval()
    speech_BNT = batch.speech_BNT.clone()
    speech_BNT[1, 1, 61] = True  # beside 20 to 59: part of output frame 15
    batch = replace(batch, speech_BNT=speech_BNT)
    h_RSD, lengths_R = one.model.encoder(batch.x_BTF, batch.x_lengths_B)
    silent_RS = torch.arange(30) < lengths_R.unsqueeze(1)
    silent_RS[0] = False  # rows: the two channels of each mixture in turn
    silent_RS[1, 5:15] = False
    silent_RS[3, 5:16] = False
    wanted_R = (h_RSD.square().mean(dim=2) * silent_RS).sum(dim=1)
    masking_B = one._loss(batch, 3).masking_B
    torch.testing.assert_close(masking_B, wanted_R.view(3, 2).sum(dim=1), atol=1e-5, rtol=1e-5)


def test_dropping_equals_never_having_been_there():
    one, batch = task(), Mixtures().batch(1)
    one.model.eval()
    whole = one.loss(batch, 0).per_item_B
    kept = one.drop(batch, [batch.ids[1]])
    assert kept.ids == [batch.ids[0], batch.ids[2]]
    torch.testing.assert_close(one.loss(kept, 0).per_item_B, whole[[0, 2]], atol=1e-4, rtol=1e-4)
    assert one.drop(batch, batch.ids) is None


def test_it_trains_and_the_model_loads(tmp_path):
    before = task().evaluate()["loss"]
    config = replace(TRAIN, epochs=10, peak_lr=0.01)
    outcome = Trainer(TalkerTask(separator(2), Mixtures(), config), config, tmp_path, {}).run()
    loaded = load_transducer(outcome.final)
    assert loaded.meta["dev"]["loss"] < 0.9 * before
    assert loaded.model.encoder.num_channels == 2


def test_other_channels_than_the_mixtures_are_named():
    one = TalkerTask(separator(3), Mixtures(), TRAIN)
    with pytest.raises(ConfigError, match="2 channels do not fit a model of 3"):
        one.loss(Mixtures().batch(0), 0)


def test_a_word_error_rate_is_refused():
    with pytest.raises(ConfigError, match="dev_wer_utts"):
        TalkerTask(separator(2), Mixtures(), replace(TRAIN, dev_wer_utts=2))


def save_model(path, model) -> None:
    payload = transducer_payload(model, tokenizer(), FBANK)
    save(path, KIND, {"model": model.state_dict(), "payload": payload, "facts": {}})


def test_both_channels_start_as_the_single_one(tmp_path):
    single, model = separator(1, seed=1).eval(), separator(2, seed=2).eval()
    save_model(tmp_path / "final.pt", single)
    load_start(model, tokenizer(), tmp_path / "final.pt")
    x_BTF, lengths_B = torch.randn(2, 40, 12), torch.tensor([40, 40])
    h_BSD, h_RSD = (m.encoder(x_BTF, lengths_B)[0] for m in (single, model))
    torch.testing.assert_close(h_RSD, h_BSD.repeat_interleave(2, dim=0))
    for name in ("predictor", "joiner", "simple_am_proj", "ctc_output"):
        for a, b in zip(
            getattr(single, name).parameters(), getattr(model, name).parameters(), strict=True
        ):
            assert torch.equal(a, b)


def test_a_model_of_as_many_channels_goes_on(tmp_path):
    before, model = separator(2, seed=1), separator(2, seed=2)
    save_model(tmp_path / "final.pt", before)
    load_start(model, tokenizer(), tmp_path / "final.pt")
    for a, b in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: separator(3), "3 channels, not 1 or 2"),
        (lambda: separator(2, hidden=8), r"encoder\.mixture"),
        (lambda: separator(1, hidden=8), r"encoder\.mixture"),
        (transducer, "nothing for encoder.mixture"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, other, words):
    save_model(tmp_path / "final.pt", other())
    with pytest.raises(CheckpointError, match=words) as e:
        load_start(separator(2), tokenizer(), tmp_path / "final.pt")
    assert "model.encoder.channels=1" in e.value.fix
