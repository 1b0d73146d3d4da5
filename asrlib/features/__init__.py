"""Log-mel filter banks by kaldifeat, with one code path for whole utterances and streams."""

from asrlib.features.fbank import FbankConfig, FbankExtractor, FbankStream

__all__ = ["FbankConfig", "FbankExtractor", "FbankStream"]
