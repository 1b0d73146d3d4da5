"""Scores of decoded single-talker sets: error rates, latencies and costs, by group of speakers.

The package reads hyp.jsonl, meta.json and speakers.tsv.
"""
