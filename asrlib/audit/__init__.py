"""The audit of any recogniser: for which speakers does it fail, told from its transcripts alone.

`inputs` reads Kaldi-format tables, `run` scores them, finds cohorts and confirms them, `record` is
what comes out. No module here imports torch, k2 or lhotse, so that the audit installs with pip.
"""
