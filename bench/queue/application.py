"""The application of a proof: notes each whole request in a ledger, then answers; some it fails, as applications do.

A line of the ledger is what arrived: delivery, ``Webhook-Attempt`` ("-": none, it came directly), SHA-256 of the
content, path, time (nanoseconds since the epoch). It is written before the answer is. Some requests are answered 503
and not noted; some are noted and get no answer, so that they have to come again. SIGUSR1 makes it a good application.

    python -m bench.queue.application --port 8000 --ledger FILE
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import signal
from pathlib import Path
from time import time_ns

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Application:
    """Serves connections. ``faults`` is the share of requests that it fails in each of two ways."""

    def __init__(self, ledger: Path, faults: float) -> None:
        self.faults = faults
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def heal(self) -> None:
        self.faults = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other end leaves, or we do
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        if random.random() < self.faults:
            writer.write(AWAY)
            return True
        name = fields.get(b"x-github-delivery", b"-").decode()
        attempt = fields.get(b"webhook-attempt", b"-").decode()
        digest = hashlib.sha256(body).hexdigest()
        path = head.split(b" ")[1].decode()
        os.write(self._ledger, f"{name} {attempt} {digest} {path} {time_ns()}\n".encode())
        if random.random() < self.faults:
            return False
        if random.random() < self.faults:
            await asyncio.sleep(random.random() / 5)
        writer.write(OK)
        return True


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.application")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--faults", type=float, default=0.0)
    options = parser.parse_args()
    application = Application(options.ledger, options.faults)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, application.heal)
    server = await asyncio.start_server(application.serve, "127.0.0.1", options.port, backlog=1024, limit=1 << 22)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
