"""Fairstream: streaming speech recognisers, and whom they fail."""

from asrlib.mkl import load_override

__version__ = "0.1.0"

load_override()  # before torch is imported, or it has no effect
