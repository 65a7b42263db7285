"""The sender of a proof: signs deliveries at a rate, sends each once, and notes in a ledger what it was told.

A line of the ledger is one delivery: its id, the status (0: no answer, or nothing to connect to), SHA-256 of the
content, path, ``X-Request-Id``. It never sends one again, so that whatever arrives twice is hookward's doing. SIGTERM
ends it once all that is out has been answered, and so does --count.

    python -m bench.queue.sender --port 8080 --ledger FILE --rate 150
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
import random
import signal
import ssl
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import uvloop

from bench.load.delivery import SECRET

PATIENCE_S = 10.0
#: Deliveries that are out at once. While there is nothing to connect to they wait, and come all together.
MOST_OUT = 64
AGAIN_S = 0.02
#: Bodies in the database, bodies that become files, and bodies that were spilled before.
SIZES = ((0.9, 200, 4_000), (0.07, 60_000, 70_000), (0.03, 200_000, 400_000))
AGENT = "GitHub-Hookshot/044aadd"


def content(name: str, generator: random.Random) -> bytes:
    """A body that no other is like."""
    [(_, least, most)] = generator.choices(SIZES, [share for share, *_ in SIZES])
    pad = generator.randbytes(generator.randint(least, most) // 2).hex()
    return f'{{"name":"{name}","pad":"{pad}"}}'.encode()


def delivery(name: str, path: str, body: bytes) -> bytes:
    """The signed request."""
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return (
        f"POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: {AGENT}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nX-GitHub-Event: push\r\n"
        f"X-GitHub-Delivery: {name}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n"
    ).encode() + body


class Sender:
    """Sends to ``port``, to one of ``paths`` each; over TLS where there is a context for it."""

    def __init__(
        self, port: int, ledger: Path, paths: Sequence[str], seed: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._port = port
        self._tls = tls
        self._paths = paths
        self._generator = random.Random(seed)
        self._prefix = f"{seed:x}"
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self, rate: float, most: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in count():
            if self._stopping or number == most:
                break
            name = f"{self._prefix}-{number}"
            task = loop.create_task(self._deliver(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # What a busy machine delayed is caught up with, but no more than the last second of it.
            due = max(due, loop.time() - 1.0) + self._generator.expovariate(rate)
            await asyncio.sleep(max(0.0, due - loop.time()))
            if len(self._tasks) >= MOST_OUT:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.close()

    async def _deliver(self, name: str) -> None:
        await self.deliver(name, self._generator.choice(self._paths), content(name, self._generator))

    async def close(self) -> None:
        """Close the connections that are kept."""
        for _, writer in self._idle:
            writer.close()
        for _, writer in self._idle:
            with suppress(OSError):
                await writer.wait_closed()
        os.close(self._ledger)

    async def deliver(self, name: str, path: str, body: bytes, patience_s: float = PATIENCE_S) -> int:
        """Send one, and note it; the status."""
        status, mark = 0, "-"
        try:
            async with asyncio.timeout(patience_s):
                status, mark = await self._send(delivery(name, path, body))
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        os.write(self._ledger, f"{name} {status} {hashlib.sha256(body).hexdigest()} {path} {mark}\n".encode())
        return status

    async def _send(self, data: bytes) -> tuple[int, str]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                break
            writer.close()  # it was idle for too long
        else:
            reader, writer = await self._connect()
        try:
            writer.write(data)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or b"0"))
        except BaseException:
            writer.close()
            raise
        if b"\r\nconnection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ")[1]), head.partition(b"x-request-id: ")[2].partition(b"\r")[0].decode() or "-"

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
            except ConnectionRefusedError:  # nothing of it has been sent
                await asyncio.sleep(AGAIN_S)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.sender")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--count", type=int, default=-1, metavar="DELIVERIES")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--paths", nargs="+", default=["/queue", "/fallback", "/ambiguous"])
    options = parser.parse_args()
    sender = Sender(options.port, options.ledger, options.paths, options.seed)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sender.stop)
    await sender.run(options.rate, options.count)


if __name__ == "__main__":
    uvloop.run(main())
