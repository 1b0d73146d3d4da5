"""Speaker verification: trials, scores, error rates by group, intervals. No torch here."""
