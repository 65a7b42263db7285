"""hookward as a user starts it: ``python -m proxy …``, told apart from others by its process id alone.

The log is read from standard output as JSON, the banner from standard error. When it stops, two things are checked that
hold for every test: no traceback, and none of the secrets the test named in anything that was printed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from tests.whole.wire import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening on (?:\w+://)?(\S+?)[,;]?(?=\s|$)")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without HOOKWARD_… names but the choice of the loop, and with ``extra``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HOOKWARD_")}
    if loop := os.environ.get("HOOKWARD_LOOP"):
        kept["HOOKWARD_LOOP"] = loop
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}


class Output:
    """The lines of one stream, read by a thread; waits with a deadline."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self.ended = False
        self._stream = stream
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError):  # so a terminal says that its other end is closed
            for line in self._stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait(self, condition: Callable[[list[str]], Any], timeout_s: float = PATIENCE_S) -> Any:
        """The first true result of ``condition(lines)``, or None when the stream ended or time is over."""
        deadline = monotonic() + timeout_s
        with self._changed:
            while not (result := condition(self.lines)):
                if self.ended or not self._changed.wait(deadline - monotonic()):
                    return condition(self.lines) or None
            return result

    def finish(self) -> None:
        self._thread.join(PATIENCE_S)
        self._stream.close()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Hookward:
    """One running hookward. ``address`` is where it listens first; ``addresses`` are all, as the banner has them."""

    def __init__(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[bytes] = (),
        listeners: int = 1,
        cwd: Path | None = None,
        module: Sequence[str] = ("proxy",),
        prefix: Sequence[str] = (),
        program: Sequence[str] = (),
    ) -> None:
        """``prefix`` is what starts the command in our place, such as prlimit; ``program`` stands for all of it but the
        flags.
        """
        self.secrets = list(secrets)
        command = [*prefix, *(program or [sys.executable, "-m", *module]), *argv]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env=environment(env),
            cwd=cwd or ROOT,
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)
        found = self.err.wait(
            lambda lines: (got := LISTENING.findall("\n".join(lines))) and len(got) >= listeners and got
        )
        if not found:
            self.process.kill()
            self.wait()
            raise AssertionError(f"no ready line from {command}:\n{self.err.text}\n{self.out.text}")
        self.addresses = [self._parse(text) for text in found]
        self.address = self.addresses[0]

    @staticmethod
    def _parse(text: str) -> Any:
        if text.startswith("unix:"):
            return text.removeprefix("unix:")
        host, _, port = text.rstrip("/").rpartition(":")
        host = host.strip("[]")
        return ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.address[1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def log(self) -> list[dict[str, Any]]:
        """Every JSON line of the log so far."""
        return [json.loads(line) for line in self.out.lines if line.startswith("{")]

    def logged(self, wanted: Mapping[str, Any], count: int = 1) -> list[dict[str, Any]]:
        """Wait for ``count`` log lines with these values: ``logged({"webhook.reason": "delivered"})``."""

        def matching(lines: list[str]) -> Any:
            parsed = [json.loads(line) for line in lines if line.startswith("{")]
            hits = [line for line in parsed if all(line.get(key) == value for key, value in wanted.items())]
            return hits if len(hits) >= count else None

        found = self.out.wait(matching)
        assert found, f"no log line with {wanted}; log:\n{self.out.text}\n{self.err.text}"
        return list(found)

    def line_of(self, request_id: bytes | None) -> dict[str, Any]:
        """The line in the log with a request id: that of a refusal, or that which the upstream got."""
        mark = f'"http.request.id":"{(request_id or b"").decode()}"'
        line = self.out.wait(lambda lines: next((line for line in reversed(lines) if mark in line), None))
        assert line, f"no line with {mark}"
        return dict(json.loads(line))

    def said(self, text: str) -> bool:
        """Wait until standard error holds the text."""
        return bool(self.err.wait(lambda lines: text in "\n".join(lines)))

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(timeout_s)
        self.out.finish()
        self.err.finish()
        return code

    def stop(self) -> int:
        """End it (if it still runs), then check what holds for every run; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise AssertionError(f"hookward did not stop:\n{self.err.text}") from None
        printed = self.out.text + self.err.text
        assert "Traceback" not in printed, printed
        for secret in self.secrets:
            assert secret.decode("latin-1") not in printed, "a secret was printed"
        return code
