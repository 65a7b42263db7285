"""What one signed delivery costs inside the process: everything but the kernel and the loop.

    python -m bench.micro.exchange [--profile]

A GitHub push of 8 KiB with 14 fields goes through a real ``ClientConnection``, the exchange, the pool and a real
``UpstreamConnection``; the transports are stubs and the log line is made but not written. Figures are medians in µs.
"""

from __future__ import annotations

import asyncio
import cProfile
import hashlib
import hmac
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.micro.timing import few
from proxy.config.load import load
from proxy.core.addresses import Peer
from proxy.core.metrics import Metrics
from proxy.core.record import ExchangeRecord
from proxy.net.access_log import JsonLines
from proxy.net.client import ClientConnection
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection

SECRET = b"It's a Secret to Everybody"
BODY = b'{"a":12}' * 1024
ROUNDS, EXCHANGES = few(15), few(900, 10)


class Transport:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.out: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.out.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.out.extend(pieces)

    def set_write_buffer_limits(self, **_: int) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None:
        return None


class Sock:
    """Has nothing to read."""

    def recv(self, *_: int) -> bytes:
        raise BlockingIOError


class Log:
    """Makes the line, writes nothing."""

    def __init__(self) -> None:
        self.format = JsonLines()
        self.lines = 0

    def write(self, record: ExchangeRecord) -> None:
        self.format(record)
        self.lines += 1


def request() -> bytes:
    """A push as GitHub sends it."""
    mac = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest().encode()
    return (
        b"POST /hook HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: GitHub-Hookshot/044aadd\r\nAccept: */*\r\n"
        b"Accept-Encoding: gzip\r\nContent-Type: application/json\r\n"
        b"X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\nX-GitHub-Event: push\r\n"
        b"X-GitHub-Hook-ID: 292430182\r\nX-GitHub-Hook-Installation-Target-ID: 79929171\r\n"
        b"X-GitHub-Hook-Installation-Target-Type: repository\r\n"
        b"X-Hub-Signature: sha1=7d38cdd689735b008b3c702edd92eea23791c5f6\r\n"
        b"X-Hub-Signature-256: sha256=%b\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%b"
        % (mac, len(BODY), BODY)
    )


ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Mon, 23 Nov 2026 15:37:43 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n"
)


def stage(site: Site) -> tuple[ClientConnection, UpstreamConnection, list[Transport]]:
    """A sender's connection and an idle one to the upstream."""
    ends: list[Transport] = [Transport(), Transport()]
    client = ClientConnection(site, Peer.of("127.0.0.1"), secure=False, on_close=lambda: None)
    client.connection_made(ends[0])  # type: ignore[arg-type]
    sock: Any = Sock()
    upstream = UpstreamConnection(site.policy.routes[0].upstream[0], site.pool, sock)
    upstream.connection_made(ends[1])  # type: ignore[arg-type]
    site.pool.released(upstream)
    return client, upstream, ends


async def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_bytes(SECRET)
        flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--path", "/hook"]
        policy = load([*flags, "--provider", "github", "--secret-file", str(secret)], {}).policy
    log = Log()
    site = Site(loop=asyncio.get_running_loop(), policy=policy, log=log, metrics=Metrics(), instance="bench")
    client, upstream, ends = stage(site)
    push = request()

    def run(count: int) -> None:
        for _ in range(count):
            client.data_received(push)
            upstream.data_received(ANSWER)
        client._served = 0  # noqa: SLF001 - a connection ends after so many requests
        for end in ends:
            end.out.clear()

    run(10)
    assert log.lines == 10
    figures = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run(EXCHANGES)
        figures.append((time.process_time() - began) / EXCHANGES * 1e6)
    print(f"one exchange: {statistics.median(figures):.1f} µs ({min(figures):.1f} to {max(figures):.1f})")
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(run, EXCHANGES)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    asyncio.run(main())
