"""The picture of toggles: a row for each head's query and key and each feed-forward."""

from __future__ import annotations

import re

import pytest
import torch

from asrlib.encoders.toggles import Toggles
from asrlib.report.toggle_plot import _rows, toggle_picture


def some(blocks: int, frames: int, heads: int) -> list[Toggles]:
    torch.manual_seed(3)
    shape = (1, frames, heads)
    draw = [(torch.rand(3, *shape) > 0.5).float() for _ in range(blocks)]
    return [Toggles(d[0][..., 0], d[1], d[2]) for d in draw]


def test_rows_are_the_toggles_in_order():
    toggles = some(blocks=2, frames=7, heads=3)
    rows_RS, labels = _rows(toggles)
    assert rows_RS.shape == (2 * (2 * 3 + 1), 7)
    at = dict(zip(labels, rows_RS.tolist(), strict=True))
    assert at["2 key 3"] == toggles[1].key_BSH[0, :, 2].tolist()
    assert at["1 query 1"] == toggles[0].query_BSH[0, :, 0].tolist()
    assert at["2 feed-forward"] == toggles[1].feedforward_BS[0].tolist()


def test_a_picture_shows_words_and_is_the_same_every_time():
    words = [("HELLO", 0.1, 0.3), ("WORLD", 0.4, 0.7)]
    x_TF = torch.zeros(80, 40)
    pictures = {toggle_picture(x_TF, some(2, 20, 2), words, 0.01, 4, "cut-1") for _ in range(2)}
    assert len(pictures) == 1
    picture = pictures.pop()
    assert picture.startswith("<svg")
    assert all(re.search(rf">{word}<", picture) for word, _, _ in words)


def test_spectrogram_words_and_toggles_share_their_time():
    """82 frames and 20 toggles of 4 frames each: the last two frames have none."""
    words = [("HELLO", 0.1, 0.3), ("WORLD", 0.4, 0.7)]
    picture = toggle_picture(torch.randn(82, 40), some(2, 20, 2), words, 0.01, 4, "cut-1")
    spectrogram, toggled = re.findall(r"<image[^>]*>", picture)
    left, width = (float(re.search(rf' {k}="([\d.]+)"', spectrogram)[1]) for k in ("x", "width"))
    scale, *_, begin, _ = (float(v) for v in re.search(r"matrix\((.*?)\)", toggled)[1].split())
    assert begin == pytest.approx(left, abs=1)
    assert scale * 20 == pytest.approx(width * 0.80 / 0.82, abs=1)
    for word, start, end in words:
        place = float(re.search(rf'x="([\d.]+)"[^>]*>{word}<', picture)[1])
        assert place == pytest.approx(left + width * (start + end) / 2 / 0.82, abs=1)
