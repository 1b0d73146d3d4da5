"""Regions of the embedding space: stable numbers, exact resume, clear behaviour at the edges."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asrlib.speakers.regions import Regions


def blobs(count: int, each: int, dim: int = 6, seed: int = 0) -> Tensor:
    """Embeddings around `count` directions, `each` of one after another."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(dim)[:count].repeat_interleave(each, dim=0)
    return 3.0 * (centres + 0.05 * torch.randn(count * each, dim, generator=generator))


def test_regions_are_the_planted_ones_whatever_the_length():
    vectors = blobs(4, 10)
    regions = Regions(4, seed=1)
    regions.search(vectors)
    found = regions.assign(vectors).view(4, 10)
    assert all(len(set(row.tolist())) == 1 for row in found)
    assert len(set(found[:, 0].tolist())) == 4
    assert torch.equal(regions.assign(0.01 * vectors), regions.assign(vectors))
    assert torch.equal(found.flatten(), regions.members_N)
    assert regions.counts().tolist() == [10, 10, 10, 10]


def test_assignment_is_to_the_nearest_centroid():
    regions = Regions(3, seed=1)
    regions.search(blobs(3, 8))
    others = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(2))
    found = regions.assign(others)
    for i in range(4):
        for j in range(5):
            unit = functional.normalize(others[i, j], dim=0)
            distances = [float((unit - c).square().sum()) for c in regions.centroids_KD]
            assert int(found[i, j]) == distances.index(min(distances))


def test_numbers_follow_their_members_when_the_space_turns():
    vectors = blobs(4, 10)
    regions = Regions(4, seed=1)
    regions.search(vectors)
    before = regions.assign(vectors)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))[0]
    regions.search(vectors @ rotation)
    assert torch.equal(regions.assign(vectors @ rotation), before)


def test_state_holds_all_that_the_next_search_reads():
    one, other = Regions(4, seed=1), Regions(4, seed=1)
    one.search(blobs(4, 10))
    other.load_state(one.state())
    for each in (one, other):
        each.search(blobs(4, 10, seed=5))
    assert torch.equal(one.centroids_KD, other.centroids_KD)
    assert torch.equal(one.members_N, other.members_N)


def test_before_the_first_search_there_is_one_region():
    regions = Regions(4, seed=1)
    assert regions.assign(blobs(2, 3).view(2, 3, 6)).tolist() == [[0] * 3] * 2
    assert regions.counts().tolist() == [0] * 4


def test_nan_is_left_out_with_a_warning(caplog):
    vectors = blobs(3, 6)
    vectors[4] = math.nan
    vectors[9, 2] = math.inf
    regions = Regions(3, seed=1)
    regions.search(vectors)
    assert "2 of 18 embeddings are not finite" in caplog.text
    assert torch.isfinite(regions.centroids_KD).all()
    assert regions.members_N[[4, 9]].tolist() == [-1, -1]
    assert int(regions.counts().sum()) == 16
    healed = blobs(3, 6)
    regions.search(healed)
    assert int(regions.counts().sum()) == 18


def test_without_a_finite_embedding_the_regions_remain(caplog):
    regions = Regions(3, seed=1)
    regions.search(blobs(3, 6))
    before = regions.state()
    regions.search(torch.full((18, 6), math.nan))
    assert "regions remain as they were" in caplog.text
    assert torch.equal(regions.centroids_KD, before["centroids"])
    assert torch.equal(regions.members_N, before["members"])


@pytest.mark.parametrize("copies", [1, 5])
def test_fewer_embeddings_than_regions(caplog, copies):
    vectors = blobs(3, 1).repeat(copies, 1)
    regions = Regions(8, seed=1)
    with caplog.at_level(logging.WARNING):
        regions.search(vectors)
    assert "3 different embeddings for 8 regions" in caplog.text
    assert sorted(set(regions.assign(vectors).tolist())) == [0, 1, 2]
    assert regions.counts().tolist() == [copies] * 3 + [0] * 5
    regions.search(blobs(6, 10))  # enough again
    assert len(regions.centroids_KD) == 8


def test_a_single_embedding_and_zeros_are_no_error():
    regions = Regions(4, seed=1)
    regions.search(torch.zeros(5, 6))
    assert regions.assign(torch.zeros(2, 6)).tolist() == [0, 0]
