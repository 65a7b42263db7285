"""The load: wrk where it is installed, else a client of our own (which is the bottleneck, and says so)."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from bench.load import workload
from bench.load.process import pinned

WRK = shutil.which("wrk")
Figures = dict[str, Any]


def load(port: int, connections: int, seconds: float, core: int | None, folder: Path) -> Figures:
    """Send for ``seconds`` on ``connections`` connections; requests, duration_us, bad, socket_errors, p50_us, …"""
    if WRK is not None:
        script = folder / "push.lua"
        script.write_text(workload.wrk_script(workload.body()))
        url = f"http://127.0.0.1:{port}/hooks/github"
        command = [WRK, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(script), url]
    else:
        command = [sys.executable, "-m", "bench.load.client", str(port), str(connections), str(seconds)]
    done = subprocess.run(pinned(command, core), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Sender(asyncio.Protocol):
    """Sends the same request again and again, and times each."""

    def __init__(self, data: bytes, times_us: list[float]) -> None:
        self._data = data
        self._times = times_us
        self._buffer = b""
        self.bad = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._started = perf_counter()
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, content = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if mark and (length == b"" or len(content) >= int(length)):
            self.bad += not head.startswith(b"HTTP/1.1 200")
            self._buffer = b""
            self._times.append((perf_counter() - self._started) * 1e6)
            self._send()


async def drive(port: int, connections: int, seconds: float) -> Figures:
    """The fallback's load."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    data = workload.request(workload.body())
    started = perf_counter()
    made = [await loop.create_connection(lambda: Sender(data, times), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(seconds)
    taken = perf_counter() - started
    for transport, _ in made:
        transport.abort()
    times.sort()
    return {
        "requests": len(times),
        "duration_us": taken * 1e6,
        "bad": sum(sender.bad for _, sender in made),
        "socket_errors": 0,
        **{
            name: times[int(len(times) * share)]
            for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args(argv)
    print(json.dumps(uvloop.run(drive(options.port, options.connections, options.seconds))))


if __name__ == "__main__":
    main()
