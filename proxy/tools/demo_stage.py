"""The stage of the demo: a small application that remembers what reached it, and hookward in front of it.

hookward runs as a user would run it, ``python -m proxy`` with flags and a secret in a file; the application is the
standard library's server on a thread. Both listen on loopback, on ports that the kernel chose.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from proxy.net.private import PrivateError, ask_all, find
from proxy.values import frozen

PATH = "/hooks/github"
#: A start takes a second on a slow machine; the rest is for busy ones.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

_LISTENING = re.compile(r"listening on (?:http://)?127\.0\.0\.1:(\d+)")
_CONSOLE = re.compile(r"listening on 127\.0\.0\.1:(\d+) \(the console")


class StageError(Exception):
    """hookward did not start; the text is what it said."""


@frozen
class Seen:
    """A request as the application saw it."""

    method: str
    target: str
    size: int
    verified: str  # the value of Webhook-Verified


class Application:
    """The application: it answers every request with thanks, and remembers it."""

    def __init__(self) -> None:
        self.seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(size)
                seen.put(Seen(self.command, self.path, size, self.headers.get("Webhook-Verified", "")))
                content = b"thank you\n"
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Say nothing; the demo tells what was seen."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        except OSError as error:
            why = f"the demonstration needs 127.0.0.1, where nothing can listen here: {error.strerror}"
            raise StageError(f"{why}; hookward itself does not") from None
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_TIMEOUT_S)


class Guard:
    """hookward in a process of its own. ``lines`` are its log's lines, parsed."""

    def __init__(self, upstream_port: int, secret_file: Path) -> None:
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.argv = [
            *(sys.executable, "-m", "proxy"),
            *("--listen", "127.0.0.1:0", "--upstream", f"http://127.0.0.1:{upstream_port}"),
            *("--path", PATH, "--provider", "github", "--secret-file", str(secret_file), "--allow", "127.0.0.1"),
            *("--console", "127.0.0.1:0", "--state-dir", str(secret_file.parent)),
        ]
        self._folder = str(secret_file.parent)
        self._said: list[str] = []
        self._ready = threading.Event()
        self.port = self.console_port = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and flags
            [*self.argv, "--log-format", "json", "--drain", "1s"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            # Ctrl-C is for the demo, which then ends hookward itself.
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=self._read_log, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_banner, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._ready.wait(START_TIMEOUT_S)
        if not self.port:
            self.close()
            raise StageError("\n".join(self._said))

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def console_link(self) -> str:
        """A link that lets a browser into the console, once; "" where none can be had."""
        ends = find([self._folder], self._process.pid)
        with contextlib.suppress(PrivateError):
            for answer in asyncio.run(ask_all(ends, "POST", "/console/link", {"scope": "act"})):
                return f"http://127.0.0.1:{self.console_port}/enter?link={answer['token']}"
        return ""

    def _read_log(self, stream: IO[str]) -> None:
        for line in stream:
            with contextlib.suppress(ValueError):
                self.lines.put(json.loads(line))

    def _read_banner(self, stream: IO[str]) -> None:
        for line in stream:
            self._said.append(line.rstrip("\n"))
            if not self.port and (found := _LISTENING.search(line)):
                self.port = int(found[1])
            if found := _CONSOLE.search(line):
                self.console_port = int(found[1])
                self._ready.set()
        self._ready.set()

    def close(self) -> None:
        """End it, by force if it does not end by itself."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def stage(secret_file: Path) -> Iterator[tuple[Application, Guard]]:
    """Both, running. Raises StageError where hookward does not start."""
    try:
        application = Application()
    except OSError as error:
        raise StageError(f"this host has no 127.0.0.1 to listen on ({error.strerror}), and the demo needs it") from None
    try:
        guard = Guard(application.port, secret_file)
        try:
            yield application, guard
        finally:
            guard.close()
    finally:
        application.close()


def _environment() -> dict[str, str]:
    """Ours, without settings that are meant for another hookward, and with this very package first."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HOOKWARD_") or name == "HOOKWARD_LOOP"
    }
    package = str(Path(__file__).resolve().parents[2])
    earlier = kept.get("PYTHONPATH")
    return {**kept, "PYTHONPATH": f"{package}{os.pathsep}{earlier}" if earlier else package, "PYTHONUNBUFFERED": "1"}
