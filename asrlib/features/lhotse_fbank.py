"""The filter banks as a lhotse feature extractor, which lets lhotse store and mix them.

Suffixes: N samples, T frames, F mel bins.
"""

from __future__ import annotations

import numpy as np
import torch
from lhotse import MonoCut
from lhotse.features.base import FeatureExtractor, Features, register_extractor
from lhotse.features.io import FeaturesWriter

from asrlib.features.fbank import FbankConfig, FbankExtractor

# exp() of kaldifeat's floor for silent bins, the lowest possible energy of a bin
_ENERGY_FLOOR = float(np.finfo(np.float32).eps)


@register_extractor
class KaldifeatFbank(FeatureExtractor):
    """`FbankExtractor` with lhotse's interface."""

    name = "asrlib-kaldifeat-fbank"
    config_type = FbankConfig

    def __init__(self, config: FbankConfig | None = None) -> None:
        super().__init__(config)
        self._extractor = FbankExtractor(self.config)

    @property
    def frame_shift(self) -> float:
        return self.config.frame_shift

    def feature_dim(self, sampling_rate: int) -> int:
        return self.config.num_bins

    def extract(self, samples: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Compute the filter banks (T, F) of mono samples, (N,) or (1, N), in [-1, 1]."""
        if sampling_rate != self.config.sample_rate:
            raise ValueError(f"audio at {sampling_rate} Hz, not {self.config.sample_rate} Hz")
        samples_N = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32).reshape(-1))
        return self._extractor(samples_N).numpy()

    def store(self, cut: MonoCut, features_TF: np.ndarray, writer: FeaturesWriter) -> Features:
        """Store the features of a cut; return the manifest entry that locates them."""
        key = writer.write(cut.id, features_TF)
        return self.describe(cut, len(features_TF), writer.name, str(writer.storage_path), key)

    def describe(self, cut: MonoCut, frames: int, storage: str, path: str, key: str) -> Features:
        """Return the manifest entry of the features of a cut.

        Args:
            frames: number of frames.
            storage: kind of storage.
            path, key: where the features are, for the reader of this kind.
        """
        return Features(
            type=self.name,
            num_frames=frames,
            num_features=self.config.num_bins,
            frame_shift=self.frame_shift,
            sampling_rate=cut.sampling_rate,
            start=cut.start,
            duration=cut.duration,
            storage_type=storage,
            storage_path=path,
            storage_key=key,
            recording_id=cut.recording_id,
            channels=cut.channel,
        )

    @staticmethod
    def mix(
        features_a: np.ndarray, features_b: np.ndarray, energy_scaling_factor_b: float
    ) -> np.ndarray:
        """Add two features in the energy domain: log(e^a + gain e^b)."""
        energy = np.exp(features_a) + energy_scaling_factor_b * np.exp(features_b)
        return np.log(np.maximum(energy, _ENERGY_FLOOR)).astype(np.float32)

    @staticmethod
    def compute_energy(features: np.ndarray) -> float:
        return float(np.sum(np.exp(features, dtype=np.float64)))
