"""Training with cohorts of speakers known, and adaptation of trained transducers to a cohort."""
