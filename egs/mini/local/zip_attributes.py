"""Write invented attributes of zip codes, which conf/zip_attributes.yaml describes.

They exist so that the geodemographic method has a table to join on a corpus whose speakers do not
exist either. No attribute says anything about a real place.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from people import homes_of_people

from asrlib.config import configclass, load_config
from asrlib.errors import ConfigError
from asrlib.files import atomic_write
from asrlib.numbers import Share
from asrlib.seeds import named_generator

_CONF = Path(__file__).resolve().parents[1] / "conf" / "zip_attributes.yaml"


@configclass
class Place:
    """Zip codes with a typical attribute; those of the states and those with the prefixes."""

    attribute: str
    often: Share
    states: tuple[str, ...] = ()
    zip_prefixes: tuple[str, ...] = ()


@configclass
class ZipAttributesConfig:
    """Settings of the invented attributes; conf/zip_attributes.yaml explains each key."""

    seed: int
    attributes: tuple[str, ...]
    largest: tuple[float, float]
    elsewhere: dict[str, float]
    places: tuple[Place, ...]


def write_zip_attributes(path: Path, recipe_conf: Path) -> None:
    """Write a CSV table: `zip`, then the share of each attribute, which add up to 1.

    Raises:
        ConfigError: a place or `elsewhere` names an attribute that is not in the list.
    """
    files = [_CONF, recipe_conf / "zip_attributes.yaml"]
    config = load_config(ZipAttributesConfig, "zip_attributes", files)
    named = {*config.elsewhere, *(place.attribute for place in config.places)}
    if unknown := sorted(named - set(config.attributes)):
        raise ConfigError(
            f"zip_attributes: there is no attribute {', '.join(unknown)}",
            f"choose among {', '.join(config.attributes)}, or add it to zip_attributes.attributes",
        )
    with atomic_write(path) as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["zip", *config.attributes])
        for home in homes_of_people():
            writer.writerow([home["zip_code"], *(f"{x:.3f}" for x in _shares(config, home))])


def _shares(config: ZipAttributesConfig, home: Mapping[str, str]) -> np.ndarray:
    """Draw the shares of a zip code; the largest one is above a half, so it is the only one."""
    rng = named_generator(config.seed, home["zip_code"], "attributes")
    names = config.attributes
    odds = np.array([config.elsewhere.get(name, 0.0) for name in names])
    winner = int(rng.choice(len(names), p=odds / odds.sum()))
    typical = rng.random()
    for place in config.places:
        inside = home["state"] in place.states
        inside = inside or home["zip_code"].startswith(place.zip_prefixes)
        if inside and typical < place.often:
            winner = names.index(place.attribute)
    largest = rng.uniform(*config.largest)
    shares = np.round(rng.dirichlet(np.ones(len(names) - 1)) * (1 - largest), 3)
    return np.insert(shares, winner, 1 - shares.sum())
