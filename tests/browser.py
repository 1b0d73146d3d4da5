"""A page as headless Chromium shows it, without a network: what it asked for, what it said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")
# Every host name is unknown, so that a page could load nothing even if it asked.
_FLAGS += ("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking")


@dataclass
class Seen:
    """What a page did.

    Attributes:
        requests: addresses that it asked for, its own among them.
        messages: of the console and of errors.
        values: results of the expressions.
    """

    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


class _Pipe:
    """The DevTools protocol over a pair of pipes, which Chromium has as descriptors 3 and 4."""

    def __init__(self, profile: str) -> None:
        read_us, self._write = os.pipe()
        self._read, write_us = os.pipe()
        script = f'exec "$@" 3<&{read_us} 4>&{write_us}'
        command = ("bash", "-c", script, "bash", CHROMIUM or "", *_FLAGS)
        self._process = subprocess.Popen(
            (*command, f"--user-data-dir={profile}", "about:blank"),
            pass_fds=(read_us, write_us),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_us)
        os.close(write_us)
        self._buffer, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait(self, event: str) -> None:
        """Wait until an event has come."""
        while not any(e.get("method") == event for e in self.events):
            self.events.append(self.next())

    def next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            block = os.read(self._read, 1 << 20)
            assert block, "Chromium ended"
            self._buffer += block
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)


def look(page: Path, expressions: tuple[str, ...], width: int = 1280, dark: bool = False) -> Seen:
    """Load a file and evaluate expressions on it.

    Args:
        width: of the window, in CSS pixels; 375 is a phone.
        dark: whether the reader prefers dark pages.
    """
    seen = Seen()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        pipe = _Pipe(profile)
        try:
            target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
            session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Network", "Page", "Runtime", "Log"):
                pipe.call(f"{domain}.enable", session)
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
            pipe.call("Emulation.setDeviceMetricsOverride", session, **size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            pipe.call("Emulation.setEmulatedMedia", session, features=[scheme])
            pipe.events.clear()
            pipe.call("Page.navigate", session, url=page.resolve().as_uri())
            pipe.wait("Page.loadEventFired")
            for expression in expressions:
                result = pipe.call(
                    "Runtime.evaluate", session, expression=expression, returnByValue=True
                )
                seen.values.append(result["result"].get("value"))
            for event in pipe.events:
                _take(event, seen)
        finally:
            pipe.close()
    return seen


def _take(event: dict[str, Any], seen: Seen) -> None:
    params = event.get("params", {})
    if event["method"] == "Network.requestWillBeSent":
        seen.requests.append(params["request"]["url"])
    elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        seen.messages.append(json.dumps(params))
    elif event["method"] == "Log.entryAdded":
        seen.messages.append(params["entry"]["text"])
