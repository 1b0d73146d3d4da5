"""The trainer, its optimiser and checkpoints; it knows of tasks, not of transducers."""
