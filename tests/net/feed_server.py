"""A provider's feed, on loopback: answers by path, with or without TLS, and every request is remembered."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


def answer(content: bytes, *fields: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


class FeedServer:
    """``answers`` are raw bytes by path; what is not there is a 404. ``held`` paths answer only when released."""

    def __init__(self, *, secure: bool) -> None:
        self.answers: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.requests: list[dict[str, str]] = []
        self.silent: set[str] = set()
        self.asked = asyncio.Event()
        self._secure = secure
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, path: str = "/feed", host: str = "localhost") -> str:
        return f"{'https' if self._secure else 'http'}://{host}:{self.port}{path}"

    async def start(self, context: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            path = first.split(" ")[1]
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self.requests.append({"path": path, **fields})
            self.asked.set()
            if path in self.silent:
                await reader.read()
                return
            etag = self.etags.get(path)
            if etag and fields.get("if-none-match") == etag:
                writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            else:
                writer.write(self.answers.get(path, answer(b"no", status="404 Not Found")))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def feed_server(context: ssl.SSLContext | None = None) -> AsyncIterator[FeedServer]:
    server = FeedServer(secure=context is not None)
    await server.start(context)
    try:
        yield server
    finally:
        await server.stop()
