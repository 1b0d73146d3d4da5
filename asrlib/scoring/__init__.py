"""Scores of decoded single-talker sets: error rates, latencies and costs, by group of speakers.

The package reads hyp.jsonl, meta.json, speakers.tsv and cohorts.jsonl. The statistics of speakers
(intervals, gaps, permutation tests, power) take counts from anywhere.
"""
