"""Sender, us and upstream on real sockets, in the clear and under TLS, on both loops: what staged transports may hide.

How an end of a connection looks from the other side, who is slowed down by whom, and that nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import pytest

from proxy.core.addresses import Peer
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Endpoint
from proxy.core.record import ExchangeRecord
from proxy.net import flow
from proxy.net.client import ClientConnection
from proxy.net.flow import LARGE_READ_BYTES, Pause
from proxy.net.site import Site
from proxy.net.upstream import WRITE_HIGH_BYTES
from proxy.reasons import Reason
from tests.net.accepting import until
from tests.net.dialogue import OK, forged, policy, request, route, signed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
#: uvloop before 0.22 may tell a reset as an end, in us and in the upstream that this test plays; tests/whole looks with
#: sockets of its own.
TELLS_RESETS = tuple(map(int, version("uvloop").split(".")[:2])) >= (0, 22)
RESET = {"reset"} if TELLS_RESETS else {"reset", "fin"}
GONE = {Reason.SENDER_GONE} if TELLS_RESETS else {Reason.SENDER_GONE, Reason.BAD_REQUEST}
BIG = b"0123456789abcdef" * 200_000  # 3.2 MB


class Service:
    """Us, between a listening port and an upstream that ``serve`` plays."""

    def __init__(self, serve: Serve, tls: ssl.SSLContext | None) -> None:
        self._serve = serve
        self._tls = tls
        self.records: list[ExchangeRecord] = []
        self.seen: list[str] = []  # how connections to the upstream ended

    def write(self, record: ExchangeRecord) -> None:
        self.records.append(record)

    @property
    def reasons(self) -> list[Reason]:
        return [record.reason for record in self.records]

    async def _app(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
            self.seen.append("served")
        except asyncio.IncompleteReadError:
            self.seen.append("fin")
        except ConnectionResetError:
            self.seen.append("reset")
        finally:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        loop = asyncio.get_running_loop()
        app = await asyncio.start_server(self._app, "127.0.0.1", 0)
        end = Endpoint("127.0.0.1", app.sockets[0].getsockname()[1])
        routes = (
            route(b"/hook", upstream=(end,), max_body=1 << 26),
            route(b"/hold", BodyMode.HOLD, upstream=(end,), max_body=1 << 26),
            route(b"/free", BodyMode.FREE, signed=False, upstream=(end,), max_body=1 << 26),
        )
        self.site = Site(loop=loop, policy=policy(*routes), log=self, metrics=Metrics(), instance="real")
        secure = self._tls is not None

        def connection() -> ClientConnection:
            return ClientConnection(self.site, Peer.of("127.0.0.1"), secure=secure, on_close=lambda: None)

        server = await loop.create_server(connection, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
            await until(lambda: not self.site.connections)
        finally:
            server.close()
            app.close()
            for left in list(self.site.connections):
                left.abort()
            await self.site.pool.close()
            self.site.clock.close()
        assert self.site.budget.used == 0
        assert all(state.outstanding == 0 for state in self.site.pool.endpoints)


class Sender:
    """A sender whose socket can be treated badly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[bytes, bytes]:
        """One answer with a length: head and content."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head, await self.reader.readexactly(int(length.partition(b":")[2]))

    async def end(self) -> str:
        """How the connection ends for us."""
        try:
            rest = await self.reader.read()
        except (ConnectionResetError, ssl.SSLError):
            return "reset"
        return f"{len(rest)} bytes, then fin" if rest else "fin"

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@pytest.fixture(params=[False, True], ids=["clear", "tls"])
def secured(request, authority) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    if not request.param:
        return None
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(*authority.write("server", "hooks.example"))
    theirs = ssl.create_default_context()
    authority.ca.configure_trust(theirs)
    return ours, theirs


@pytest.fixture
def converse(run, secured):
    """Run a conversation: ``converse(serve, main)``, where ``main`` is given the service and a way to connect."""

    def one(serve: Serve, main: Callable[[Service, Callable[[], Awaitable[Sender]]], Awaitable[None]]) -> None:
        async def whole() -> None:
            senders: list[Sender] = []
            async with Service(serve, secured[0] if secured else None).running() as service:

                async def connect() -> Sender:
                    options = {"ssl": secured[1], "server_hostname": "hooks.example"} if secured else {}
                    senders.append(Sender(*await asyncio.open_connection("127.0.0.1", service.port, **options)))
                    return senders[-1]

                await main(service, connect)
                for sender in senders:
                    sender.writer.transport.abort()

        run(whole())

    return one


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    lengths = [line for line in lines if line.startswith(b"content-length:")]
    if lengths:
        return head, await reader.readexactly(int(lengths[0].partition(b":")[2]))
    content = b""
    while b"transfer-encoding: chunked" in lines:
        size = int(await reader.readuntil(b"\r\n"), 16)
        content += (await reader.readexactly(size + 2))[:-2]
        if not size:
            break
    return head, content


async def echo_sizes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with the size of its content."""
    while True:
        _, content = await read_request(reader)
        said = b"%d" % len(content)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))


