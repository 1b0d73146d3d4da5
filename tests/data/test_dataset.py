"""Batches are functions of seed, epoch and index; what they hold is right."""

import logging
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from lhotse import CutSet
from speech_fakes import WORDS, make_cuts

from asrlib.data.augment import SILENCE, AugmentConfig
from asrlib.data.cuts import index_cuts
from asrlib.data.dataset import eval_batches, filter_trainable, sizes_of, train_batches
from asrlib.data.noise import NOISE_SET, import_noise, load_noise, make_noise_cuts
from asrlib.data.sampler import DataConfig
from asrlib.errors import ConfigError, DataError
from asrlib.features import FbankConfig
from asrlib.features.extract import ShardTask, extract_shard, merge_shards
from asrlib.text import Tokenizer, TokensConfig, train_tokenizer

DATA = DataConfig(max_frames=500, num_buckets=3)
PLAIN = AugmentConfig(spec_probability=0.0, silence_probability=0.0)
NOISY = AugmentConfig(noise_probability=0.7, vocal_tract=0.1)
FIRST = {"fbank": FbankConfig(), "seed": 1, "epoch": 0}


def with_features(folder, cuts):
    cuts.to_file(folder / "cuts.jsonl.gz")
    task = ShardTask(folder / "cuts.jsonl.gz", folder / "store", "k", 0, 1, (1.0,), FbankConfig())
    extract_shard(task)
    merge_shards([task], folder / "cuts_fbank.jsonl.gz")
    return CutSet.from_file(folder / "cuts_fbank.jsonl.gz").to_eager()


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    return with_features(folder, make_cuts(folder / "wav", 24))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    made = make_noise_cuts(data / NOISE_SET / "audio", 16000, per_kind=1)
    with_features(data / NOISE_SET, made)
    return load_noise(data)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("lang") / "bpe.model"
    train_tokenizer([" ".join(WORDS)] * 3, TokensConfig(vocab_size=40), path)
    return Tokenizer.from_file(path)


@pytest.fixture
def batches(cuts, noise, tokenizer):
    def make(augment=NOISY, seed=1, epoch=0, **more):
        return list(
            train_batches(
                cuts,
                tokenizer,
                DATA,
                augment,
                fbank=FbankConfig(),
                seed=seed,
                epoch=epoch,
                noise=noise,
                **more,
            )
        )

    return make


def same(a, b):
    return (
        a.ids == b.ids
        and torch.equal(a.x_BTF, b.x_BTF)
        and torch.equal(a.x_lengths_B, b.x_lengths_B)
        and torch.equal(a.tokens_BU, b.tokens_BU)
    )


def test_skipping_gives_what_the_whole_epoch_gives(batches):
    whole = batches()
    assert len(whole) > 5
    for start in (1, 4, len(whole)):
        rest = batches(start_batch=start)
        assert len(rest) == len(whole) - start
        assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_cuts_on_disk_give_the_batches_of_cuts_in_memory(cuts, tokenizer, tmp_path, workers):
    cuts.to_file(tmp_path / "cuts_fbank.jsonl.gz")
    on_disk = index_cuts(tmp_path / "cuts_fbank.jsonl.gz", "", lambda cut: None)
    data = replace(DATA, sorted_epochs=1)
    for epoch in (0, 1):
        how = {"fbank": FbankConfig(), "seed": 1, "epoch": epoch}
        expected = list(train_batches(cuts, tokenizer, data, PLAIN, **how))
        kept = filter_trainable(on_disk, tokenizer, 1)
        found = list(train_batches(kept, tokenizer, data, PLAIN, num_workers=workers, **how))
        assert len(kept) == len(cuts)
        assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    pairs = zip(eval_batches(cuts, tokenizer, 600), eval_batches(kept, tokenizer, 600), strict=True)
    assert all(same(a, b) for a, b in pairs)
    some = [filter_trainable(c, tokenizer, 12) for c in (cuts, on_disk)]
    assert [c.id for c in some[0]] == [c.id for c in some[1]]
    assert sizes_of(some[0], tokenizer) == sizes_of(CutSet.from_cuts(some[1]), tokenizer)


def test_skipping_reads_no_cut(cuts, tokenizer, tmp_path, monkeypatch):
    cuts.to_file(tmp_path / "cuts_fbank.jsonl.gz")
    on_disk = index_cuts(tmp_path / "cuts_fbank.jsonl.gz", "", lambda cut: None)
    kept, read = filter_trainable(on_disk, tokenizer, 1), []
    whole = list(train_batches(kept, tokenizer, DATA, PLAIN, **FIRST))
    original = type(kept.data).__getitem__
    monkeypatch.setattr(
        type(kept.data), "__getitem__", lambda data, n: read.append(n) or original(data, n)
    )
    (last,) = train_batches(kept, tokenizer, DATA, PLAIN, **FIRST, start_batch=len(whole) - 1)
    assert same(last, whole[-1])
    assert len(read) == len(last.ids)


