"""Decoding a set; what was trained, decoded and measured, and what of it may be compared."""
