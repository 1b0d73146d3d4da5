"""What a training run left: its curves, figures of the run as a whole, and its command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from asrlib.errors import DataError

Curve = Sequence[tuple[float, float]]  # (step, value)
COMMAND_FILE = "command.txt"  # in exp/NAME: what repeats the training, overrides included


def read_curves(model_dir: Path) -> dict[str, Curve]:
    """Scalars of exp/NAME/tensorboard by tag; none where the directory is absent or empty."""
    folder = model_dir / "tensorboard"
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Steps that a killed run wrote and its successor took again are purged.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=True)
    events.Reload()
    tags = sorted(events.Tags()["scalars"])
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def run_facts(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Steps, the medians of a run's throughput and shares, the best loss on dev, and
    on dev at the end: CTC loss (nats a frame), mean symbol delay (s, of its own alignment)."""
    facts: dict[str, float] = {}
    if curves:
        facts["steps"] = max(step for curve in curves.values() for step, _ in curve)
    for name in ("throughput", "data_wait", "loss_share"):
        values = [v for _, v in curves.get(f"train/{name}", ())]
        if values:
            # The median: an interval in which the machine did something else does not count.
            facts[name] = median(values)
    for name, tag in (("dev_delay", "dev/symbol_delay_s"), ("dev_ctc", "dev/ctc")):
        values = [v for _, v in curves.get(tag, ())]
        if values:
            facts[name] = values[-1]
    losses = [v for _, v in curves.get("dev/loss", ())]
    if losses:
        facts["dev_loss"] = min(losses)
    return facts


def settings_of(model_dir: Path, section: str) -> dict[str, Any]:
    """A section of exp/NAME/config.yaml, which a training leaves.

    Raises:
        DataError: the file is missing, broken, or without it.
    """
    import yaml

    path = model_dir / "config.yaml"
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8"))[section])
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError) as e:
        raise DataError(
            f"{path}: tells of no {section} ({type(e).__name__})", "train the model again"
        ) from e


def training_commands(exp: Path, names: Iterable[str]) -> list[str]:
    """The commands that trained these models, where they are known."""
    files = (exp / name / COMMAND_FILE for name in names)
    return [path.read_text(encoding="utf-8").strip() for path in files if path.exists()]
