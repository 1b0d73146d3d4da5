"""Audio files: decoding, and resampling of a stream."""
