"""Fairstream: streaming speech recognisers, and whom they fail."""

__version__ = "0.1.0"
