"""The transducer's task: sums, drops, delays, and exact resume with the real model and data."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import pytest
import torch
from breaks_off import BreaksOff
from small_transducer import CONFIG, CONV, FBANK, tokenizer, transducer, write_set

from asrlib.data.augment import AugmentConfig
from asrlib.data.sampler import DataConfig
from asrlib.data.share import WHOLE
from asrlib.training.config import TrainConfig
from asrlib.training.stepper import Stepper
from asrlib.training.trainer import Trainer
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model_io import load_transducer

TRAIN = TrainConfig(num_threads=1, num_workers=0, epochs=2, warmup_steps=4, average=2)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sets")
    return TransducerData(
        train=write_set(directory / "train", 12, seed=1),
        dev=write_set(directory / "dev", 4, seed=2),
        noise=None,
        tokenizer=tokenizer(),
        fbank=FBANK,
        data=DataConfig(max_frames=400, num_buckets=2),
        augment=AugmentConfig(frame_masks=2, max_frame_width=10, max_feature_width=4),
    )


def task(source, config=TRAIN, model=CONFIG) -> TransducerTask:
    return TransducerTask(transducer(model), source, config)


def test_loss_is_the_models_and_weight_its_frames(source):
    one = task(source)
    one.model.eval()
    batch = next(iter(one.train_batches(0, 0)))
    sums = one.loss(batch, 3)
    direct = one.model.loss(
        batch.x_BTF, batch.x_lengths_B, batch.tokens_BU, batch.token_lengths_B, 3
    )
    assert torch.equal(sums.per_item_B, direct.total_B)
    assert sums.weight == sum(n // 4 for n in batch.x_lengths_B.tolist())
    assert sums.seconds == pytest.approx(float(batch.x_lengths_B.sum()) / 100)
    assert set(sums.stats) == {"simple", "pruned", "ctc", "symbol_offset_s", "symbol_delay_s"}


def test_loss_share_is_timed_over_the_backward_pass(source):
    one = task(source)
    sums = one.loss(next(iter(one.train_batches(0, 0))), 0)
    assert sums.loss_seconds() == 0.0
    sums.per_item_B.sum().backward()
    assert sums.loss_seconds() > 0.0


def test_evaluation_is_as_deep_as_the_training_so_far(source):
    encoder = dataclasses.replace(CONV.encoder, grow=0.5)
    one = task(source, model=dataclasses.replace(CONV, encoder=encoder))
    one.begin(80)
    one.loss(next(iter(one.train_batches(0, 0))), 20)  # of two blocks, half of the first counts
    depth_Z = one.model.encoder.depth.shares_Z.clone()
    assert depth_Z.tolist() == [0.5, 0.0]
    figures = one.evaluate()
    assert torch.equal(one.model.encoder.depth.shares_Z, depth_Z)
    one.model.train()
    one.loss(next(iter(one.train_batches(0, 0))), 40)
    assert one.model.encoder.depth.whole
    assert one.evaluate() != figures


def test_dropping_equals_never_having_been_there(source):
    one = task(source)
    one.model.eval()
    batch = next(b for b in one.train_batches(0, 0) if len(b.ids) >= 3)
    kept = one.drop(batch, [batch.ids[1]])
    assert kept.ids == [i for i in batch.ids if i != batch.ids[1]]
    whole, part = one.loss(batch, 0).per_item_B, one.loss(kept, 0).per_item_B
    assert torch.allclose(part, torch.cat([whole[:1], whole[2:]]), atol=1e-4)
    assert one.drop(batch, batch.ids) is None


class Cramped(TransducerTask):
    """Has memory for a few utterances only."""

    room = 99

    def loss(self, batch, step):
        if len(batch.ids) > self.room:
            torch.empty(1 << 60, dtype=torch.uint8)
        return super().loss(batch, step)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(source):
    lstm = dataclasses.replace(CONFIG.encoder.lstm, dropout=0.0)
    steady = dataclasses.replace(CONFIG, encoder=dataclasses.replace(CONFIG.encoder, lstm=lstm))
    gradients = []
    for room in (99, 2):
        one = Cramped(transducer(steady), source, TRAIN)
        one.room = room
        batch = max(one.train_batches(0, 0), key=lambda batch: len(batch.ids))
        report = Stepper(one, TRAIN).step(batch, 0, 9)
        assert report.sums.ids == batch.ids
        gradients.append([p.grad for p in one.model.parameters() if p.grad is not None])
    assert len(batch.ids) >= 3
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-5)


def test_symbol_delay_is_last_symbol_minus_word_end(source):
    one = task(source)
    ids = tokenizer().encode("ONE TWO")
    starts = [u for u, i in enumerate(ids) if tokenizer().piece(i).startswith("\u2581")]
    emissions = [0.1 * (u + 1) for u in range(len(ids))]
    pairs = one._word_pairs(emissions, ids, [0.5, 0.9])
    assert pairs == [(emissions[starts[1] - 1], 0.5), (emissions[-1], 0.9)]
    assert one._word_pairs(emissions, ids, [0.5]) == []


def test_delay_counts_words_of_those_with_times_only(source):
    one = task(source)
    batches = list(one.train_batches(0, 0))
    counted = sum(one.loss(b, 0).stats["symbol_delay_s"][1] for b in batches)
    timed = sum(len(e) for b in batches for e in b.word_ends if e is not None)
    untimed = sum(e is None for b in batches for e in b.word_ends)
    assert counted == timed > 0
    assert untimed > 0


def test_evaluate_leaves_no_trace_and_adds_given_figures(source):
    one = TransducerTask(transducer(), source, TRAIN, dev_figures=lambda model: {"wer": 0.5})
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    figures = one.evaluate()
    assert figures["wer"] == 0.5
    assert math.isfinite(figures["loss"])
    assert figures["loss_per_token"] > figures["loss"]
    assert figures == one.evaluate()
    assert all(torch.equal(v, before[k]) for k, v in one.model.state_dict().items())


def test_batches_per_epoch_is_about_right(source):
    one = task(source)
    count = len(list(one.train_batches(0, 0)))
    assert abs(one.batches_per_epoch() - count) <= 1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("model", [CONFIG, CONV], ids=["lstm", "conv_rnnt"])
def test_broken_off_and_resumed_equals_uninterrupted(source, tmp_path, model, workers):
    config = dataclasses.replace(TRAIN, num_workers=workers, valid_interval=2, average_of="last")
    Trainer(task(source, config, model), config, tmp_path / "whole", {}).run()
    # Those that resume begin from other weights: none may come from anywhere but a checkpoint.
    for step, seed in ((3, 0), (5, 1), (-1, 2)):
        part = BreaksOff(transducer(model, seed), source, config)
        part.step = step
        trainer = Trainer(part, config, tmp_path / "pieces", {})
        trainer.resume()
        with pytest.raises(KeyboardInterrupt) if step >= 0 else contextlib.nullcontext():
            trainer.run()
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()


def test_workers_do_not_change_the_weights(source, tmp_path):
    for workers in (0, 2):
        config = dataclasses.replace(TRAIN, num_workers=workers)
        Trainer(task(source, config), config, tmp_path / str(workers), {}).run()
    files = [tmp_path / str(workers) / "final.pt" for workers in (0, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_poisoned_utterance_is_named_and_the_rest_is_trained(source, tmp_path, caplog):
    class Poisoned(TransducerTask):
        def train_batches(self, epoch, start_batch, share=WHOLE):
            for batch in super().train_batches(epoch, start_batch, share):
                for i, name in enumerate(batch.ids):
                    if name == "s1-u5":
                        batch.x_BTF[i, 3] = math.nan
                yield batch

    part = Poisoned(transducer(CONV), source, TRAIN)
    outcome = Trainer(part, TRAIN, tmp_path, {}).run()
    assert "loss is not finite, dropped: s1-u5\n" in caplog.text
    loaded = load_transducer(outcome.final)
    assert all(torch.isfinite(v).all() for v in loaded.model.state_dict().values())
    assert math.isfinite(loaded.meta["dev"]["loss"])


def test_training_lowers_the_dev_loss(source, tmp_path):
    config = dataclasses.replace(TRAIN, epochs=8, peak_lr=0.01)
    before = task(source).evaluate()["loss"]
    outcome = Trainer(task(source, config), config, tmp_path, {}).run()
    assert load_transducer(outcome.final).meta["dev"]["loss"] < 0.7 * before
