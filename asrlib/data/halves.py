"""Divide the speakers of one test set in two: those to find cohorts on, and those to judge them on.

Recipes with few speakers have no sets `discovery` and `confirmation` of their own (egs/mini has).
Stage 9 then divides the test speakers here: no audio is copied, and a decode of the test set serves
both halves. (This is our choice; the papers find and judge on the same speakers.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

Half = Literal["discovery", "confirmation"]


def halves(strata: Mapping[str, str], seed: int = 1) -> dict[str, Half]:
    """Assign each speaker to a half, every stratum in equal parts.

    The halves differ by at most one speaker within a stratum and in all. Within a stratum, a hash
    of the seed and the id chooses, so the result does not depend on the order of the speakers, and
    changes little when speakers are added. Strata must be facts that were known before decoding,
    such as gender and band of age; strata that depend on errors would spoil the confirmation.

    Args:
        strata: the stratum of each speaker, for example `f <10`. A single common value is allowed.
        seed: another seed makes other halves.

    Returns:
        The half of each speaker, in the order of `strata`.
    """
    members: dict[str, list[str]] = {}
    for speaker in sorted(strata, key=lambda s: hashlib.sha256(f"{seed} {s}".encode()).digest()):
        members.setdefault(strata[speaker], []).append(speaker)
    discovery: set[str] = set()
    extra = 1  # which half gets the odd speaker of a stratum: discovery if 1, else confirmation
    for _, speakers in sorted(members.items()):
        odd = len(speakers) % 2
        discovery.update(speakers[: len(speakers) // 2 + (odd and extra)])
        extra ^= odd
    return {s: "discovery" if s in discovery else "confirmation" for s in strata}
