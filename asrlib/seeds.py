"""Derive the seeds of independent random streams from one configured seed.

The rules here must never change, because finished trainings and corpora must stay reproducible.
New rules may be added. tests/test_seeds.py compares results of each rule with stored numbers.
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """Derive a 32-bit seed for data from numbers and names; similar ones give unrelated seeds."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def step_seed(seed: int, step: int, part: int, rank: int = 0) -> int:
    """Derive a 64-bit seed for dropout in a training step.

    Args:
        seed: the configured seed.
        step: number of the training step, from 0.
        part: number of the part, from 0, if the batch does not fit into memory and is processed
            in parts. Part 0 has the same seed as an undivided batch.
        rank: number of the process, from 0, if several train together. Rank 0 has the same seed as
            a process that trains alone.
    """
    key: tuple[int, ...] = (seed, step, part) if part else (seed, step)
    if rank:
        key = (seed, step, part, rank)
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def hash_name(name: str) -> int:
    """Return a 32-bit number that depends only on the name, not on the process or the machine."""
    return zlib.crc32(name.encode())


def named_generator(*parts: int | str) -> np.random.Generator:
    """Return a random generator for these numbers and names, independent of other generators."""
    return np.random.default_rng([hash_name(p) if isinstance(p, str) else p for p in parts])
