"""The small server of our own listeners: requests with content, streams, the table of places, and any bytes at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1 import CONTINUE
from proxy.net import http_server
from proxy.net.http_server import JSON, Answer, Answering, Handler, HttpServer, Paths, Request

Address = tuple[str, int]


def serve(respond: Handler, action: Callable[[HttpServer, Address], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        server = HttpServer(respond, max_content=lambda asked: 200 if asked.head.method == b"PUT" else 100)
        sock = socket.create_server(("127.0.0.1", 0))
        await server.listen(sock)
        try:
            async with asyncio.timeout(20):
                await action(server, sock.getsockname())
        finally:
            server.close()

    asyncio.run(main())


async def ask(address: Address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


def echo(request: Request) -> Answering:
    return Answer(200, JSON, request.content + repr(dict(request.params)).encode())


TABLE = Paths({"GET /a": echo, "POST /a": echo, "POST /a/{id}/do": echo})


@pytest.mark.parametrize(
    ("request_bytes", "status", "content"),
    [
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello{}"),
        (b"POST /a/7%20b/do HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200, b"{'id': '7 b'}"),
        (b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", 200, b""),
        (b"GET /a/7/do HTTP/1.1\r\nHost: x\r\n\r\n", 405, b"method_not_allowed\n"),
        (b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, b"method_not_allowed\n"),
        (b"GET /a/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, b"not_found\n"),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", 413, b"body_too_large\n"),
        (b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + bytes(101), 405, b"method_not_allowed\n"),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411, b"length_required\n"),
    ],
)
def test_the_table_of_places(request_bytes: bytes, status: int, content: bytes) -> None:
    async def action(_server: HttpServer, address: Address) -> None:
        head, _, found = (await ask(address, request_bytes)).partition(b"\r\n\r\n")
        assert (int(head.split()[1]), found) == (status, content)
        if status == 405:
            assert b"\r\nAllow: " in head

    serve(TABLE.respond, action)


def test_content_is_asked_for_where_it_waits_for_that() -> None:
    async def action(_server: HttpServer, address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"o")
        await writer.drain()
        writer.write(b"k")
        assert (await reader.read()).endswith(b"ok{}")
        writer.close()

    serve(TABLE.respond, action)


def test_a_stream_goes_out_as_it_comes_and_ends_with_the_connection() -> None:
    gate = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await gate.wait()
        yield b"second"

    async def action(_server: HttpServer, address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\nfirst")
        assert b"Content-Length" not in head
        gate.set()
        assert await reader.read() == b"second"
        writer.close()

    serve(lambda _request: Answer(200, JSON, stream=pieces()), action)


def test_what_takes_nothing_of_a_stream_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "STALLED_S", 0.05)
    ended = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            ended.set()

    async def action(server: HttpServer, address: Address) -> None:
        _, writer = await asyncio.open_connection(*address, limit=1000)
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server.connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        while server.connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        writer.close()

    serve(lambda _request: Answer(200, JSON, stream=pieces()), action)


def test_an_answer_may_take_longer_than_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.01)

    async def late(_request: Request) -> Answer:
        await asyncio.sleep(0.1)
        return Answer(200, JSON, b"late")

    async def action(_server: HttpServer, address: Address) -> None:
        assert (await ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"late")

    serve(late, action)


@pytest.mark.parametrize("later", [False, True])
def test_what_takes_nothing_of_an_answer_is_cut(monkeypatch: pytest.MonkeyPatch, *, later: bool) -> None:
    monkeypatch.setattr(http_server, "STALLED_S", 0.05)
    answer = Answer(200, JSON, bytes(1 << 26))  # more than the kernel takes

    async def answering() -> Answer:
        return answer

    async def action(server: HttpServer, address: Address) -> None:
        _, writer = await asyncio.open_connection(*address, limit=1000)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server.connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        while server.connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        writer.close()

    serve(lambda _request: answering() if later else answer, action)


def test_a_mistake_of_ours_is_answered_and_told() -> None:
    told = []

    async def broken(_request: Request) -> Answer:
        raise LookupError("ours")

    async def action(_server: HttpServer, address: Address) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        assert (await ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"internal_error\n")

    serve(broken, action)
    assert [type(each) for each in told] == [LookupError]


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.closing = False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return None if name in {"socket", "sslcontext"} else ("127.0.0.1", 1)

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing


PIECES = [
    b"POST ",
    b"GET ",
    b"/a",
    b" HTTP/1.1",
    b"\r\n",
    b"Host: x",
    b"Content-Length: 3",
    b"abc",
    b"\x00",
    b"\r\n\r\n",
]


@given(st.lists(st.binary(max_size=50) | st.sampled_from(PIECES), max_size=12))
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    try:
        connection = http_server.HttpConnection(HttpServer(TABLE.respond, max_content=lambda _: 100), loop)
        transport = Transport()
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
        connection.connection_lost(None)
        assert transport.written.replace(CONTINUE, b"").count(b"HTTP/1.1 ") <= 1
    finally:
        loop.close()
