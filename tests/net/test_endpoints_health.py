"""Health checks on real sockets: who answers badly twice is chosen last, until the first good answer."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from proxy.core.policy import Endpoint, HealthCheck
from proxy.net.clock import Clock, Turn
from proxy.net.endpoints import HealthChecks
from proxy.net.pool import Dial, UpstreamPool
from proxy.net.upstream import UpstreamConnection
from tests.net.accepting import until


class App:
    """Answers every request with ``answer``; b"" hangs up, None says nothing."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Who asked was out of patience before we came to it, or asks no more.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.answer is not None:
            writer.write(self.answer)
            writer.close()


GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"
BAD = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("bad", [BAD, b"", b"nonsense\r\n\r\n", None], ids=["503", "hangs up", "nonsense", "silent"])
async def test_two_bad_answers_make_it_unwell_and_one_good_well(run, bad: bytes | None) -> None:
    loop = asyncio.get_running_loop()
    app = App(bad)
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # Only who says nothing is to be found by the time, which must not run out for others on a busy machine.
    timeout_s = 0.2 if bad is None else 10.0
    endpoint = Endpoint("127.0.0.1", port, health=HealthCheck("/healthz", 0.02, timeout_s))
    clock = Clock(loop)
    pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
    checks = HealthChecks(loop, pool)
    checks.use([endpoint, Endpoint("127.0.0.1", 1)])
    await until(lambda: not pool.endpoints.reachable((endpoint,)))
    await until(lambda: bad is not None or len(app.heads) >= 2)
    assert len(app.heads) >= 2
    assert app.heads[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")
    app.answer = GOOD
    await until(lambda: pool.endpoints.reachable((endpoint,)))
    app.answer = bad
    await until(lambda: not pool.endpoints.reachable((endpoint,)))
    checks.use([])
    assert pool.endpoints.reachable((endpoint,))
    checks.use([endpoint])
    await checks.close()
    server.close()
    await pool.close()
    clock.close()
    await until(lambda: pool.lent_connections() == 0)


class Closing(asyncio.Protocol):
    """Answers ``answer`` to the first bytes, and notes how the connection ends."""

    def __init__(self, answer: bytes, ends: list[str]) -> None:
        self.answer, self.ends = answer, ends

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert b"Connection: close\r\n" in data
        self.transport.write(self.answer)

    def eof_received(self) -> None:
        self.ends.append("fin")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.ends.append("reset")


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (PAGE % 40_000 + b"x" * 40_000, "fin"),
        (b"HTTP/1.1 503 Not Yet\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwait!\r\n0\r\n\r\n", "fin"),
        (b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n", "fin"),
        (PAGE % (1 << 30) + b"x" * (1 << 20), "reset"),
    ],
    ids=["long", "chunked", "kept open", "too long"],
)
async def test_the_answer_is_read_and_the_connection_closed_tidily(run, answer: bytes, end: str) -> None:
    """Who is cut off while it writes has a traceback in its log, every few seconds."""
    loop = asyncio.get_running_loop()
    ends: list[str] = []
    server = await loop.create_server(lambda: Closing(answer, ends), "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], health=HealthCheck("/", 3600.0, 10.0))
    clock = Clock(loop)
    pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
    checks = HealthChecks(loop, pool)
    checks.use([endpoint])
    assert pool.endpoints.ready((endpoint,)) == (), "until it has answered"
    await until(lambda: ends)
    assert ends == [end]
    assert bool(pool.endpoints.ready((endpoint,))) is not answer.startswith(b"HTTP/1.1 503")
    assert (pool.idle_connections(), pool.lent_connections()) == (0, 0), "it is nobody's"
    checks.use([])
    assert pool.endpoints.ready((endpoint,)) == (endpoint,)
    await checks.close()
    server.close()
    await pool.close()
    clock.close()


async def test_what_waits_has_it_asked_at_once(run) -> None:
    """The interval is an hour; the first answer is bad, and a delivery waits."""
    loop = asyncio.get_running_loop()
    app = App(BAD)
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], health=HealthCheck("/", 3600.0, 10.0))
    clock = Clock(loop)
    pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=5.0)
    checks = HealthChecks(loop, pool)
    checks.use([endpoint])
    await until(lambda: app.heads)
    got: list[object] = []
    pool.dial(Dial((endpoint,), patience_s=60.0, ready=got.append, failed=lambda: got.append(None)))
    await until(lambda: len(app.heads) >= 3)
    assert not got, "nothing is sent while its check fails"
    assert pool.acquire((endpoint,), waits=True) is None
    app.answer = GOOD
    await until(lambda: got)
    assert got[0] is not None
    seen = len(app.heads)
    pool.endpoints.unavailable(endpoint)
    await until(lambda: len(app.heads) > seen)
    pool.released(got[0])
    await checks.close()
    server.close()
    await pool.close()
    clock.close()


async def test_nobody_who_listens_is_unwell(run) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
    endpoint = Endpoint("", 0, "/nonexistent/app.sock", health=HealthCheck("/", 0.01, 0.05))
    checks = HealthChecks(loop, pool)
    checks.use([endpoint])
    await until(lambda: not pool.endpoints.reachable((endpoint,)))
    assert pool.endpoints.conditions() == {"unix:/nonexistent/app.sock": False}
    await checks.close()
    await pool.close()
    clock.close()


async def test_a_connection_that_is_closed_as_it_stands_does_not_end_the_asking(run) -> None:
    loop = asyncio.get_running_loop()
    opened: list[UpstreamConnection] = []
    clock = Clock(loop)
    pool = UpstreamPool(loop, clock, Turn(loop), connect_timeout_s=1.0)
    app = App(GOOD)
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], health=HealthCheck("/", 0.01, 10.0))
    connect = pool.open

    async def gone_at_first(endpoint: Endpoint, preface: bytes = b"") -> UpstreamConnection:
        connection = await connect(endpoint, preface)
        opened.append(connection)
        if len(opened) == 1:
            connection.close()
        return connection

    pool.open = gone_at_first  # type: ignore[method-assign]
    checks = HealthChecks(loop, pool)
    checks.use([endpoint])
    await until(lambda: pool.endpoints.ready((endpoint,)))
    assert len(opened) >= 2
    await checks.close()
    server.close()
    await pool.close()
    clock.close()
    await until(lambda: pool.lent_connections() == 0)


async def test_what_no_route_uses_any_more_has_no_condition(run) -> None:
    loop = asyncio.get_running_loop()
    pool = UpstreamPool(loop, Clock(loop), Turn(loop), connect_timeout_s=1.0)
    checks = HealthChecks(loop, pool)
    old = Endpoint("127.0.0.1", 1, health=HealthCheck("/", 60.0, 10.0))
    for used, known in (([old], {str(old): True}), ([Endpoint("127.0.0.1", 2)], {})):
        pool.endpoints.use(used)
        checks.use(used)
        assert pool.endpoints.conditions() == known
    await checks.close()
    await pool.close()
    assert pool.endpoints.conditions() == {}, "whatever its check has left"
