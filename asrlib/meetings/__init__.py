"""Scores of recordings with several talkers: ORC-WER, cpWER, turn counts, pointing latencies."""
