"""The application behind the proxies: reads whole requests on uvloop, answers 200 and counts. Made to cost little.

It knows Content-Length and chunked, keeps connections alive, and with ``--rate`` reads each connection no faster than
so many bytes per second. ``GET /count`` answers how many requests were complete.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any

import uvloop

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CHUNK = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")


class Count:
    """Complete requests and content bytes so far."""

    requests = 0
    content_bytes = 0


class Connection(asyncio.Protocol):
    """Serves one connection; ``_missing`` bytes of the present body are to come, None between messages."""

    def __init__(self, count: Count, rate: int) -> None:
        self._count = count
        self._rate = rate
        self._buffer = b""
        self._missing: int | None = None
        self._chunked = False
        self._first = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if self._rate:
            self._transport.pause_reading()
            self._loop.call_later(len(data) / self._rate, self._transport.resume_reading)
        self._buffer += data
        while self._step():
            pass

    def _step(self) -> bool:
        """Take one piece off the buffer; False where more must come."""
        if self._missing is None:
            return self._head()
        taken = min(self._missing, len(self._buffer))
        self._missing -= taken
        self._count.content_bytes += taken
        self._buffer = self._buffer[taken:]
        if self._missing:
            return False
        return self._next_chunk() if self._chunked else self._complete()

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        self._first = head[:20]
        self._chunked = CHUNKED.search(head) is not None
        length = LENGTH.search(head)
        self._missing = int(length[1]) if length else 0
        return True

    def _next_chunk(self) -> bool:
        at = 2 if self._buffer.startswith(b"\r\n") else 0
        line = CHUNK.match(self._buffer, at)
        if line is None:
            return False
        size = int(line[1], 16)
        if size == 0:
            if len(self._buffer) < line.end() + 2:
                return False
            self._buffer = self._buffer[line.end() + 2 :]
            return self._complete()
        self._buffer = self._buffer[line.end() :]
        self._missing = size
        return True

    def _complete(self) -> bool:
        self._missing = None
        if self._first.startswith(b"GET /count"):
            text = b"%d %d\n" % (self._count.requests, self._count.content_bytes)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        else:
            self._count.requests += 1
            self._transport.write(OK)
        return bool(self._buffer)


async def serve(port: int, rate: int) -> None:
    count = Count()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(count, rate), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=int, default=0, help="bytes per second and connection; 0: as fast as it comes")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.rate))


if __name__ == "__main__":
    main()
