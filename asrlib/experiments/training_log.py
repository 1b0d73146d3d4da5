"""What a training run left: its curves, figures of the run as a whole, and its command."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from asrlib.config import from_dict
from asrlib.errors import CheckpointError, DataError

Curve = Sequence[tuple[float, float]]  # (step, value)


def read_curves(model_dir: Path) -> dict[str, Curve]:
    """Scalars of exp/NAME/tensorboard by tag; none where the directory is absent or empty."""
    folder = model_dir / "tensorboard"
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Steps that a killed run wrote and its successor took again are purged.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=True)
    events.Reload()
    tags = sorted(events.scalars.Keys())
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


@dataclass(frozen=True)
class RunFacts:
    """Figures of a training as a whole; None where its curves do not tell.

    Attributes:
        steps: number of training steps.
        throughput: seconds of audio per second, the median of the run.
        data_wait, loss_share: shares of the time, 0 to 1, medians of the run.
        dev_loss: the lowest loss on dev, in nats per encoder frame.
        dev_delay: mean symbol delay on dev at the end, in seconds, by the model's own alignment.
        dev_ctc: CTC loss on dev at the end, in nats per frame.
    """

    steps: int | None
    throughput: float | None
    data_wait: float | None
    loss_share: float | None
    dev_loss: float | None
    dev_delay: float | None
    dev_ctc: float | None


def run_facts(curves: Mapping[str, Curve]) -> RunFacts:
    """What the curves of `read_curves` tell of the run."""

    def of(tag: str, choose: Callable[[Sequence[float]], float]) -> float | None:
        values = [value for _, value in curves.get(tag, ())]
        return choose(values) if values else None

    last = operator.itemgetter(-1)
    return RunFacts(
        steps=max((int(step) for curve in curves.values() for step, _ in curve), default=None),
        # The median: an interval in which the machine did something else does not count.
        throughput=of("train/throughput", median),
        data_wait=of("train/data_wait", median),
        loss_share=of("train/loss_share", median),
        dev_loss=of("dev/loss", min),
        dev_delay=of("dev/symbol_delay_s", last),
        dev_ctc=of("dev/ctc", last),
    )


def check_same_model(checkpoint: Path, config: Any, model_dir: Path) -> None:
    """See that a checkpoint is of the model whose results it is to leave.

    Args:
        checkpoint: its file, for the message.
        config: the settings of its model.
        model_dir: exp/NAME; nothing is checked where no training has left its settings.

    Raises:
        CheckpointError: it is of another model.
        DataError: what the directory says of its own model is broken.
    """
    path = model_dir / "config.yaml"
    if not path.exists():
        return
    if from_dict(type(config), settings_of(model_dir, "model"), str(path)) != config:
        raise CheckpointError(
            f"{checkpoint}: another model than that of {path}",
            "name the directory that the checkpoint belongs to with --name",
        )


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
