"""Layers that encoders and predictors share, and compiled operations for some of them."""
