"""Connections to the upstreams on real sockets, under both loops: choice, health, reuse, and accounts that add up."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.policy import Endpoint, UpstreamTls
from proxy.core.proxy_protocol import LOCAL
from proxy.net import pool as pool_module
from proxy.net.clock import NEVER, Clock, Turn
from proxy.net.endpoints import EJECT_FIRST_S, EJECT_MOST_S
from proxy.net.pool import Dial, UpstreamPool
from proxy.net.upstream import CLOSED, IDLE, UpstreamConnection
from tests.net.accepting import until


class App:
    """Accepts and keeps what it accepted."""

    def __init__(self) -> None:
        self.accepted: list[asyncio.Transport] = []
        self.server: asyncio.Server | None = None
        self.endpoint = Endpoint("127.0.0.1", 1)

    def __call__(self) -> asyncio.Protocol:
        app = self

        class Kept(asyncio.Protocol):
            def connection_made(self, transport) -> None:
                app.accepted.append(transport)

        return Kept()

    async def start(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> App:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self, "127.0.0.1", port, ssl=tls)
        self.endpoint = Endpoint("127.0.0.1", self.server.sockets[0].getsockname()[1])
        return self

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
        for transport in self.accepted:
            transport.abort()
        await asyncio.sleep(0)


def make_pool(**changed: float) -> UpstreamPool:
    loop = asyncio.get_running_loop()
    return UpstreamPool(loop, Clock(loop), Turn(loop), connect_timeout_s=changed.get("connect_timeout_s", 5.0))


def outstanding(pool: UpstreamPool) -> int:
    return sum(state.outstanding for state in pool.endpoints)


class Waiting:
    """Who waits for a dial."""

    def __init__(self) -> None:
        self.got: list[UpstreamConnection | None] = []

    def ready(self, connection: UpstreamConnection) -> None:
        self.got.append(connection)

    def failed(self) -> None:
        self.got.append(None)


async def dial(pool: UpstreamPool, *endpoints: Endpoint, patience_s: float = 0.0) -> UpstreamConnection | None:
    waiting = Waiting()
    pool.dial(Dial(endpoints, patience_s=patience_s, ready=waiting.ready, failed=waiting.failed))
    await until(lambda: waiting.got)
    return waiting.got[0]


def refusing() -> Endpoint:
    """An endpoint where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", sock.getsockname()[1])


async def over(pool: UpstreamPool, *apps: App) -> None:
    await pool.close()
    pool._clock.close()
    for app in apps:
        await app.stop()
    await until(lambda: outstanding(pool) == 0)
    assert pool.idle_connections() == 0


async def test_an_idle_connection_is_used_again(run) -> None:
    app, pool = await App().start(), make_pool()
    assert pool.acquire((app.endpoint,)) is None
    connection = await dial(pool, app.endpoint)
    assert connection is not None
    assert (outstanding(pool), pool.idle_connections()) == (1, 0)
    pool.released(connection)
    assert (outstanding(pool), pool.idle_connections()) == (0, 1)
    assert pool.acquire((app.endpoint,)) is connection
    assert (outstanding(pool), pool.idle_connections()) == (1, 0)
    pool.released(connection)
    await over(pool, app)


@pytest.mark.parametrize("end", ["close", "abort", "write"])
async def test_one_that_ended_or_spoke_is_not(run, end: str) -> None:
    app, pool = await App().start(), make_pool()
    connections = [await dial(pool, app.endpoint) for _ in range(2)]
    for connection in connections:
        assert connection is not None
        pool.released(connection)
    await until(lambda: len(app.accepted) == 2)
    warm = app.accepted[1]
    warm.write(b"HTTP/1.1 408 Too Late\r\n\r\n") if end == "write" else getattr(warm, end)()
    # Not one turn of our loop needs to pass: the kernel knows.
    socket_of = connections[1]._sock
    await until(lambda: is_readable(socket_of) or connections[1].state is CLOSED)
    assert pool.acquire((app.endpoint,)) is connections[0]
    assert (outstanding(pool), pool.idle_connections()) == (1, 0)
    connections[0].abort()
    await over(pool, app)


