"""The Fisher information: its two estimators, sampled labels, and its file."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from lhotse import CutSet
from mitigation_fakes import save_model
from small_transducer import CONFIG, tokenizer, transducer, write_set

from asrlib.checkpoint_file import load
from asrlib.data.dataset import Batch, eval_batches
from asrlib.errors import CheckpointError, DataError
from asrlib.mitigation import fisher as module
from asrlib.mitigation.config import FisherConfig
from asrlib.mitigation.fisher import decoding_weights, estimate_fisher, for_fisher, pruned_losses
from asrlib.mitigation.fisher_file import fisher_of
from asrlib.mitigation.sampled_labels import with_sampled_labels
from asrlib.transducer.loss import LossConfig

FRAMES = 600  # three to six utterances a batch


@pytest.fixture(scope="module")
def cuts(tmp_path_factory) -> CutSet:
    return write_set(tmp_path_factory.mktemp("general"), 16, 5)


@pytest.fixture(scope="module")
def model():
    return for_fisher(transducer(seed=1))


def batches(cuts, max_frames=FRAMES) -> list[Batch]:
    return list(eval_batches(cuts, tokenizer(), max_frames))


def unscaled(fisher) -> dict[str, torch.Tensor]:
    return {name: value * fisher.mean for name, value in fisher.diagonal.items()}


@pytest.fixture(scope="module")
def exact(cuts, model) -> dict[str, torch.Tensor]:
    """A loop over utterances that shares nothing with the estimators but the loss."""
    sums = {name: torch.zeros_like(w) for name, w in decoding_weights(model).items()}
    for batch in batches(cuts, 1):
        loss = pruned_losses(model, batch).sum()
        gradients = torch.autograd.grad(loss, list(decoding_weights(model).values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient**2 / len(cuts)
    return sums


def test_batches_of_one_are_exact(cuts, model, exact):
    fisher = estimate_fisher(model, batches(cuts, 1), seed=1)
    assert fisher.utterances == len(cuts)
    for name, value in unscaled(fisher).items():
        assert torch.allclose(value, exact[name], rtol=1e-4, atol=1e-10), name
    values = torch.cat([value.flatten() for value in fisher.diagonal.values()])
    assert float(values.mean()) == pytest.approx(1.0, rel=1e-5)
    assert set(fisher.diagonal) == set(decoding_weights(model))


def test_random_signs_are_within_three_standard_errors_of_the_loop(cuts, model, exact):
    draws = [unscaled(estimate_fisher(model, batches(cuts), seed)) for seed in range(30)]
    for name, expected in exact.items():
        sums = torch.stack([draw[name].sum() for draw in draws])
        error = float(sums.std() / len(draws) ** 0.5)
        assert abs(float(sums.mean() - expected.sum())) < 3 * error + 1e-9, name
    # The square of the batch's gradient is far away, so that the bound means something.
    batch_square = sum(_square_of_sum(model, batch) for batch in batches(cuts)) / len(cuts)
    total = float(sum(value.sum() for value in exact.values()))
    spread = torch.tensor([float(sum(v.sum() for v in draw.values())) for draw in draws]).std()
    assert abs(batch_square - total) > 3 * float(spread) / len(draws) ** 0.5


def _square_of_sum(model, batch) -> float:
    gradients = torch.autograd.grad(
        pruned_losses(model, batch).sum(), list(decoding_weights(model).values())
    )
    return float(sum((g**2).sum() for g in gradients))


def test_a_batch_that_does_not_fit_into_memory_changes_nothing(cuts, model, monkeypatch):
    whole = estimate_fisher(model, batches(cuts), seed=7)
    room = 2

    def cramped(own, batch):
        if len(batch.ids) > room:
            torch.empty(1 << 60, dtype=torch.uint8)
        return pruned_losses(own, batch)

    monkeypatch.setattr(module, "pruned_losses", cramped)
    split = estimate_fisher(model, batches(cuts), seed=7)
    assert split.utterances == whole.utterances
    for name, value in split.diagonal.items():
        assert torch.allclose(value, whole.diagonal[name], rtol=1e-3, atol=1e-6), name
    room = 0
    with pytest.raises(DataError, match="does not fit into memory, even alone"):
        estimate_fisher(model, batches(cuts), seed=7)


def test_an_utterance_without_a_path_is_left_out(cuts, model):
    batch = batches(cuts)[-1]
    bad = dataclasses.replace(batch, x_lengths_B=batch.x_lengths_B.clone())
    bad.x_lengths_B[0] = 3  # no output frame
    good = estimate_fisher(model, [module.without(batch, batch.ids[:1])], seed=1)
    found = estimate_fisher(model, [bad], seed=1)
    assert found.utterances == good.utterances == len(batch.ids) - 1
    for name, value in found.diagonal.items():
        assert torch.allclose(value, good.diagonal[name], rtol=1e-3, atol=1e-6), name


def test_neither_fast_emit_nor_delays_are_in_it(cuts, model):
    loss = dataclasses.replace(CONFIG.loss, fast_emit=0.5, delay_penalty=0.1)
    hasty = for_fisher(transducer(dataclasses.replace(CONFIG, loss=loss), seed=1))
    one, other = (estimate_fisher(m, batches(cuts), seed=1) for m in (model, hasty))
    assert all(torch.equal(one.diagonal[name], other.diagonal[name]) for name in one.diagonal)


def test_sampled_labels_have_the_probabilities_of_the_model(cuts):
    """Shares of label sequences among many draws, against exp(-loss) without pruning."""
    loss = LossConfig(prune_range=12)
    model = for_fisher(transducer(dataclasses.replace(CONFIG, loss=loss), seed=2))
    with torch.no_grad():
        model.joiner.output_linear.bias[3:] -= 20.0  # two labels: each sequence is frequent
    one = batches(cuts, 1)[0]
    number, frames = 1500, 12
    many = dataclasses.replace(
        one,
        x_BTF=one.x_BTF[:, :frames].expand(number, -1, -1),
        x_lengths_B=torch.full((number,), frames),
        ids=[f"draw{i}" for i in range(number)],
    )
    drawn = with_sampled_labels(model, many, seed=1)
    sequences = [
        tuple(tokens[:length])
        for tokens, length in zip(
            drawn.tokens_BU.tolist(), drawn.token_lengths_B.tolist(), strict=True
        )
    ]
    seen = sorted(set(sequences), key=sequences.count)[-12:]
    assert {0, 1, 2} <= {len(sequence) for sequence in seen}
    for sequence in seen:
        told = dataclasses.replace(
            one,
            x_BTF=one.x_BTF[:, :frames],
            x_lengths_B=torch.tensor([frames]),
            tokens_BU=torch.tensor([sequence], dtype=torch.int64).reshape(1, -1),
            token_lengths_B=torch.tensor([len(sequence)]),
        )
        share = float(torch.exp(-pruned_losses(model, told)))
        error = (share * (1 - share) / number) ** 0.5
        assert sequences.count(sequence) / number == pytest.approx(share, abs=4 * error), sequence


def test_a_draw_depends_on_its_utterance_alone(cuts, model):
    batch = batches(cuts)[-1]
    drawn = with_sampled_labels(model, batch, seed=1)
    for b, item in enumerate(batch.ids):
        alone = with_sampled_labels(model, module.without(batch, set(batch.ids) - {item}), seed=1)
        length = int(drawn.token_lengths_B[b])
        assert alone.tokens_BU[0].tolist() == drawn.tokens_BU[b, :length].tolist()
    other = with_sampled_labels(model, batch, seed=2)
    assert drawn.token_lengths_B.tolist() != other.token_lengths_B.tolist()


class TestFile:
    @pytest.fixture
    def start(self, tmp_path):
        save_model(transducer(seed=1), tmp_path / "start" / "final.pt")
        return tmp_path / "start" / "final.pt"

    def of(self, start, cuts, **settings):
        return fisher_of(
            transducer(seed=1), start, cuts, tokenizer(), FisherConfig(**settings), FRAMES
        )

    def test_it_is_computed_once(self, start, cuts, monkeypatch):
        first = self.of(start, cuts, utterances=10)
        monkeypatch.setattr("asrlib.mitigation.fisher_file.estimate_fisher", None)
        again = self.of(start, cuts, utterances=10)
        assert (again.mean, again.utterances) == (first.mean, first.utterances) == (first.mean, 10)
        assert all(torch.equal(v, first.diagonal[k]) for k, v in again.diagonal.items())

    def test_other_labels_estimators_and_data_have_files_of_their_own(self, start, cuts):
        self.of(start, cuts)
        self.of(start, cuts, labels="sampled")
        self.of(start, cuts, estimator="utterances")
        self.of(start, CutSet.from_cuts(list(cuts)[:8]))
        assert len(list(start.parent.glob("fisher-empirical-*.pt"))) == 3
        assert len(list(start.parent.glob("fisher-sampled-*.pt"))) == 1

    def test_that_of_another_checkpoint_is_refused(self, start, cuts):
        self.of(start, cuts)
        save_model(transducer(seed=2), start)
        with pytest.raises(CheckpointError, match="Fisher information of another checkpoint"):
            self.of(start, cuts)

    def test_that_of_other_data_is_refused_under_the_name_of_these(self, start, cuts):
        self.of(start, cuts)
        (name,) = start.parent.glob("fisher-*.pt")
        (start.parent / "kept.pt").write_bytes(name.read_bytes())
        name.unlink()
        self.of(start, CutSet.from_cuts(list(cuts)[:8]))
        (other,) = start.parent.glob("fisher-*.pt")
        shutil.move(other, name)
        with pytest.raises(CheckpointError, match="is the Fisher information of another data"):
            self.of(start, cuts)
        assert load(name, "fisher")["utterances"] == 8
