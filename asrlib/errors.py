"""Errors for the user, which say what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """An error in the input, the configuration or the environment, which the user can fix.

    Args:
        what: what is wrong: the file, key or id, and the reason.
        fix: what the user can do about it, as an imperative sentence.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n  fix: {fix}")
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (self.what, self.fix)  # pickled when a job returns its error


class ConfigError(UserError):
    """A configuration key that is unknown or missing or has a wrong value."""


class DataError(UserError):
    """Audio, a manifest or a transcript that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is corrupt, too old, or for another model."""


def first_few(values: Sequence[str], limit: int = 5, separator: str = ", ") -> str:
    """List the first values, and how many there are if there are more."""
    some = separator.join(values[:limit])
    return some if len(values) <= limit else f"{some}{separator}... ({len(values)} in all)"
