"""Errors meant for the person at the keyboard: what is wrong, where, and how to mend it."""

from __future__ import annotations


class UserError(Exception):
    """A fault in input, configuration or environment, with the way out of it.

    Args:
        what: names the file or id, and the reason.
        mend: what the user can do about it, one imperative sentence.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}\n  mend: {mend}")
        self.what = what
        self.mend = mend

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (self.what, self.mend)  # so that a job's error reaches its parent


class ConfigError(UserError):
    """An unknown, missing or ill-typed configuration key."""


class DataError(UserError):
    """Audio, a manifest or a transcript that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is corrupt, too old, or of another model."""
