"""Fairstream: trains streaming speech recognisers and measures for whom they fail."""

from asrlib.mkl import load_override

__version__ = "0.2.0"

load_override()  # it has no effect after torch was imported
