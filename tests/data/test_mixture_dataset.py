"""Batches of mixtures."""

import dataclasses
import math
from dataclasses import replace

import pytest
import torch
from lhotse import CutSet
from lhotse.utils import fastcopy
from mixture_fakes import talkers_cuts

from asrlib.data.augment import AugmentConfig
from asrlib.data.mixing import Mixer
from asrlib.data.mixture_dataset import (
    MixtureFormat,
    MixtureTrainingSet,
    bounded_batches,
    mixture_eval_batches,
)
from asrlib.data.mixture_sets import plan_sets, write_set
from asrlib.data.mixtures import MixtureConfig, MixturePlanner
from asrlib.data.sampler import DataConfig
from asrlib.errors import DataError
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.text import Tokenizer, TokensConfig, train_tokenizer
from asrlib.text.turn_labels import EOT, split_turns

CONFIG = MixtureConfig(per_epoch=12, reverb_probability=0.2, per_condition=1, rooms=0, noise_snr=())
DATA = DataConfig(max_frames=3000, max_tokens=300)
PLAIN = AugmentConfig(spec_probability=0.0, silence_probability=0.0)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    return talkers_cuts(tmp_path_factory.mktemp("talkers"))


@pytest.fixture(scope="module")
def format(cuts, tmp_path_factory):
    out = tmp_path_factory.mktemp("lang") / "bpe.model"
    train_tokenizer(
        [c.supervisions[0].text for c in cuts.values()], TokensConfig(vocab_size=40), out
    )
    return MixtureFormat(Tokenizer.from_file(out), FbankConfig())


def training_set(cuts, format, **kwargs):
    settings = {"config": CONFIG, "data": DATA, "augment": PLAIN, **kwargs}
    return MixtureTrainingSet(cuts.values(), format=format, **settings)


def assert_same(one, two):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


@pytest.mark.parametrize("rooms", [0, 3])
def test_batches_are_the_same_with_workers_and_when_resumed(cuts, format, rooms):
    config = replace(CONFIG, masks=True, rooms=rooms, reverb_probability=0.6)
    source = training_set(cuts, format, augment=AugmentConfig(), config=config)
    whole = list(source.batches(3, 1))
    assert len(whole) > 2
    for one, two in zip(whole, source.batches(3, 1, num_workers=2), strict=True):
        assert_same(one, two)
    for one, two in zip(whole[2:], source.batches(3, 1, start_batch=2), strict=True):
        assert_same(one, two)
    other = {i for batch in source.batches(3, 2) for i in batch.ids}
    assert not other & {i for batch in whole for i in batch.ids}


@pytest.mark.parametrize("style", ["sot_eot", "cot"])
def test_a_batch_is_what_its_plans_say(cuts, format, style):
    format = replace(format, style=style)
    source = training_set(cuts, format)
    plans = source.plan_epoch(5, 0)
    tokenizer, extractor = format.tokenizer, FbankExtractor(format.fbank)
    for batch, group in zip(source.batches(5, 0), plans, strict=True):
        assert batch.ids == [plan.id for plan in group]
        for b, plan in enumerate(group):
            x_TF = extractor(torch.from_numpy(Mixer(cuts.values(), CONFIG).render(plan)[1]))
            length = int(batch.x_lengths_B[b])
            assert torch.equal(batch.x_BTF[b, :length], x_TF)
            assert not batch.speech_BNT[b, :, length:].any()
            for n in range(2):
                turns = [t for t in plan.turns if t.channel == n]
                size = int(batch.token_lengths_BN[b, n])
                labels = batch.tokens_BNU[b, n, :size].tolist()
                spans = split_turns(labels, style)
                assert [tokenizer.decode([labels[i] for i in s.tokens]) for s in spans] == [
                    cuts[t.cut].supervisions[0].text for t in turns
                ]
                assert not batch.tokens_BNU[b, n, size:].any()
                ends = batch.turn_ends_BNU[b, n]
                finite = [round(float(e), 3) for e in ends if math.isfinite(e)]
                closed = turns[:-1] if style == "sot_eot" else []
                assert finite == [pytest.approx(t.end, abs=2e-3) for t in closed]
                at = [i for i, label in enumerate(labels) if label == EOT]
                assert [i for i, e in enumerate(ends) if math.isfinite(e)] == at
                seconds = sum(t.end - t.start for t in turns)
                assert float(batch.speech_BNT[b, n].sum()) * 0.01 == pytest.approx(
                    seconds, abs=0.011 * (len(turns) or 1)
                )


