"""Show what jobs write to their logs, as they write it."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm


class LogFollower:
    """Prints the new lines of a job's log, each with the job's name before it.

    Args:
        name: of the job.
        log: file that the job appends to; it need not exist yet.
    """

    def __init__(self, name: str, log: Path) -> None:
        self._name, self._log = name, log
        self._read = 0  # bytes

    def show(self, ended: bool = False) -> None:
        """Print the complete lines since the last call, and at the end the rest."""
        try:
            with open(self._log, "rb") as f:
                f.seek(self._read)
                text = f.read()
        except FileNotFoundError:
            return
        if not ended:
            text = text[: text.rfind(b"\n") + 1]
        self._read += len(text)
        for line in text.decode(errors="replace").splitlines():
            tqdm.write(f"{self._name}: {line}")