def test_skipping_reads_no_features(cuts, tokenizer, monkeypatch):
    read = []
    original = type(cuts[0]).load_features
    monkeypatch.setattr(
        type(cuts[0]), "load_features", lambda cut: read.append(cut.id) or original(cut)
    )
    whole = list(train_batches(cuts, tokenizer, DATA, PLAIN, **FIRST))
    assert len(read) == len(cuts)
    read.clear()
    list(train_batches(cuts, tokenizer, DATA, PLAIN, **FIRST, start_batch=len(whole) - 1))
    assert sorted(read) == sorted(whole[-1].ids)


def test_a_worker_changes_nothing(batches):
    assert all(same(a, b) for a, b in zip(batches(), batches(num_workers=1), strict=True))


def test_the_trainers_random_state_is_left_alone(batches):
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(1), random.random()
    torch.manual_seed(3)
    random.seed(3)
    one = batches()
    assert (torch.rand(1), random.random()) == expected
    assert all(same(a, b) for a, b in zip(one, batches(), strict=True))  # nor does it matter


def test_seeds_and_epochs_differ(batches):
    one = batches(PLAIN)
    orders = [[b.ids for b in x] for x in (one, batches(PLAIN, seed=2), batches(PLAIN, epoch=1))]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # seed 2 of epoch 0 is not seed 1 of epoch 1 over again
    features = [torch.cat([x.x_BTF.flatten() for x in batches(epoch=e)]) for e in (0, 1)]
    assert features[0].sum() != features[1].sum()


def test_words_end_later_by_the_silence_in_front(cuts, tokenizer):
    by_id = {cut.id: cut for cut in cuts}
    quiet, leads = AugmentConfig(spec_probability=0.0, silence_probability=1.0), []
    for batch in train_batches(cuts, tokenizer, DATA, quiet, **FIRST):
        for i, name in enumerate(batch.ids):
            features_TF = torch.from_numpy(by_id[name].load_features())
            words = by_id[name].supervisions[0].alignment["word"]
            lead = round((batch.word_ends[i][0] - words[0].end) / 0.01)
            leads.append(lead)
            assert torch.equal(batch.x_BTF[i, lead : lead + len(features_TF)], features_TF)
    assert 0 < sum(lead > 0 for lead in leads) < len(leads)


def test_what_a_batch_holds(cuts, tokenizer):
    by_id = {cut.id: cut for cut in cuts}
    seen = []
    for batch in train_batches(cuts, tokenizer, DATA, PLAIN, **FIRST):
        assert batch.x_BTF.dtype == torch.float32
        assert batch.x_lengths_B.dtype == batch.tokens_BU.dtype == torch.int64
        assert batch.x_BTF.shape[:2] == (len(batch.ids), batch.x_lengths_B.max())
        for i, name in enumerate(batch.ids):
            cut, length = by_id[name], batch.x_lengths_B[i]
            features_TF = torch.from_numpy(cut.load_features())
            assert torch.equal(batch.x_BTF[i, :length], features_TF)
            assert (batch.x_BTF[i, length:] == np.float32(SILENCE)).all()
            tokens = batch.tokens_BU[i, : batch.token_lengths_B[i]].tolist()
            assert tokenizer.decode(tokens) == batch.texts[i] == cut.supervisions[0].text
            assert (batch.tokens_BU[i, batch.token_lengths_B[i] :] == 0).all()
            words = cut.supervisions[0].alignment["word"]
            assert batch.word_ends[i] == [item.end for item in words]
            seen.append(name)
    assert sorted(seen) == sorted(by_id)


def test_unknown_word_times_are_none(cuts, tokenizer):
    bare = [cut.map_supervisions(lambda s: s.with_alignment("word", [])) for cut in cuts][:2]
    for cut in bare:
        cut.supervisions[0].alignment = None
    (batch,) = eval_batches(CutSet.from_cuts(bare), tokenizer, 10000)
    assert batch.word_ends == [None, None]


def test_eval_batches_cover_the_set_within_bounds(cuts, tokenizer):
    batches = list(eval_batches(cuts, tokenizer, 600))
    assert sorted(i for b in batches for i in b.ids) == sorted(c.id for c in cuts)
    assert all(b.x_BTF.shape[0] * b.x_BTF.shape[1] <= 600 for b in batches)
    lengths = torch.cat([b.x_lengths_B for b in batches])
    assert torch.equal(lengths, lengths.sort(descending=True).values)
    again = eval_batches(CutSet.from_cuts(reversed(list(cuts))), tokenizer, 600)
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))


