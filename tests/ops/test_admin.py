"""The admin listener over real sockets on loopback, and its Host check."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.net import http_server
from proxy.net.http_server import HttpConnection
from proxy.ops import admin
from proxy.ops.admin import AdminServer


class Worker:
    def __init__(self, **missing: str) -> None:
        self.missing = missing

    def not_ready(self) -> dict[str, str]:
        return self.missing

    async def expose(self) -> bytes:
        return b"hookward_build_info 1\n"

    async def expose_open_metrics(self) -> bytes:
        return b"# EOF\n"

    async def describe(self) -> dict[str, object]:
        return {"generation": 1}


class Silent(Worker):
    async def expose(self) -> bytes:
        raise TimeoutError


class Slow(Worker):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def expose(self) -> bytes:
        self.asked.set()
        await self.gate.wait()
        return b"at last\n"


def serve(
    action: Callable[[AdminServer, tuple[str, int]], Coroutine[None, None, None]], worker: Worker | None = None
) -> None:
    async def main() -> None:
        server = AdminServer(worker or Worker(), frozenset({"admin.example.com"}))
        sock = socket.create_server(("127.0.0.1", 0))
        await server.listen(sock)
        try:
            async with asyncio.timeout(20):
                await action(server, sock.getsockname())
        finally:
            server.close()

    asyncio.run(main())


async def ask(address: tuple[str, int], request: bytes) -> tuple[int, bytes, bytes]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head, content


def get(path: str, host: str = "127.0.0.1:4040", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("request_bytes", "status", "content"),
    [
        (get("/livez"), 200, b"alive\n"),
        (get("/readyz"), 200, b"ready\n"),
        (get("/metrics"), 200, b"hookward_build_info 1\n"),
        (get("/metrics?name=x"), 200, b"hookward_build_info 1\n"),
        (get("/"), 404, b"not_found\n"),
        (get("/livez/"), 404, b"not_found\n"),
        (get("/livez", method="POST"), 405, b"method_not_allowed\n"),
        (get("/livez", host="hooks.example.com"), 403, b"host_refused\n"),
        (b"GET /livez HTTP/1.1\nHost: x\n\n", 400, b"bad_request\n"),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400, b"bad_request\n"),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200, b"alive\n"),
        (b"\x16\x03\x01\x02\x00", 400, b"bad_request\n"),
    ],
    ids=lambda value: value[:30].decode("latin-1").split("\r")[0] if isinstance(value, bytes) else None,
)
def test_pages(request_bytes: bytes, status: int, content: bytes):
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        got_status, head, got = await ask(address, request_bytes)
        assert (got_status, got) == (status, content)
        assert b"Content-Length: %d\r\n" % len(content) in head
        assert b"Connection: close" in head

    serve(action)


def test_an_answer_to_head_has_no_content_but_its_length():
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        status, head, content = await ask(address, get("/livez", method="HEAD"))
        assert (status, content) == (200, b"")
        assert b"Content-Length: 6" in head

    serve(action)


def test_what_is_missing_is_named():
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        status, _, content = await ask(address, get("/readyz"))
        assert (status, content) == (503, b"not ready: draining\nnot ready: every upstream is ejected\n")
        assert (await ask(address, get("/livez")))[0] == 200

    serve(action, Worker(draining="draining", upstream="every upstream is ejected"))


@pytest.mark.parametrize(
    ("query", "status", "content"),
    [
        ("?exclude=upstream", 503, b"not ready: draining\n"),
        ("?exclude=draining", 503, b"not ready: gone\n"),
        ("?exclude=upstream&exclude=draining", 200, b"ready\n"),
        ("?verbose", 503, b"not ready: draining\nnot ready: gone\n"),
        ("?exclude=upstreams", 400, b"exclude knows draining, listener, relay, upstream, queue\n"),
        ("?exclude=upstream&exclude=", 400, b"exclude knows draining, listener, relay, upstream, queue\n"),
    ],
)
def test_a_probe_may_leave_parts_out(query: str, status: int, content: bytes):
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        assert (await ask(address, get(f"/readyz{query}")))[::2] == (status, content)

    serve(action, Worker(draining="draining", upstream="gone"))


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("localhost", 200),
        ("LOCALHOST.:4040", 200),
        ("a.localhost", 200),
        ("127.9.9.9:1", 200),
        ("[::1]:4040", 200),
        ("admin.example.com:4040", 200),
        ("evil.example.com", 403),
        ("localhost.evil.example.com", 403),
        ("192.0.2.1", 403),
        ("[2001:db8::1]", 403),
    ],
)
def test_only_names_of_this_host_are_answered(host: str, wanted: int):
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        status, _, _ = await ask(address, get("/livez", host=host))
        assert status == wanted

    serve(action)


def test_byte_by_byte_is_the_same():
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        for byte in get("/livez"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read()).endswith(b"alive\n")
        writer.close()
        await writer.wait_closed()

    serve(action)


async def ended_without_a_word(address: tuple[str, int], request: bytes) -> bool:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        return await reader.read() == b""
    except ConnectionError:
        return True
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_who_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.01)

    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        assert await ended_without_a_word(address, b"GET /live")

    serve(action)


def test_who_says_nothing_keeps_no_probe_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 4)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = AdminServer(Worker())
        silent = [HttpConnection(server, loop) for _ in range(6)]
        transports = [FakeTransport() for _ in silent]
        for connection, transport in zip(silent, transports, strict=True):
            connection.connection_made(transport)
        assert [transport.closing for transport in transports] == [True, True, False, False, False, False]
        assert list(server.connections) == silent[2:]
        for connection in silent:
            connection.connection_lost(None)
        assert not server.connections

    asyncio.run(run())


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 0)

    async def action(server: AdminServer, address: tuple[str, int]) -> None:
        assert await ended_without_a_word(address, get("/livez"))
        assert not server.connections

    serve(action)


async def test_a_unix_socket_asks_for_no_host(tmp_path: Path):
    server = AdminServer(Worker())
    sock = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "admin.sock")
    sock.bind(path)
    sock.listen()
    await server.listen(sock)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(get("/livez", host="anything.example.com"))
    assert (await reader.read()).endswith(b"alive\n")
    writer.close()
    await writer.wait_closed()
    server.close()


class FakeTransport:
    def __init__(self) -> None:
        self.written = b""
        self.closing = False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("127.0.0.1", 4040)

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing


HEADISH = st.lists(
    st.sampled_from(
        [b"GET ", b"/livez", b" HTTP/1.1", b"\r\n", b"Host: ", b"[::1", b"localhost", b":", b"\x00", b"\r\n\r\n"]
    ),
    max_size=12,
).map(b"".join)


@given(st.binary(max_size=200) | HEADISH)
def test_no_bytes_break_it(data: bytes):
    loop = asyncio.new_event_loop()
    try:
        connection = HttpConnection(AdminServer(Worker()), loop)
        transport = FakeTransport()
        connection.connection_made(transport)
        connection.data_received(data)
        connection.data_received(data)
        connection.connection_lost(None)
        assert transport.written == b"" or transport.written.startswith(b"HTTP/1.1 ")
        assert transport.written.count(b"HTTP/1.1 ") <= 1
    finally:
        loop.close()


def test_workers_that_do_not_answer_are_said():
    async def action(_server: AdminServer, address: tuple[str, int]) -> None:
        status, _, content = await ask(address, get("/metrics"))
        assert (status, content) == (503, b"workers_silent\n")

    serve(action, Silent())


def test_who_asks_while_it_leaves_gets_an_answer_and_nobody_after():
    slow = Slow()

    async def action(server: AdminServer, address: tuple[str, int]) -> None:
        asking = asyncio.get_running_loop().create_task(ask(address, get("/metrics")))
        await slow.asked.wait()
        server.leave()
        with pytest.raises(ConnectionError):
            await ask(address, get("/livez"))
        slow.gate.set()
        assert (await asking)[::2] == (200, b"at last\n")

    serve(action, slow)


def test_a_page_that_nobody_waits_for_is_given_up():
    slow = Slow()

    async def action(server: AdminServer, address: tuple[str, int]) -> None:
        _, writer = await asyncio.open_connection(*address)
        writer.write(get("/metrics"))
        await slow.asked.wait()
        writer.transport.abort()
        while server.connections:  # noqa: ASYNC110 - its end tells nobody
            await asyncio.sleep(0)

    serve(action, slow)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/plain", False),
        (b"application/openmetrics-text", True),
        (b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", True),
        (b"Application/OpenMetrics-Text; q=0.1, text/plain; q=0.5", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text;q=many", False),
    ],
)
def test_the_format_that_is_asked_for(accept: bytes, wanted: bool) -> None:
    assert admin.prefers_open_metrics(accept) is wanted


@given(st.binary(max_size=60))
def test_any_accept_is_judged(accept: bytes) -> None:
    assert admin.prefers_open_metrics(accept) in {True, False}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"http://127.0.0.1:4040", 200),
        (b"http://127.0.0.1:3000", 403),
        (b"https://evil.example", 403),
        (b"null", 403),
        (b"", 403),
    ],
)
def test_a_page_of_another_origin_gets_nothing(origin: bytes, status: int) -> None:
    async def act(_: AdminServer, address: tuple[str, int]) -> None:
        found = await ask(address, get("/status")[:-2] + b"Origin: " + origin + b"\r\n\r\n")
        assert found[0] == status
        assert found[2] == (b'{\n "generation": 1\n}\n' if status == 200 else b"origin_refused\n")

    serve(act)
