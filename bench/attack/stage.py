"""hookward and an application behind it, for the time of an attack, and what a genuine delivery is."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Self

SECRET = b"bench-secret-not-secret"
#: hookward has one core, everything else the other.
GUARD_CORE, OTHER_CORE = "0", "1"
START_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TASKSET = shutil.which("taskset")
CONTENT = b'{"ref":"refs/heads/main","pad":"' + b"x" * 8150 + b'"}'


def raise_limit() -> None:
    """As many descriptors as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def head(*lines: str, path: str = "/hooks/github", content: bytes = CONTENT, secret: bytes = SECRET) -> bytes:
    """A delivery's head without its framing, which ``lines`` give."""
    signature = hmac.new(secret, content, hashlib.sha256).hexdigest()
    fields = [
        f"POST {path} HTTP/1.1",
        "Host: hooks.example.com",
        "User-Agent: GitHub-Hookshot/044aadd",
        "Content-Type: application/json",
        "X-GitHub-Event: push",
        "X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958",
        f"X-Hub-Signature-256: sha256={signature}",
    ]
    return "\r\n".join([*fields, *lines]).encode() + b"\r\n\r\n"


def delivery(content: bytes = CONTENT, path: str = "/hooks/github") -> bytes:
    """A genuine delivery of 8 KiB."""
    return head(f"Content-Length: {len(content)}", path=path, content=content) + content


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def pinned(command: Sequence[str], core: str) -> list[str]:
    """The command on one core, where the machine lets us choose."""
    if TASKSET is None or (os.cpu_count() or 1) < 2:
        return list(command)
    return [TASKSET, "-c", core, *command]


class Program:
    """A server, from its first accepted connection to the end of the block."""

    def __init__(self, command: Sequence[str], port: int, core: str, errors: Path) -> None:
        with errors.open("wb") as out:
            self._process = subprocess.Popen(
                pinned(command, core), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out
            )
        deadline = monotonic() + START_S
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            if monotonic() > deadline or self._process.poll() is not None:
                self._process.kill()
                raise SystemExit(f"{command} did not start:\n{errors.read_text()}")
            sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    @property
    def peak_mib(self) -> float:
        """The highest resident memory so far."""
        return self._status("VmHWM") / 1024

    @property
    def memory_mib(self) -> float:
        """The resident memory now."""
        return self._status("VmRSS") / 1024

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


@dataclass
class Stage:
    """What runs."""

    guard: Program
    port: int
    origin_port: int

    def reached(self) -> int:
        """How many complete requests the application has had."""
        connection = http.client.HTTPConnection("127.0.0.1", self.origin_port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/count")
            return int(connection.getresponse().read().split()[0])

    def deliver(self, timeout_s: float = 10.0) -> int:
        """One genuine delivery on a connection of its own; its status, 0 where there is none."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout_s) as sock:
            sock.sendall(delivery())
            return int(sock.recv(65536).split(b" ", 2)[1])
        return 0


@contextlib.contextmanager
def staged(limits: str, *, body: str = "tail", allow: str = "127.0.0.1") -> Iterator[Stage]:
    """hookward with these ``[limits]``, a route for listed addresses and one for everybody, and the application."""
    raise_limit()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Path(folder)
        secret, config = place / "secret", place / "hookward.toml"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        port, origin_port = free_port(), free_port()
        config.write_text(
            f"""
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{origin_port}"
access_log = "off"
[limits]
{limits}
[route.github]
path = "/hooks/github"
provider = "github"
secrets = ["file:{secret}"]
allow = ["{allow}"]
body = "{body}"
[route.guest]
path = "/hooks/guest"
provider = "github"
secrets = ["file:{secret}"]
body = "{body}"
"""
        )
        origin = [sys.executable, "-m", "bench.load.origin", "--port", str(origin_port)]
        stack.enter_context(Program(origin, origin_port, OTHER_CORE, place / "origin.log"))
        command = [sys.executable, "-m", "proxy", "--config", str(config)]
        guard = stack.enter_context(Program(command, port, GUARD_CORE, place / "hookward.log"))
        yield Stage(guard, port, origin_port)
