"""Closed-loop load: each connection sends, waits for its answer, sends again. wrk, else a client of our own.

Ours is slower than what it measures: with it only CPU compares. The output says which one it was.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from bench.load import delivery
from bench.load.process import FailedError, pinned

WRK = shutil.which("wrk")
Figures = dict[str, float]
ANSWER_S = 10

SCRIPT = """local deliveries, last = {%s}, 0
request = function()
    last = last %% #deliveries + 1
    return deliveries[last]
end
done = function(summary, latency, requests)
    io.write(string.format('{"requests": %%d, "duration_us": %%d, "refused": %%d, "socket_errors": %%d, '
        .. '"p50_us": %%d, "p99_us": %%d, "p999_us": %%d}\\n',
        summary.requests, summary.duration, summary.errors.status,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


def wrk_script(deliveries: list[bytes]) -> str:
    """The deliveries in Lua, one after the other."""
    return SCRIPT % ",\n".join(json.dumps(one.decode()) for one in deliveries)


def closed_loop(
    port: int,
    connections: int,
    seconds: float,
    folder: Path,
    *,
    tls: bool = False,
    close: bool = False,
    secret: bytes = delivery.SECRET,
    cores: str = "",
    own: bool = False,
) -> Figures:
    """Send for ``seconds``; requests, duration_us, refused (status 400 and up), socket_errors, p50_us, p99_us, …"""
    deliveries = delivery.several(secret=secret, close=close)
    if WRK is None or own:
        return uvloop.run(drive(port, connections, seconds, deliveries, tls=tls, close=close))
    script = folder / "push.lua"
    script.write_text(wrk_script(deliveries))
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}{delivery.PATH}"
    whole = max(1, round(seconds))  # wrk knows whole seconds only
    command = [WRK, "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", f"{ANSWER_S}s", "-s", str(script), url]
    try:
        done = subprocess.run(pinned(command, cores), capture_output=True, text=True, timeout=whole + 30, check=True)
    except subprocess.SubprocessError as error:
        raise FailedError(f"wrk: {error}") from error
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Sender(asyncio.Protocol):
    """Sends the same request again and again, and times each."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        session = transport.get_extra_info("ssl_object")
        self._load.resumed += session is not None and session.session_reused
        self._send()

    def _send(self) -> None:
        self._started = perf_counter()
        self._transport.write(next(self._load.deliveries))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, content = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not mark or len(content) < int(length or 0):
            return
        self._load.times_us.append((perf_counter() - self._started) * 1e6)
        self._load.refused += not head.startswith(b"HTTP/1.1 2")
        self._buffer = b""
        if self._load.close or b"\r\nconnection: close" in head.lower():
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.again()


class Load:
    """All connections of the client of our own; one that ends is replaced until the time is over."""

    def __init__(self, port: int, deliveries: list[bytes], context: ssl.SSLContext | None, *, close: bool) -> None:
        self.deliveries = cycle(deliveries)
        self.close = close
        self.times_us: list[float] = []
        self.refused = 0
        self.errors = 0
        self.resumed = 0
        self.over = False
        self._port = port
        self._context = context
        self._dials: set[asyncio.Task[None]] = set()

    def again(self) -> None:
        if not self.over:
            dial = asyncio.get_running_loop().create_task(self._dial())
            self._dials.add(dial)
            dial.add_done_callback(self._dials.discard)

    async def _dial(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: Sender(self), "127.0.0.1", self._port, ssl=self._context)
        except OSError:
            self.errors += 1


def unverified() -> ssl.SSLContext:
    """A client's context that takes any certificate, as wrk does. It speaks TLS 1.3 alone: a handshake of 1.2 is less
    work, and a peer that knows no other would not compare.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def drive(
    port: int, connections: int, seconds: float, deliveries: list[bytes], *, tls: bool, close: bool
) -> Figures:
    """The load of our own client."""
    load = Load(port, deliveries, unverified() if tls else None, close=close)
    started = perf_counter()
    for _ in range(connections):
        load.again()
    await asyncio.sleep(seconds)
    load.over = True
    taken = perf_counter() - started
    if not load.times_us:
        raise FailedError("no answer under load")
    if load.resumed:
        raise FailedError(f"{load.resumed} handshakes were not full ones")
    times = sorted(load.times_us)
    marks = (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))
    return {
        "requests": len(times),
        "duration_us": taken * 1e6,
        "refused": load.refused,
        "socket_errors": load.errors,
        **{name: times[int(len(times) * share)] for name, share in marks},
    }