def test_deliveries_of_every_kind(converse) -> None:
    async def main(service: Service, connect) -> None:
        sender = await connect()
        sizes = []
        for body in (b"", b"{}", BIG[:70_000], BIG):
            for path in (b"/hook", b"/hold", b"/free"):
                for chunked in (False, True):
                    sender.say(signed(body, path=path, chunked=chunked))
                    sizes.append(b"%d" % len(body))
        assert [(await sender.answer())[1] for _ in sizes] == sizes
        assert set(service.reasons) == {Reason.DELIVERED}

    converse(echo_sizes, main)


def test_a_refusal_is_not_lost_though_the_sender_writes_on(converse) -> None:
    async def main(service: Service, connect) -> None:
        for data in (
            request(BIG, path=b"/nowhere"),
            request(BIG),
            forged(BIG, chunked=True),
            request(BIG * 2, sign=b""),
            b"nonsense\r\n\r\n" + BIG,
        ):
            sender = await connect()
            sender.say(data)
            head, content = await sender.answer()
            assert head.startswith((b"HTTP/1.1 40", b"HTTP/1.1 413"))
            assert content.endswith(b"\n")
            sender.writer.close()
        assert len(service.records) == 5

    converse(echo_sizes, main)


def test_a_refusal_is_over_for_its_sender_while_the_rest_is_discarded(converse, monkeypatch) -> None:
    monkeypatch.setattr(flow, "LINGER_S", 3600.0)

    async def main(service: Service, connect) -> None:
        for data in (request(b"", path=b"/nowhere").replace(b"Length: 0", b"Length: 9"), b"nonsense\r\n\r\n"):
            sender = await connect()
            sender.say(data)
            await sender.answer()
            assert await sender.end() == "fin"
            sender.writer.close()
        assert len(service.records) == 2

    converse(echo_sizes, main)


def test_the_last_answer_is_not_lost_to_a_slow_sender_that_writes_on(converse) -> None:
    """The connection closes behind it, and closing with unread bytes would be a reset."""
    size = len(BIG) * 2

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, BIG * 2))

    async def main(service: Service, connect) -> None:
        for path in (b"/hook", b"/free"):
            sender = await connect()
            sender.say(signed(path=path, extra=b"Connection: close\r\n") + request(path=b"/nowhere"))
            await sender.reader.readuntil(b"\r\n\r\n")
            for left in range(size, 0, -65536):
                await sender.reader.readexactly(min(left, 65536))
                sender.say(request(b"x" * 1000, path=b"/nowhere"))
            assert await sender.end() == "fin"
        assert service.reasons == [Reason.DELIVERED] * 2

    converse(serve, main)


