"""Layers that several encoders and predictors share, and their compiled operations."""
