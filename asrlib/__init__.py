"""Fairstream: streaming speech recognisers, and whom they fail.

`__version__` is part of every stage's stamp: bump it when a change alters what a stage leaves.
"""

__version__ = "0.1.0"
