"""Batches partition the corpus within their bounds, in an order of the seed alone."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet, Features, MonoCut

from asrlib.data.sampler import DataConfig, sample_batches
from asrlib.errors import ConfigError


def cut(name, frames):
    duration = frames / 100
    features = Features("f", frames, 80, 0.01, 16000, 0.0, duration, "none", "", "")
    return MonoCut(name, 0.0, duration, 0, features=features)


def corpus(sizes):
    cuts = CutSet.from_cuts(cut(f"c{i:04d}", frames) for i, (frames, _) in enumerate(sizes))
    return cuts, {f"c{i:04d}": tokens for i, (_, tokens) in enumerate(sizes)}


def ids(batches):
    return [[c.id for c in batch] for batch in batches]


def flat(lists):
    return list(chain.from_iterable(lists))


SIZES = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 60)), min_size=1, max_size=80)


@settings(deadline=None, max_examples=60)
@given(
    sizes=SIZES,
    buckets=st.integers(1, 30),
    max_frames=st.integers(100, 2000),
    max_tokens=st.integers(20, 500),
    seed=st.integers(0, 99),
)
@pytest.mark.filterwarnings("ignore:We have exceeded the max_duration constraint")
def test_batches_partition_within_bounds(sizes, buckets, max_frames, max_tokens, seed):
    cuts, tokens = corpus(sizes)
    config = DataConfig(max_frames=max_frames, max_tokens=max_tokens, num_buckets=buckets)
    batches = list(sample_batches(cuts, tokens, config, seed))
    assert sorted(flat(ids(batches))) == sorted(tokens)
    for batch in batches:
        if len(batch) > 1:
            assert len(batch) * max(c.num_frames for c in batch) <= max_frames
            assert len(batch) * max(tokens[c.id] for c in batch) <= max_tokens
    assert ids(batches) == ids(sample_batches(cuts, tokens, config, seed))


def test_seeds_shuffle_the_whole_corpus():
    cuts, tokens = corpus([(100 + i % 50, 5) for i in range(400)])
    config = DataConfig(max_frames=2000, num_buckets=5, buffer_size=30)  # smaller than the corpus
    one, two = (ids(sample_batches(cuts, tokens, config, seed)) for seed in (1, 2))
    assert one != two
    first = [int(i[1:]) for i in flat(one[:10])]
    assert max(first) > 300
    assert min(first) < 100


def test_padding_is_small():
    cuts, tokens = corpus([(50 + 7 * (i * 37 % 100), 5) for i in range(1000)])
    batches = list(sample_batches(cuts, tokens, DataConfig(), 0))
    padded = sum(len(b) * max(c.num_frames for c in b) for b in batches)
    real = sum(c.num_frames for c in cuts)
    assert padded / real < 1.1
    assert padded / len(batches) > 0.7 * 4000


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), number=st.integers(150, 900))
def test_an_epoch_does_not_end_in_remnants(seed, number):
    """lhotse gives each bucket's last few utterances at the end: twenty tiny batches in a row."""
    cuts, tokens = corpus([(80 + 300 * (i * 7919 % 997) // 997, 5) for i in range(number)])
    batches = list(sample_batches(cuts, tokens, DataConfig(), seed))
    sizes = [len(b) * max(c.num_frames for c in b) for b in batches]
    small = [i for i, size in enumerate(sizes) if size < 0.5 * 4000]
    assert len(small) <= 2
    orders = {tuple(ids(sample_batches(cuts, tokens, DataConfig(), s))[-1]) for s in range(5)}
    assert len(orders) > 1


def test_equal_lengths():
    cuts, tokens = corpus([(100, 5)] * 50)
    batches = list(sample_batches(cuts, tokens, DataConfig(max_frames=1000), 0))
    assert [len(b) for b in batches] == [10] * 5


def test_lazy_manifests(tmp_path):
    cuts, tokens = corpus([(100 + i, 5) for i in range(50)])
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    lazy = CutSet.from_jsonl_lazy(tmp_path / "cuts.jsonl.gz")
    assert sorted(flat(ids(sample_batches(lazy, tokens, DataConfig(), 0)))) == sorted(tokens)


def test_bad_values_are_refused():
    with pytest.raises(ConfigError, match=r"data\.max_frames"):
        DataConfig(max_frames=0)
