"""Features that are computed each time they are loaded, instead of being stored.

For lhotse this is a kind of storage: its path is a file with the settings of the features, and the
key of a matrix says where the audio is, and at what speed it is played. The values are rounded to
16 bits as those of `asrlib.features.storage`, so that they are the same numbers.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.features.io import FeaturesReader, register_reader
from lhotse.utils import fastcopy

from asrlib.config import from_dict
from asrlib.errors import DataError
from asrlib.features.cut_audio import audio_reader, change_speed, cut_line, load_cut_audio
from asrlib.features.fbank import FbankConfig
from asrlib.features.lhotse_fbank import KaldifeatFbank
from asrlib.files import atomic_write

STORAGE = "on_the_fly"


def write_settings(path: Path, config: FbankConfig) -> None:
    """Write the settings that features are computed with."""
    with atomic_write(path) as f:
        json.dump(dataclasses.asdict(config), f)


def storage_key(cut: MonoCut, speed: float) -> str:
    """Return the key of a cut's features at a speed."""
    return json.dumps([speed, cut_line(fastcopy(cut, supervisions=[], custom=None))])


@lru_cache
def _extractor(path: str) -> KaldifeatFbank:
    return KaldifeatFbank(from_dict(FbankConfig, json.loads(Path(path).read_text())))


@register_reader
class OnTheFlyReader(FeaturesReader):
    """Computes matrices (T, F), or some of their frames, as float32."""

    name = STORAGE

    def __init__(self, storage_path: Path) -> None:
        self._extractor = _extractor(str(storage_path))

    def read(
        self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None
    ) -> np.ndarray:
        speed, line = json.loads(key)
        cut = MonoCut.from_dict(json.loads(line))
        try:
            with audio_reader():
                _, samples_1N = change_speed(cut, load_cut_audio(cut), speed)
        except DataError as e:  # lhotse copies exceptions, but only those of one argument
            raise OSError(e.what) from e
        features_TF = self._extractor.extract(samples_1N, cut.sampling_rate)
        features_TF = features_TF[left_offset_frames:right_offset_frames]
        return features_TF.astype(np.float16).astype(np.float32)
