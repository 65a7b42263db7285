"""An application that closes connections which were idle for 50 ms, and deliveries that come at that very moment.

What is sent as the application closes cannot be known to be lost, and is answered 502; what is sent after the end has
come can, and must not be. So the figure is how many of those around the moment are lost where nobody says anything;
with a word of the application (``Keep-Alive: timeout=1``) or of the operator it must be none.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from bench.attack.stage import GUARD_CORE, SECRET, delivery, free_port, pinned

IDLE_S = 0.05
#: Deliveries come so long before or after the moment, at most.
AROUND_S = 0.002
START_S = 20.0
CONFIG = """
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{upstream}"
upstream_idle_timeout = "{idle_timeout}"
access_log = "off"
[route.github]
path = "/hooks/github"
provider = "github"
secrets = ["file:{secret}"]
"""
#: What the application says about it, and what hookward is told.
CASES = (
    ("nobody says anything", b"", "4s"),
    ("Keep-Alive: timeout=1", b"Keep-Alive: timeout=1\r\n", "4s"),
    ('upstream_idle_timeout = "40ms"', b"", "40ms"),
)


class Application(asyncio.Protocol):
    """Answers each read that ends a delivery, and closes when it has heard nothing for ``IDLE_S``."""

    connections = 0
    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        Application.connections += 1
        self._transport = transport
        self._heard = 0
        self._timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._heard += len(data)
        if data.endswith(b'"}'):
            self._transport.write(self.answer)
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._transport.close)


@contextmanager
def guarded(upstream: int, idle_timeout: str) -> Iterator[int]:
    """hookward before the application at the port ``upstream``; its own port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hookward-idle-") as folder:
        secret, config = Path(folder) / "secret", Path(folder) / "hookward.toml"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        config.write_text(CONFIG.format(port=port, upstream=upstream, idle_timeout=idle_timeout, secret=secret))
        command = pinned([sys.executable, "-m", "proxy", "--config", str(config)], GUARD_CORE)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


async def measure(port: int, upstream: int, count: int) -> int:
    """How many of ``count`` are lost, each sent around the moment in which the connection of the one before closes."""
    Application.connections = 0
    app = await asyncio.get_running_loop().create_server(Application, "127.0.0.1", upstream)
    try:
        return await deliver(port, count)
    finally:
        app.close()


async def deliver(port: int, count: int) -> int:
    """How many of them were not answered 200."""
    reader, writer = await connected(port)
    data, lost = delivery(), 0
    for _ in range(count):
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        answered = perf_counter()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        lost += not head.startswith(b"HTTP/1.1 200")
        due = answered + IDLE_S + random.uniform(-AROUND_S, AROUND_S)
        await asyncio.sleep(max(0.0, due - perf_counter()))
    writer.close()
    return lost


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to hookward, once it listens."""
    until = perf_counter() + START_S
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            if perf_counter() > until:
                raise
            await asyncio.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.attack.idle", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="deliveries of each kind")
    count = parser.parse_args(argv).count
    known = 0
    for name, extra, idle_timeout in CASES:
        Application.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + extra + b"\r\nok"
        upstream = free_port()
        with guarded(upstream, idle_timeout) as port:
            lost = asyncio.run(measure(port, upstream, count))
        print(f"{name:32} lost {lost:3} of {count}, {Application.connections} connections")
        known += lost if name != CASES[0][0] else 0
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
