"""The application behind the proxies: reads whole requests on uvloop, answers 200 and counts. Made to cost little.

It knows Content-Length and chunked, keeps connections alive, and with ``--rate`` reads each connection no faster than
so many bytes per second. A request that comes whole in one read is answered at once, without state. The answer to one
that did not tells when it was complete, in nanoseconds of the monotonic clock, which all processes of a machine share.
``GET /count`` answers how many requests were complete and how many bytes of content they had.

All connections read into one buffer: a read is used up before the loop makes the next.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from time import monotonic_ns
from typing import Any

import uvloop

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
AT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{"at": %18d}'
END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
QUICK_LENGTH = re.compile(rb"ength: (\d+)\r")  # as all peers write it, and three times as fast to find
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CHUNK = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")
BUFFER = bytearray(256 * 1024)
VIEW = memoryview(BUFFER)


class Count:
    """Complete requests and content bytes so far."""

    requests = 0
    content_bytes = 0


class Connection(asyncio.BufferedProtocol):
    """Serves one connection; ``_missing`` bytes of the present body are to come, None between messages."""

    def __init__(self, count: Count, rate: int) -> None:
        self._count = count
        self._rate = rate
        self._rest = b""
        self._at = 0  # how far ``_rest`` is used up
        self._missing: int | None = None
        self._chunked = False
        self._first = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def get_buffer(self, sizehint: int) -> memoryview:
        return VIEW

    def buffer_updated(self, size: int) -> None:
        if self._rate:
            self._transport.pause_reading()
            self._loop.call_later(size / self._rate, self._transport.resume_reading)
        if self._missing is None:
            if not self._rest and self._whole(size):
                return
        elif size < self._missing:
            self._missing -= size
            self._count.content_bytes += size
            return
        self._rest += VIEW[:size]
        self._at = 0
        while self._step():
            pass
        self._rest = self._rest[self._at :]

    def _whole(self, size: int) -> bool:
        """Answer the request if it is one, and no more, and has the usual form."""
        end = BUFFER.find(END, 0, size)
        length = QUICK_LENGTH.search(BUFFER, 0, end + 2) if end > 0 else None
        if length is None or not BUFFER.startswith(b"POST "):
            return False
        content = int(length[1])
        if end + 4 + content != size:
            return False
        self._count.requests += 1
        self._count.content_bytes += content
        self._transport.write(OK)
        return True

    def _step(self) -> bool:
        """Take one piece off the buffer; False where more must come."""
        if self._missing is None:
            return self._head()
        taken = min(self._missing, len(self._rest) - self._at)
        self._missing -= taken
        self._count.content_bytes += taken
        self._at += taken
        if self._missing:
            return False
        return self._next_chunk() if self._chunked else self._complete()

    def _head(self) -> bool:
        end = self._rest.find(END, self._at)
        if end < 0:
            return False
        head = self._rest[self._at : end]
        self._at = end + 4
        self._first = head[:20]
        self._chunked = CHUNKED.search(head) is not None
        length = LENGTH.search(head)
        self._missing = int(length[1]) if length else 0
        return True

    def _next_chunk(self) -> bool:
        at = self._at + (2 if self._rest.startswith(b"\r\n", self._at) else 0)
        line = CHUNK.match(self._rest, at)
        if line is None:
            return False
        size = int(line[1], 16)
        if size == 0:
            if len(self._rest) < line.end() + 2:
                return False
            self._at = line.end() + 2
            return self._complete()
        self._at = line.end()
        self._missing = size
        return True

    def _complete(self) -> bool:
        self._missing = None
        if self._first.startswith(b"GET /count"):
            text = b"%d %d\n" % (self._count.requests, self._count.content_bytes)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        else:
            self._count.requests += 1
            self._transport.write(AT % monotonic_ns())
        return self._at < len(self._rest)


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
