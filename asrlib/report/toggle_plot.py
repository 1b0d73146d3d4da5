"""What an amortized Transformer computes of an utterance, under its spectrogram and its words."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from asrlib.encoders.toggles import Toggles
from asrlib.report.plots import STYLE, svg_text
from asrlib.text.words import TimedWord

_ON_OFF = ListedColormap(["#f1f4f7", "#1f6f8b"])


def toggle_picture(
    x_TF: Tensor,
    toggles: Sequence[Toggles],
    words: Sequence[TimedWord],
    frame_shift: float,
    subsampling: int,
    title: str,
) -> str:
    """A drawing, as SVG text.

    Args:
        x_TF: filter banks of the utterance.
        toggles: of each block, for a batch of this utterance alone.
        words: with start and end in seconds, drawn over the spectrogram.
        frame_shift: seconds from one row of `x_TF` to the next.
        subsampling: rows of `x_TF` to a frame of the encoder.
    """
    rows_RS, labels = _rows(toggles)
    seconds = x_TF.shape[0] * frame_shift
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"toggles {title}", "axes.grid": False}):
        height = 2.2 + 0.14 * len(labels)
        canvas = Canvas(figsize=(10, height), layout="constrained")
        top, bottom = canvas.subplots(
            2, 1, sharex=True, height_ratios=[1.8, height - 2.2], squeeze=True
        )
        top.imshow(
            x_TF.T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, seconds, 0, x_TF.shape[1]),
        )
        _label_words(top, words, x_TF.shape[1])
        top.set_ylabel("mel bin")
        top.set_title(title, loc="left", fontsize=10.5, pad=22)
        extent = (0, rows_RS.shape[1] * subsampling * frame_shift, len(labels), 0)
        bottom.imshow(
            rows_RS,
            aspect="auto",
            cmap=_ON_OFF,
            vmin=0,
            vmax=1,
            interpolation="none",
            extent=extent,
        )
        bottom.set_xlim(0, seconds)
        bottom.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=6.5)
        for block in range(1, len(toggles)):
            bottom.axhline(block * len(labels) / len(toggles), color="white", lw=1.5)
        bottom.set_xlabel("seconds; dark: computed")
        return svg_text(canvas)


def _rows(toggles: Sequence[Toggles]) -> tuple[np.ndarray, list[str]]:
    """Toggles (R, S) of all blocks from the first, and what each row is."""
    rows, labels = [], []
    for b, block in enumerate(toggles, start=1):
        heads = block.query_BSH.shape[2]
        for part, values_BSH in (("query", block.query_BSH), ("key", block.key_BSH)):
            rows += [values_BSH[0, :, h].numpy() for h in range(heads)]
            labels += [f"{b} {part} {h + 1}" for h in range(heads)]
        rows.append(block.feedforward_BS[0].numpy())
        labels.append(f"{b} feed-forward")
    return np.stack(rows), labels


def _label_words(axes: Axes, words: Sequence[TimedWord], top: float) -> None:
    for word, start, end in words:
        axes.axvline(start, color="white", lw=0.6, alpha=0.7)
        axes.text((start + end) / 2, top * 1.02, word, ha="center", va="bottom", fontsize=8)
