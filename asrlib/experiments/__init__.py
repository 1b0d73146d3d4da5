"""What was trained and decoded: run directories, training logs, and what may be compared."""
