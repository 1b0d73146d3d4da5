"""Errors meant for the person at the keyboard: what is wrong, where, and how to fix it."""

from __future__ import annotations


class UserError(Exception):
    """A fault in input, configuration or environment, with the way out of it.

    Args:
        what: names the file or id, and the reason.
        fix: what the user can do about it, one imperative sentence.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n  fix: {fix}")
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (self.what, self.fix)  # so that a job's error reaches its parent


class ConfigError(UserError):
    """An unknown, missing or ill-typed configuration key."""


class DataError(UserError):
    """Audio, a manifest or a transcript that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is corrupt, too old, or of another model."""
