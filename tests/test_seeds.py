"""asrlib.seeds: random streams of finished trainings and corpora come again."""

from __future__ import annotations

import re

import pytest

from asrlib.seeds import derive_seed, hash_name, named_generator, step_seed


@pytest.mark.parametrize(
    ("made", "number"),
    [
        (derive_seed(1, 2), 4271380983),
        (derive_seed("noise", "mix-0001"), 497764414),
        (derive_seed(1, 0, 7), 3598777244),
        (step_seed(1, 5, 0), 15152708626915684481),
        (step_seed(1, 5, 2), 11007171980163403502),
        (step_seed(2, 5, 0), 10855449103376275576),
        (hash_name("naïve"), 3574563174),
        (named_generator(1, "s01", "room").integers(1 << 62), 2585108356786662967),
        (named_generator(0, 3, 1).integers(1 << 62), 150644996420024656),
    ],
)
def test_a_seed_gives_the_numbers_that_it_always_gave(made, number):
    assert made == number


def test_only_asrlib_seeds_derives_seeds(repo):
    paths = [*repo.glob("asrlib/**/*.py"), *repo.glob("egs/*/local/*.py"), *repo.glob("local/*.py")]
    derives = re.compile(r"crc32|SeedSequence|default_rng\(\[")
    found = {path.name for path in paths if derives.search(path.read_text(encoding="utf-8"))}
    assert found == {"seeds.py"}