def test_noise_raises_energy_and_keeps_lengths(batches):
    def utterances(augment):
        for batch in batches(augment):
            yield from zip(batch.ids, batch.x_BTF, batch.x_lengths_B, strict=True)

    clean = {name: (x_TF, length) for name, x_TF, length in utterances(PLAIN)}
    louder = 0
    only_noise = replace(PLAIN, noise_probability=1.0, noise_snr=(0.0, 0.0))
    for name, x_TF, length in utterances(only_noise):
        old_TF, old_length = clean[name]
        assert length == old_length
        gain = x_TF[:length].exp().sum() / old_TF[:length].exp().sum()
        louder += bool(1.5 < gain < 2.5)  # 0 dB doubles the energy
    assert louder > 0.8 * len(clean)


def test_noise_is_wanted_but_missing(cuts, tokenizer):
    with pytest.raises(ConfigError, match=r"augment\.noise_probability"):
        list(train_batches(cuts, tokenizer, DATA, NOISY, **FIRST))


def test_made_noise_is_the_same_every_time(tmp_path):
    one, two = (
        list(make_noise_cuts(tmp_path / name, 16000, per_kind=1).to_eager()) for name in "ab"
    )
    assert len(one) == 5
    for a, b in zip(one, two, strict=True):
        samples = a.load_audio()
        assert np.array_equal(samples, b.load_audio())
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.1, rel=0.05)
        assert a.duration == 20.0


def test_noise_of_the_users(tmp_path):
    cuts = make_cuts(tmp_path / "wav", 2)
    cuts.to_file(tmp_path / "noise.jsonl.gz")
    imported = list(import_noise(tmp_path / "noise.jsonl.gz", 8000))
    assert all(cut.sampling_rate == 8000 and not cut.supervisions for cut in imported)
    (tmp_path / "junk.jsonl").write_text("junk\n")
    with pytest.raises(DataError, match="junk"):
        import_noise(tmp_path / "junk.jsonl", 16000)


def test_no_noise_is_none(tmp_path):
    assert load_noise(tmp_path) is None


def test_untrainable_cuts_are_dropped_by_name(cuts, tokenizer, caplog):
    def fits(cut, subsampling):
        tokens = len(tokenizer.encode(cut.supervisions[0].text))
        return cut.num_frames // subsampling - 2 >= tokens

    subsampling = 12
    with caplog.at_level(logging.WARNING):
        kept = filter_trainable(cuts, tokenizer, subsampling)
    assert 0 < len(kept) < len(cuts)
    assert [c.id for c in kept] == [c.id for c in cuts if fits(c, subsampling)]
    dropped = {c.id for c in cuts} - {c.id for c in kept}
    assert all(any(name in line for line in caplog.messages) for name in dropped)
    with pytest.raises(DataError, match="long enough"):
        filter_trainable(cuts, tokenizer, 1000)


def test_an_offset_puts_frames_before_an_utterance_and_depends_on_its_id(cuts, tokenizer):
    by_id = {cut.id: cut for cut in cuts}
    moved = replace(PLAIN, frame_offset=3)
    drawn = {}
    for epoch in (0, 1, 0):
        leads = {}
        how = {"fbank": FbankConfig(), "seed": 1, "epoch": epoch}
        for batch in train_batches(cuts, tokenizer, DATA, moved, **how):
            for i, name in enumerate(batch.ids):
                features_TF = torch.from_numpy(by_id[name].load_features())
                lead = int(batch.x_lengths_B[i]) - len(features_TF)
                leads[name] = lead
                expected_TF = torch.cat([features_TF[:1].expand(lead, -1), features_TF])
                assert torch.equal(batch.x_BTF[i, : len(expected_TF)], expected_TF)
                words = by_id[name].supervisions[0].alignment["word"]
                ends = [word.end + 0.01 * lead for word in words]
                assert batch.word_ends[i] == pytest.approx(ends)
        assert set(leads.values()) == {0, 1, 2, 3}
        assert drawn.setdefault(epoch, leads) == leads
    assert drawn[0] != drawn[1]


def test_an_offset_leaves_the_other_augmentation_as_it_is(batches):
    loud = AugmentConfig(silence_probability=0.0, spec_probability=0.0, gain=6.0)
    for a, b in zip(batches(loud), batches(replace(loud, frame_offset=3)), strict=True):
        for i, length in enumerate(a.x_lengths_B):
            end = int(b.x_lengths_B[i])
            assert torch.equal(b.x_BTF[i, end - int(length) : end], a.x_BTF[i, :length])
