"""Print the members of the pool, one a line, as conf/pool.yaml and --set name them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from asrlib.config import configclass, load_config
from asrlib.errors import ConfigError
from asrlib.numbers import PositiveFloat
from local.script import run

Member = Literal["speechocean762", "an4", "librispeech", "commonvoice"]
POOL: dict[str, list[tuple[Member, str]]] = {
    "train": [
        ("speechocean762", "train"),
        ("an4", "train"),
        ("librispeech", "train"),
        ("commonvoice", "train"),
    ],
    "dev": [("speechocean762", "dev"), ("an4", "dev")],
    "test_an4": [("an4", "test")],
    "test_so762": [("speechocean762", "test")],
    "test_accents": [("commonvoice", "test_accents")],
}
_CONF = Path(__file__).resolve().parents[1] / "conf" / "pool.yaml"


@configclass
class PoolConfig:
    """Settings of this script; conf/pool.yaml explains each key."""

    members: tuple[Member, ...]
    max_seconds: dict[Member, PositiveFloat]


def read_config(recipe_dir: Path, overrides: tuple[str, ...]) -> PoolConfig:
    """Load `conf/pool.yaml`.

    Raises:
        ConfigError: a key or a value is wrong, or no member has a dev set.
    """
    config = load_config(PoolConfig, "pool", [_CONF, recipe_dir / "conf" / "pool.yaml"], overrides)
    if not any(member in config.members for member, _ in POOL["dev"]):
        raise ConfigError(
            f"pool.members: none of {', '.join(config.members) or 'none'} has a dev set",
            "add speechocean762 or an4",
        )
    return config


@click.command(help=__doc__)
@click.option("--recipe-dir", type=click.Path(path_type=Path), required=True)
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE")
def command(recipe_dir: Path, overrides: tuple[str, ...]) -> None:
    click.echo("\n".join(read_config(recipe_dir, overrides).members))


if __name__ == "__main__":
    run(command)
