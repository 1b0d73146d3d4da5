"""Sections of exp/report.html about cohorts of speakers: who they are, and what helps them."""
