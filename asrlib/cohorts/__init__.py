"""Cohorts: groups of speakers for whom recognition is worse, found on some speakers.

`find` finds cohorts on discovery speakers by six methods; `definition` assigns any speaker. No
module here imports torch or lhotse.
"""
