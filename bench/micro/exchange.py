"""What one signed delivery costs inside the process: everything but the kernel and the loop.

    .venv/bench/python/bin/python -m bench.micro.exchange [--profile]

A GitHub push of 8 KiB with 14 fields goes through a real ``ClientConnection``, the exchange, the pool and a real
``UpstreamConnection``; the transports are stubs and the log line is made but not written. One at a time, and 16 at
once, which are taken stage by stage. Figures are medians in µs.
"""

from __future__ import annotations

import asyncio
import cProfile
import hashlib
import hmac
import pstats
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.interpreter import Interpreter
from bench.micro.timing import QUICK, few
from proxy.config.load import load
from proxy.core.addresses import Peer
from proxy.core.metrics import Metrics
from proxy.core.record import ExchangeRecord
from proxy.net.client import ClientConnection
from proxy.net.log_formats import JsonLines
from proxy.net.site import Site
from proxy.net.upstream import UpstreamConnection

SECRET = b"It's a Secret to Everybody"
BODY = b'{"a":12}' * 1024
ROUNDS, EXCHANGES = few(15), few(900, 10)


class Transport:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.other_end: socket.socket | None = None

    def write(self, data: bytes) -> None:
        self.out.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.out.extend(pieces)

    def set_write_buffer_limits(self, **_: int) -> None:
        pass

    def set_protocol(self, _: asyncio.BaseProtocol) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None:
        return None

    def abort(self) -> None:
        pass


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
    client.connection_made(ends[0])
    ours, ends[1].other_end = socket.socketpair()  # the kernel is asked whether it has ended
    upstream = UpstreamConnection(site.policy.routes[0].upstream[0], site.pool, ours)
    upstream.connection_made(ends[1])  # type: ignore[arg-type]
    site.pool.released(upstream)
    return client, upstream, ends


class Crowd:
    """So many senders, who send at once and are answered at once."""

    def __init__(self, site: Site, count: int) -> None:
        self._turn: Any = site.turn
        self._stages = [stage(site) for _ in range(count)]
        self._push = request()

    def deliver(self) -> None:
        for client, _, _ in self._stages:
            client.data_received(self._push)
        self._turn._run()  # noqa: SLF001 - the loop's part
        for _, upstream, _ in self._stages:
            upstream.data_received(ANSWER)
        self._turn._run()  # noqa: SLF001

    def rest(self) -> None:
        for client, _, ends in self._stages:
            client._judge.served = 0  # noqa: SLF001 - a connection ends after so many requests
            for end in ends:
                end.out.clear()

    def cost_us(self) -> float:
        """CPU of one exchange."""
        began = time.process_time()
        for _ in range(EXCHANGES // len(self._stages)):
            self.deliver()
        spent = time.process_time() - began
        self.rest()
        return spent / (EXCHANGES // len(self._stages) * len(self._stages)) * 1e6


async def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_bytes(SECRET)
        flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--path", "/hook"]
        policy = load([*flags, "--provider", "github", "--secret-file", str(secret)], {}).policy
    log = Log()
    loop = asyncio.get_running_loop()
    crowds: list[Any] = []
    for count in (1, 2) if QUICK else (1, 16):
        site = Site(loop=loop, policy=policy, log=log, metrics=Metrics(), instance="bench")
        crowds.append((count, Crowd(site, count), []))
    for _ in range(ROUNDS):
        for _, crowd, figures in crowds:
            figures.append(crowd.cost_us())
    print(f"Python: {Interpreter(Path(sys.executable))}")
    for count, _, figures in crowds:
        spread = f"({min(figures):.1f} to {max(figures):.1f})"
        print(f"one exchange, {count} at once: {statistics.median(figures):.1f} µs {spread}")
    assert log.lines
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(crowds[0][1].cost_us)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    asyncio.run(main())
