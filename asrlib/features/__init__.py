"""Waveforms in, frames out: kaldifeat filter banks, batch and online by one code path."""

from asrlib.features.fbank import FbankConfig, FbankExtractor, FbankStream

__all__ = ["FbankConfig", "FbankExtractor", "FbankStream"]