def test_a_silent_channel_is_legal(cuts, format):
    source = training_set(cuts, format, config=replace(CONFIG, turns=(1, 1)))
    batch = next(iter(source.batches(1, 0)))
    assert not batch.token_lengths_BN[:, 1].any()
    assert batch.token_lengths_BN[:, 0].all()
    assert not batch.speech_BNT[:, 1].any()


def test_specaugment_masks_features_alone(cuts, format):
    plain = list(training_set(cuts, format).batches(1, 0))
    augment = AugmentConfig(spec_probability=1.0, spec_start_epoch=1)
    masked = training_set(cuts, format, augment=augment, config=replace(CONFIG, masks=True))
    for one, two in zip(plain, masked.batches(1, 0), strict=True):
        assert_same(one, two)
    plain = list(training_set(cuts, format).batches(1, 1))
    for one, two in zip(plain, masked.batches(1, 1), strict=True):
        assert not torch.equal(one.x_BTF, two.x_BTF)
        assert_same(one, replace(two, x_BTF=one.x_BTF))


def test_batches_keep_their_bounds(cuts, format):
    data = DataConfig(max_frames=2500, max_tokens=60)
    batches = list(training_set(cuts, format, data=data).batches(1, 0))
    for batch in batches:
        size, frames, _ = batch.x_BTF.shape
        assert size == 1 or size * frames <= 2500
        assert size == 1 or size * batch.tokens_BNU.shape[2] <= 60
    assert sum(len(batch.ids) for batch in batches) == 12


def test_sorted_epochs_come_shortest_first(cuts, format):
    data = replace(DATA, sorted_epochs=1)
    source = training_set(cuts, format, data=data)
    longest = [[max(p.duration for p in b) for b in source.plan_epoch(1, e)] for e in (0, 1)]
    assert longest[0] == sorted(longest[0])
    assert longest[1] != sorted(longest[1])


def test_a_giant_stands_alone():
    sizes = {0: (10, 1), 1: (99, 1), 2: (10, 50), 3: (10, 1)}
    assert bounded_batches(sizes, DataConfig(max_frames=30, max_tokens=40)) == [[0, 3], [2], [1]]


def test_too_dense_mixtures_are_left_out(cuts, format):
    every = 40
    kept = training_set(cuts, format, frames_per_output=every).plan_epoch(1, 0)
    enough = [
        name
        for batch in training_set(cuts, format).batches(1, 0)
        for name, frames, labels in zip(
            batch.ids, batch.x_lengths_B, batch.token_lengths_BN.amax(dim=1), strict=True
        )
        if frames // every - 2 >= labels
    ]
    assert 0 < len(enough) < 12
    assert sorted(plan.id for batch in kept for plan in batch) == sorted(enough)


def test_dev_batches_hold_every_stored_mixture(cuts, format, tmp_path):
    plans = plan_sets(MixturePlanner(cuts.values(), CONFIG), "dev")
    write_set(tmp_path / "mix_dev", plans, Mixer(cuts.values(), CONFIG))
    stored = CutSet.from_file(tmp_path / "mix_dev" / "cuts.jsonl.gz").to_eager()
    batches = list(mixture_eval_batches(stored, format, 3000))
    assert sorted(i for b in batches for i in b.ids) == sorted(p.id for p in plans)
    assert all(len(b.ids) == 1 or b.x_BTF.shape[0] * b.x_BTF.shape[1] <= 3000 for b in batches)
    plan = next(p for p in plans if p.id == batches[0].ids[0])
    x_TF = FbankExtractor(format.fbank)(
        torch.from_numpy(Mixer(cuts.values(), CONFIG).render(plan)[1])
    )
    # stored in 16 bits, so that the quietest bins differ
    assert float((batches[0].x_BTF[0] - x_TF).abs().mean()) < 0.5


@pytest.mark.parametrize("change", [{"custom": None}, {"custom": {"talker_channel": 2}}])
def test_a_turn_without_a_channel_is_named(cuts, format, change):
    cut = cuts["u00"]
    bad = fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], **change)])
    with pytest.raises(DataError, match="mixture u00: turn u00"):
        list(mixture_eval_batches(CutSet.from_cuts([bad]), format, 1000))


def test_audio_at_another_rate_is_named(cuts, format):
    with pytest.raises(DataError, match="16000 Hz, features at 8000 Hz"):
        training_set(cuts, replace(format, fbank=FbankConfig(sample_rate=8000, high_freq=-200.0)))
