"""Where a process stands among the ranks of a training, as torchrun or Slurm tells it."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from asrlib.errors import ConfigError

_FIRST_PORT, _PORTS = 20000, 20000  # ports of the trainings of Slurm jobs


@dataclass(frozen=True)
class Place:
    """One of the ranks of a training.

    Attributes:
        rank, size: its number, from 0, and the number of all.
        local_rank: its number among the ranks of its machine, which chooses its GPU.
        address, port: where the ranks meet.
        hosted: whether a launcher holds the store there; else rank 0 does.
        attempt: how often the launcher has started the ranks again.
    """

    rank: int
    size: int
    local_rank: int = 0
    address: str = "localhost"
    port: int = 0
    hosted: bool = False
    attempt: int = 0

    def variables(self) -> dict[str, str]:
        """Return the environment variables that tell a process this place, as torchrun's do."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_USE_AGENT_STORE": str(self.hosted),
            "TORCHELASTIC_RESTART_COUNT": str(self.attempt),
        }


def place_of(environ: Mapping[str, str]) -> Place | None:
    """Read a place from the variables of torchrun, or from those of a Slurm step of several tasks.

    Returns:
        The place; None if nobody has started this process as one of several.

    Raises:
        ConfigError: a variable is missing or no number.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return Place(
            rank=_number(environ, "RANK"),
            size=_number(environ, "WORLD_SIZE"),
            local_rank=_number(environ, "LOCAL_RANK"),
            address=_value(environ, "MASTER_ADDR"),
            port=_number(environ, "MASTER_PORT"),
            hosted=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=int(environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )
    # Set in steps, which srun starts; SLURM_NTASKS is also set where a job's script runs alone.
    if environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _slurm_place(environ)
    return None


def _slurm_place(environ: Mapping[str, str]) -> Place:
    port = environ.get("MASTER_PORT")
    job, step = (_number(environ, f"SLURM_{name}_ID") for name in ("JOB", "STEP"))
    return Place(
        rank=_number(environ, "SLURM_PROCID"),
        size=_number(environ, "SLURM_STEP_NUM_TASKS"),
        local_rank=_number(environ, "SLURM_LOCALID"),
        address=environ.get("MASTER_ADDR") or _first_machine(environ),
        port=int(port) if port else _FIRST_PORT + (31 * job + step) % _PORTS,
        attempt=int(environ.get("SLURM_RESTART_COUNT", "0")),
    )


def _first_machine(environ: Mapping[str, str]) -> str:
    """Return the machine of the first task: the first node's name, if it is one on the network.

    A node may have a name that only Slurm knows; then it is the machine that started the step,
    which in a batch job is the first node.
    """
    name = first_node(_value(environ, "SLURM_STEP_NODELIST"))
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return environ.get("SLURM_LAUNCH_NODE_IPADDR", name)
    return name


def first_node(nodes: str) -> str:
    """Return the first name of Slurm's list of nodes: n01 of `n[01-03,7],m2`."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


def _value(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise ConfigError(
            f"{name} is not set, but other variables say that this is one of several ranks",
            "start the training with --ranks, torchrun or srun",
        )
    return environ[name]


def _number(environ: Mapping[str, str], name: str) -> int:
    text = _value(environ, name)
    if not text.isdecimal():
        raise ConfigError(f"{name}: {text!r} is not a number", "unset it, or start with --ranks")
    return int(text)
