"""Waveforms in."""
