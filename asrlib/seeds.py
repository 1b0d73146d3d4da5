"""How random streams get seeds of their own from one configured seed.

Each rule has its own streams, and those of finished trainings and corpora must come again: a rule
is never changed, only added to (tests/test_seeds.py holds numbers of each).
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A seed of 32 bits from numbers and names, for data; close ones give unrelated seeds."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def step_seed(seed: int, step: int, part: int) -> int:
    """A seed of 64 bits for dropout in a training step.

    Args:
        part: of the step's batch, where it is too large to be taken whole. The first one has the
            seed of the step; a batch seldom has others.
    """
    key = (seed, step, part) if part else (seed, step)
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def hash_name(name: str) -> int:
    """A number of 32 bits that only depends on the name, in every process and on every machine."""
    return zlib.crc32(name.encode())


def named_generator(*parts: int | str) -> np.random.Generator:
    """A generator for what these numbers and names say, independent of those for others."""
    return np.random.default_rng([hash_name(p) if isinstance(p, str) else p for p in parts])


def group_seed(seed: int, group: str) -> int:
    """A seed for resampling one group of speakers, independently of the others."""
    return seed + hash_name(group)