@pytest.mark.parametrize("minor", [0, 1])
def test_a_truncated_answer_is_a_reset(converse, minor: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello")
        await writer.drain()
        await gone.wait()

    gone = asyncio.Event()

    async def main(service: Service, connect) -> None:
        sender = await connect()
        sender.say(signed(minor=minor))
        await sender.reader.readuntil(b"hello")
        gone.set()
        assert await sender.end() == "reset"
        assert service.reasons == [Reason.UPSTREAM_RESET]

    converse(serve, main)


def test_a_forged_end_is_a_reset_for_the_upstream(converse) -> None:
    """Not an end of file, which some take for the end of a body."""

    async def main(service: Service, connect) -> None:
        sender = await connect()
        for chunked in (False, True):
            sender.say(forged(BIG, chunked=chunked))
            head, _ = await sender.answer()
            assert head.startswith(b"HTTP/1.1 403 ")
        await until(lambda: len(service.seen) == 2)
        assert all(end in RESET for end in service.seen)

    converse(echo_sizes, main)


def test_a_sender_that_goes_is_a_reset_for_the_upstream(converse) -> None:
    async def main(service: Service, connect) -> None:
        for path in (b"/hook", b"/free"):
            sender = await connect()
            sender.say(signed(BIG, path=path)[:2_000_000])
            before = len(service.seen)
            await until(lambda: any(s.outstanding for s in service.site.pool.endpoints))
            sender.reset()
            await until(lambda: len(service.seen) > before)  # noqa: B023
        assert all(end in RESET for end in service.seen)
        assert len(service.reasons) == 2
        assert all(reason in GONE for reason in service.reasons)

    converse(echo_sizes, main)


def test_half_close(converse, secured) -> None:
    async def main(service: Service, connect) -> None:
        sender = await connect()
        if secured:
            return  # TLS in asyncio has no half-close
        sender.say(signed(b"x" * 500))
        sender.writer.write_eof()
        assert (await sender.answer())[1] == b"500"
        assert await sender.end() == "fin"
        cut = await connect()
        cut.say(signed(b"x" * 500)[:-1])
        cut.writer.write_eof()
        assert (await cut.answer())[0].startswith(b"HTTP/1.1 400 ")
        assert await cut.end() == "fin"

    converse(echo_sizes, main)


def test_a_slow_sender_slows_its_upstream_and_nobody_else(converse) -> None:
    size = 30_000_000
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head, _ = await read_request(reader)
        if b" /free" not in head:
            writer.write(OK)
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(BIG[:100_000])
            sent += 100_000
            await writer.drain()
        await reader.read()

    async def main(service: Service, connect) -> None:
        slow, other = await connect(), await connect()
        slow.say(request(b"x", path=b"/free"))
        head = await slow.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d" % size in head
        slow.writer.transport.pause_reading()
        last = -1
        while sent != last:  # until it stands still
            last = sent
            for _ in range(20):
                other.say(signed())
                assert (await other.answer())[1] == b"ok"
        assert sent < size
        slow.writer.transport.resume_reading()
        assert len(await slow.reader.readexactly(size)) == size

    converse(serve, main)


def test_a_slow_upstream_slows_its_sender(converse) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        transport: Any = writer.transport
        transport.pause_reading()
        await go.wait()
        transport.resume_reading()
        [length] = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
        content = await reader.readexactly(int(length.partition(b":")[2]))
        assert content == BIG * 8
        writer.write(OK)
        await reader.read()

    async def main(service: Service, connect) -> None:
        sender = await connect()
        sender.say(signed(BIG * 8))
        connections: Any = service.site.connections
        await until(lambda: [one for one in connections if one._reading.reasons & Pause.UPSTREAM])
        [connection] = connections
        assert connection._exchange._upstream.buffered_bytes < WRITE_HIGH_BYTES + LARGE_READ_BYTES
        go.set()
        assert (await sender.answer())[1] == b"ok"

    converse(serve, main)


def test_an_early_answer_reaches_a_sender_that_writes_first_and_reads_later(converse) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        await writer.drain()
        await reader.read(1)
        await reader.read()

    async def main(service: Service, connect) -> None:
        sender = await connect()
        sender.writer.transport.pause_reading()
        sender.say(request(BIG, path=b"/free"))
        await until(lambda: not sender.writer.transport.get_write_buffer_size())
        sender.writer.transport.resume_reading()
        head, content = await sender.answer()
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in head
        assert len(content) == 300_000
        assert service.reasons == [Reason.DELIVERED]

    converse(serve, main)


def test_the_worker_cuts_at_the_end(converse) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main(service: Service, connect) -> None:
        sender = await connect()
        sender.say(signed())
        await until(lambda: any(s.outstanding for s in service.site.pool.endpoints))
        for connection in list(service.site.connections):
            connection.abort()
        assert await sender.end() == "reset"
        assert service.reasons == [Reason.DRAINED]

    converse(serve, main)
