"""The trainer with its optimiser and checkpoints. It trains any `Task`; transducers are one."""