def is_readable(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def test_the_one_with_the_least_to_do_is_chosen(run) -> None:
    first, second, pool = await App().start(), await App().start(), make_pool()
    both = (first.endpoint, second.endpoint)
    connections = [await dial(pool, *both) for _ in range(6)]
    chosen = [connection.endpoint for connection in connections]
    assert chosen.count(first.endpoint) == chosen.count(second.endpoint) == 3
    for connection in connections:
        connection.abort()
    await over(pool, first, second)


async def test_one_that_refuses_is_left_alone_for_a_while(run) -> None:
    app, pool, dead = await App().start(), make_pool(), refusing()
    for _ in range(3):
        connection = await dial(pool, dead, app.endpoint)
        assert connection is not None
        assert connection.endpoint == app.endpoint
        connection.abort()
    assert pool.endpoints[dead].failures == 1
    now = pool._clock.now()
    assert now < pool.endpoints[dead].ejected_until <= now + EJECT_FIRST_S
    assert not pool.endpoints.reachable((dead,))
    assert pool.endpoints.reachable((dead, app.endpoint))
    await over(pool, app)


async def test_the_only_one_is_tried_all_the_same_and_its_pause_doubles(run) -> None:
    pool, dead = make_pool(), refusing()
    for count in range(1, 9):
        assert await dial(pool, dead) is None
        assert pool.endpoints[dead].failures == count
        left = pool.endpoints[dead].ejected_until - pool._clock.now()
        assert left == pytest.approx(min(EJECT_FIRST_S * 2 ** (count - 1), EJECT_MOST_S), abs=0.5)
    app = await App().start(port=dead.port)
    connection = await dial(pool, dead)
    assert connection is not None
    assert pool.endpoints[dead].failures == 0
    assert pool.endpoints.reachable((dead,))
    connection.abort()
    await over(pool, app)


async def test_patience_waits_for_an_upstream_that_comes_back(run) -> None:
    pool, dead, app, waiting = make_pool(), refusing(), App(), Waiting()
    pool.dial(Dial((dead,), patience_s=15.0, ready=waiting.ready, failed=waiting.failed))
    await until(lambda: pool.endpoints[dead].failures > 1)
    await app.start(port=dead.port)
    await until(lambda: waiting.got)
    assert waiting.got[0] is not None
    waiting.got[0].abort()
    await over(pool, app)


async def test_patience_has_an_end(run) -> None:
    pool = make_pool()
    assert await dial(pool, refusing(), patience_s=0.15) is None
    await over(pool)


async def test_patience_ends_with_who_waits(run) -> None:
    pool, dead, waiting = make_pool(), refusing(), Waiting()
    handle = pool.dial(Dial((dead,), patience_s=15.0, ready=waiting.ready, failed=waiting.failed))
    await until(lambda: pool.endpoints[dead].failures)
    handle.cancel()
    await until(lambda: not pool._dials)
    assert waiting.got == []
    await over(pool)


async def test_a_connection_that_nobody_waits_for_any_more_is_kept(run) -> None:
    app, pool, waiting = await App().start(), make_pool(), Waiting()
    pool.dial(Dial((app.endpoint,), patience_s=0, ready=waiting.ready, failed=waiting.failed)).cancel()
    await until(lambda: not pool._dials)
    assert pool.idle_connections() == 0  # cancelled before it began
    handle = pool.dial(Dial((app.endpoint,), patience_s=0, ready=waiting.ready, failed=waiting.failed))
    await asyncio.sleep(0)
    handle.cancel()
    await until(lambda: not pool._dials)
    assert (waiting.got, pool.idle_connections(), outstanding(pool)) == ([], 1, 0)
    await over(pool, app)


def test_a_host_name_that_is_none(run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = make_pool()
        for _ in range(3):
            assert await dial(pool, Endpoint("a" * 64 + ".invalid", 80)) is None
        await over(pool)

    run(main())
    [line] = [record.getMessage() for record in caplog.records if record.name == "proxy.net.endpoints"]
    assert line.startswith(f"http://{'a' * 64}.invalid:80 cannot be reached: ")


def test_every_address_of_a_name_is_tried(run) -> None:
    async def main() -> None:
        app, pool = await App().start(), make_pool()
        loop = asyncio.get_running_loop()
        known = loop.getaddrinfo
        dead = refusing()

        async def two(host: str, port: int, **more: int):
            assert host == "app.test"
            return [*await known("127.0.0.1", dead.port, **more), *await known("127.0.0.1", port, **more)]

        loop.getaddrinfo = two  # type: ignore[method-assign, assignment]
        connection = await dial(pool, Endpoint("app.test", app.endpoint.port))
        assert connection is not None
        connection.abort()
        await over(pool, app)

    class Loop(asyncio.SelectorEventLoop):
        """One whose names can be made up."""

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


async def test_a_unix_socket(run, tmp_path: Path) -> None:
    app, pool = App(), make_pool()
    path = str(tmp_path / "app.sock")
    app.server = await asyncio.get_running_loop().create_unix_server(app, path)
    connection = await dial(pool, Endpoint("", 0, path))
    assert connection is not None
    assert connection.endpoint_text == f"unix:{path}"
    pool.released(connection)
    assert pool.acquire((connection.endpoint,)) is connection
    connection.abort()
    assert await dial(pool, Endpoint("", 0, str(tmp_path / "nobody.sock"))) is None
    await over(pool, app)


async def test_tls_is_verified(run, authority) -> None:
    # asyncio tells the loop about every handshake that a client breaks off.
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.write("app", "app.example"))
    # 1.3 sends tickets after the handshake. Until they are read they look like an answer to nothing.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ca_file = str(authority.directory / "ca.pem")
    authority.ca.cert_pem.write_to_path(ca_file)
    app, pool = await App().start(tls=context), make_pool()
    host, port = app.endpoint.host, app.endpoint.port
    good = Endpoint(host, port, tls=UpstreamTls(ca_file=ca_file, server_name="app.example"))
    missing = UpstreamTls(ca_file=ca_file + ".gone", server_name="app.example")
    for tls in (UpstreamTls(ca_file=ca_file), UpstreamTls(server_name="app.example"), missing):
        assert await dial(pool, Endpoint(host, port, tls=tls)) is None
    connection = await dial(pool, good)
    assert connection is not None
    assert connection.state is IDLE
    pool.released(connection)
    assert pool.acquire((good,)) is connection
    assert pool.acquire((Endpoint(host, port, tls=UpstreamTls(ca_file=ca_file)),)) is None
    connection.abort()
    await over(pool, app)


async def test_a_handshake_that_never_ends_leaves_nothing(run, authority) -> None:
    app, pool = await App().start(), make_pool(connect_timeout_s=0.1)
    silent = Endpoint(app.endpoint.host, app.endpoint.port, tls=UpstreamTls())
    assert await dial(pool, silent) is None
    assert (outstanding(pool), pool.idle_connections()) == (0, 0)
    assert pool.endpoints[silent].dialing == 0
    await over(pool, app)


async def test_idle_connections_end_with_their_time(run) -> None:
    app, pool = await App().start(), make_pool()
    connections = [await dial(pool, app.endpoint) for _ in range(2)]
    for connection in connections:
        pool.released(connection)
    assert pool.deadline == pytest.approx(connections[0].idle_until)
    assert connections[0].idle_until - connections[0].idle_since == pytest.approx(app.endpoint.idle_timeout_s)
    pool.deadline_passed(connections[0].idle_until)
    assert connections[0].state is CLOSED
    if pool.idle_connections():
        assert pool.deadline == connections[1].idle_until
        pool.deadline_passed(pool.deadline)
    assert pool.idle_connections() == 0
    assert pool.deadline == NEVER
    await over(pool, app)


async def made_idle(pool: UpstreamPool, endpoint: Endpoint, limit_s: float = NEVER) -> UpstreamConnection:
    """A connection that became idle just now; the upstream said that it keeps it for ``limit_s``."""
    connection = await dial(pool, endpoint)
    assert connection is not None
    connection.idle_limit_s = limit_s
    pool.released(connection)
    return connection


async def test_what_was_idle_for_too_long_is_not_used(run) -> None:
    app, pool = await App().start(), make_pool()
    brief, long = (replace(app.endpoint, idle_timeout_s=idle_s) for idle_s in (3.0, 60.0))
    for endpoint, limit_s, idle_s in ((brief, NEVER, 3.0), (long, 9.0, 9.0), (long, NEVER, 60.0)):
        connection = await made_idle(pool, endpoint, limit_s)
        start = connection.idle_since
        pool._clock.now = lambda at=start + idle_s - 0.01: at
        assert pool.acquire((endpoint,)) is connection, "up to its time"
        pool.released(connection)
        pool._clock.now = lambda at=connection.idle_since + idle_s: at
        assert pool.acquire((endpoint,)) is None
        assert connection.state is CLOSED
    await over(pool, app)


async def test_each_route_has_its_own_patience_with_a_connection_that_several_share(run) -> None:
    app, pool = await App().start(), make_pool()
    brief, long = (replace(app.endpoint, idle_timeout_s=idle_s) for idle_s in (3.0, 60.0))
    connection = await made_idle(pool, brief)
    pool._clock.now = lambda at=connection.idle_since + 2.0: at
    assert pool.acquire((long,)) is connection
    pool.released(connection)
    assert connection.idle_until == connection.idle_since + 60.0, "the last one's"
    pool._clock.now = lambda at=connection.idle_since + 10.0: at
    assert pool.acquire((brief,)) is None
    await over(pool, app)


@pytest.mark.parametrize(("idle_timeout_s", "limit_s"), [(0.0, NEVER), (4.0, 0.0), (4.0, -1.0)])
async def test_without_patience_no_connection_is_kept(run, idle_timeout_s: float, limit_s: float) -> None:
    app, pool = await App().start(), make_pool()
    connection = await made_idle(pool, replace(app.endpoint, idle_timeout_s=idle_timeout_s), limit_s)
    assert connection.state is CLOSED
    assert pool.idle_connections() == 0
    await over(pool, app)


def test_no_more_idle_connections_than_are_useful(run, monkeypatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_IDLE", 2)

    async def main() -> None:
        app, pool = await App().start(), make_pool()
        connections = [await dial(pool, app.endpoint) for _ in range(3)]
        for connection in connections:
            pool.released(connection)
        assert pool.idle_connections() == 2
        assert connections[0].state is CLOSED
        assert outstanding(pool) == 0
        await over(pool, app)

    run(main())


async def test_closing_ends_what_is_under_way(run) -> None:
    app, pool, waiting = await App().start(), make_pool(), Waiting()
    lent, idle = await dial(pool, app.endpoint), await dial(pool, app.endpoint)
    pool.released(idle)
    pool.dial(Dial((refusing(),), patience_s=60, ready=waiting.ready, failed=waiting.failed))
    await pool.close()
    assert idle.state is CLOSED
    assert not pool._dials
    pool.released(lent)
    assert lent.state is CLOSED
    assert outstanding(pool) == 0
    await over(pool, app)


async def test_an_upstream_that_speaks_first_is_no_upstream(run) -> None:
    pool = make_pool()

    class Banner(asyncio.Protocol):
        def connection_made(self, transport) -> None:
            transport.write(b"SSH-2.0-OpenSSH\r\n")

    server = await asyncio.get_running_loop().create_server(Banner, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    connection = await dial(pool, endpoint)
    if connection is not None:  # it was faster than the banner
        await until(lambda: connection.state is CLOSED)
    assert outstanding(pool) == 0
    server.close()
    await over(pool)


@pytest.mark.parametrize("first", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""])
async def test_a_new_connection_with_something_to_read_gets_no_request(run, monkeypatch, first: bytes) -> None:
    """The kernel has heard it, the loop has not: the connection is refused all the same, by a word or by its end."""
    app, pool = await App().start(), make_pool()
    connect = pool.open

    async def open_slowly(endpoint: Endpoint, preface: bytes) -> UpstreamConnection:
        connection = await connect(endpoint, preface)
        connection.pause_reading()
        await until(lambda: app.accepted)
        app.accepted[0].write(first) if first else app.accepted[0].close()
        await until(lambda: is_readable(connection._sock))
        return connection

    monkeypatch.setattr(pool, "open", open_slowly)
    assert await dial(pool, app.endpoint) is None
    assert outstanding(pool) == 0
    await over(pool, app)


async def test_weights_are_kept_in_turns(run) -> None:
    apps, pool = [await App().start() for _ in range(2)], make_pool()
    endpoints = tuple(
        Endpoint(app.endpoint.host, app.endpoint.port, weight=weight) for app, weight in zip(apps, (2, 1), strict=True)
    )
    chosen = []
    for _ in range(9):
        connection = pool.acquire(endpoints) or await dial(pool, *endpoints)
        assert connection is not None
        chosen.append(endpoints.index(connection.endpoint))
        pool.released(connection)
    assert (chosen.count(0), chosen.count(1)) == (6, 3)
    await over(pool, *apps)


async def test_who_is_unwell_is_chosen_last(run) -> None:
    apps, pool = [await App().start() for _ in range(2)], make_pool()
    first, second = (app.endpoint for app in apps)
    pool.endpoints.checked(first, well=False, failing=True)
    for endpoints in ((first, second), (second, first)):
        connection = pool.acquire(endpoints) or await dial(pool, *endpoints)
        assert connection is not None
        assert connection.endpoint == second
        pool.released(connection)
    assert pool.endpoints.reachable((first, second))
    assert not pool.endpoints.reachable((first,))
    alone = await dial(pool, first)
    assert alone is not None
    pool.released(alone)
    await over(pool, *apps)


async def test_who_is_configured_no_longer_loses_its_connections(run) -> None:
    app, pool = await App().start(), make_pool()
    idle, lent = await dial(pool, app.endpoint), await dial(pool, app.endpoint)
    assert idle is not None
    assert lent is not None
    pool.released(idle)
    pool.endpoints.use([Endpoint("127.0.0.1", 1)])
    assert idle.state is CLOSED
    assert (pool.idle_connections(), pool.lent_connections()) == (0, 1)
    pool.released(lent)
    assert lent.state is CLOSED
    pool.endpoints.use([Endpoint("127.0.0.1", 1)])
    assert pool.endpoints.conditions() == {}
    await over(pool, app)


def test_many_who_wait_share_one_attempt_and_all_get_through(run, monkeypatch) -> None:
    monkeypatch.setattr(pool_module, "RETRY_S", 0.01)

    async def main() -> None:
        nowhere = refusing()
        pool, waiting = make_pool(), Waiting()
        attempts, connect = [], pool.open

        async def count(endpoint: Endpoint, preface: bytes) -> UpstreamConnection:
            attempts.append(endpoint)
            return await connect(endpoint, preface)

        monkeypatch.setattr(pool, "open", count)
        for _ in range(50):
            pool.dial(Dial((nowhere,), patience_s=30.0, ready=waiting.ready, failed=waiting.failed))
        await until(lambda: len(attempts) >= 55)
        assert pool.waiting_dials() == 50
        app = await App().start(port=nowhere.port)
        await until(lambda: len(waiting.got) == 50)
        assert None not in waiting.got
        for connection in waiting.got:
            assert connection is not None
            connection.abort()
        await over(pool, app)

    run(main())


async def test_a_connection_that_names_its_client_serves_nobody_else(run) -> None:
    heard: list[bytes] = []

    class App(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            heard.append(data)

    server = await asyncio.get_running_loop().create_server(App, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], send_proxy=True)
    pool, waiting = make_pool(), Waiting()
    pool.dial(Dial((endpoint,), patience_s=0, ready=waiting.ready, failed=waiting.failed, preface=b"PROXY"))
    await until(lambda: waiting.got and heard)
    assert heard == [b"PROXY"]
    [connection] = waiting.got
    assert connection is not None
    pool.released(connection)
    assert connection.state is CLOSED
    assert pool.acquire((endpoint,)) is None
    checked = await pool.open(endpoint)
    await until(lambda: len(heard) == 2)
    assert heard[1] == LOCAL
    checked.abort()
    server.close()
    await over(pool)


async def test_who_waits_is_told_where_a_bug_ends_the_dial(run, monkeypatch) -> None:
    pool = make_pool()
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def broken(*_: object) -> UpstreamConnection:
        raise LookupError("unknown encoding: idna")

    monkeypatch.setattr(pool, "open", broken)
    assert await dial(pool, Endpoint("127.0.0.1", 1)) is None
    assert [str(one["exception"]) for one in complaints] == ["unknown encoding: idna"]
    waiting = Waiting()
    pool.dial(
        Dial((Endpoint("127.0.0.1", 1),), patience_s=0, ready=waiting.ready, failed=waiting.failed)
    ).cancel()  # and nobody where nobody waits any more
    await until(lambda: not pool.waiting_dials())
    assert waiting.got == []
    await over(pool)


async def test_what_can_wait_goes_only_to_who_is_ready(run) -> None:
    apps, pool = [await App().start() for _ in range(2)], make_pool()
    first, second = (app.endpoint for app in apps)
    for endpoint in (first, second):
        await made_idle(pool, endpoint)
    pool.endpoints.checked(first, well=True, failing=True)
    assert pool.endpoints.ready((first, second)) == (second,)
    connection = pool.acquire((first, second), waits=True)
    assert connection is not None
    assert connection.endpoint == second
    pool.released(connection)
    assert pool.acquire((first,), waits=True) is None
    anyhow = pool.acquire((first,))
    assert anyhow is not None, "what cannot wait goes where it can"
    pool.released(anyhow)
    assert await dial(pool, first, patience_s=0.05) is None
    pool.endpoints.checked(first, well=True, failing=False)
    waiting = await dial(pool, first, patience_s=5.0)
    assert waiting is not None
    pool.released(waiting)
    await over(pool, *apps)


@pytest.mark.parametrize("asked", [True, False])
async def test_who_refused_a_connection_is_not_ready_until_it_is_checked(run, asked: bool) -> None:
    """It may listen again before it can answer."""
    pool, gone = make_pool(), refusing()
    pool.endpoints.checked(gone, well=True, failing=False, asked=asked)
    assert await dial(pool, gone) is None
    assert pool.endpoints.ready((gone,)) == (() if asked else (gone,))
    await over(pool)
