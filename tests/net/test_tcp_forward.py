"""Plain TCP forwarding as a whole: who may, where it goes, what a failing upstream means, drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from proxy.core.addresses import AddressSet
from proxy.core.policy import Endpoint
from proxy.net import tcp_forward
from proxy.net.tcp_forward import TcpForward
from tests.net.accepting import (
    FakeSite,
    Made,
    dial,
    is_reset,
    listening,
    policy_of,
    receive,
    receive_exactly,
    send,
    until,
)

LOOPBACK = AddressSet.parse(["127.0.0.1"])


class Upstream:
    """An echo server."""

    def __init__(self) -> None:
        self.made = Made()

    async def start(self, path: str | None = None) -> Endpoint:
        loop = asyncio.get_running_loop()

        def factory():
            return self.made(None, False, lambda: None)

        if path:
            self.server = await loop.create_unix_server(factory, path)
            return Endpoint("", 0, path)
        self.server = await loop.create_server(factory, "127.0.0.1", 0)
        return Endpoint(*self.server.sockets[0].getsockname())


class Started:
    def __init__(self, upstream: Endpoint, *, policy=None, allow=LOOPBACK, **options) -> None:
        self.site = FakeSite(policy or policy_of())
        sock = listening()
        self.address = sock.getsockname()
        self.forward = TcpForward(
            sock, site=self.site, slots=self.site.slots, upstream=upstream, allow=allow, **options
        )
        self.forward.start()
        self.counters = self.forward.counters

    async def end(self, upstream: Upstream | None = None) -> None:
        await self.forward.abandon()
        assert self.site.slots.counters.open == 0
        assert self.counters.open == 0
        if upstream is not None:
            upstream.server.close()
            await until(lambda: all(one.lost for one in upstream.made))


async def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_there_and_back(run):
    upstream = Upstream()
    started = Started(await upstream.start())
    with dial(started.address) as client:
        await send(client, b"hello")
        assert await receive_exactly(client, 5) == b"hello"
        assert started.counters.open == started.counters.opened == 1
        assert started.site.slots.counters.open == 1
        client.shutdown(socket.SHUT_WR)
        assert await receive(client) == b""
    await until(lambda: started.counters.open == 0)
    assert (started.counters.bytes_in, started.counters.bytes_out) == (5, 5)
    await started.end(upstream)


async def test_what_fails_behind_the_dial_leaves_no_connection_to_the_upstream(run, monkeypatch):
    def fails(*_):
        raise OSError("no")

    upstream = Upstream()
    started = Started(replace(await upstream.start(), send_proxy=True))
    monkeypatch.setattr(tcp_forward, "header_for", fails)
    assert await is_reset(dial(started.address))
    await until(lambda: [one.lost for one in upstream.made] == [True])
    assert started.counters.dial_failed == 1
    await started.end(upstream)


async def test_a_client_that_no_transport_takes_gives_everything_back(run, monkeypatch):
    async def fails(*_):
        raise OSError("no")

    upstream = Upstream()
    started = Started(await upstream.start())
    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", fails)
    assert await is_reset(dial(started.address))
    await until(lambda: [one.lost for one in upstream.made] == [True])
    await until(lambda: started.counters.open == 0)
    assert started.site.slots.counters.open == 0
    await started.end(upstream)


async def test_to_a_unix_socket(run, tmp_path):
    upstream = Upstream()
    started = Started(await upstream.start(str(tmp_path / "app.sock")))
    with dial(started.address) as client:
        await send(client, b"hello")
        assert await receive_exactly(client, 5) == b"hello"
    await started.end(upstream)


async def test_a_refused_peer_is_reset_and_the_upstream_hears_nothing(run):
    upstream = Upstream()
    started = Started(await upstream.start())
    assert await is_reset(dial(started.address, "127.0.0.2"))
    assert upstream.made == []
    assert started.site.slots.counters.refused_address == 1
    await started.end(upstream)


async def test_a_new_list_counts_from_the_next_connection_on(run):
    upstream = Upstream()
    started = Started(await upstream.start())
    with dial(started.address) as client:
        await send(client, b"hello")
        assert await receive_exactly(client, 5) == b"hello"
        started.forward.allow = AddressSet.empty()
        assert await is_reset(dial(started.address))
        await send(client, b"hello")
        assert await receive_exactly(client, 5) == b"hello"
    await started.end(upstream)


async def test_an_upstream_that_is_not_there(run):
    started = Started(Endpoint("127.0.0.1", await unused_port()))
    assert await is_reset(dial(started.address))
    await until(lambda: started.counters.dial_failed == 1)
    await started.end()


@contextmanager
def deaf() -> Iterator[tuple[str, int]]:
    """An address whose queue is full: further handshakes are not answered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()


async def test_an_upstream_that_does_not_answer(run):
    with deaf() as address:
        started = Started(Endpoint(*address), policy=policy_of(connect_timeout_s=0.05))
        assert await is_reset(dial(started.address))
        await until(lambda: started.counters.dial_failed == 1)
    await started.end()


async def test_a_client_that_is_gone_before_the_upstream_answers(run):
    upstream = Upstream()
    started = Started(await upstream.start())
    client = dial(started.address)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await until(lambda: started.counters.opened == 1 and started.counters.open == 0)
    assert (started.counters.bytes_in, started.counters.bytes_out) == (0, 0)
    await until(lambda: [one.lost for one in upstream.made] == [True])  # no connection that only we know of
    await started.end(upstream)


async def test_the_caps_hold(run):
    upstream = Upstream()
    started = Started(await upstream.start(), policy=policy_of(max_connections=1))
    with dial(started.address) as client:
        await until(lambda: started.counters.open == 1)
        assert await is_reset(dial(started.address))
        assert started.site.slots.counters.refused_full == 1
        await send(client, b"hello")
        assert await receive_exactly(client, 5) == b"hello"
    await started.end(upstream)


async def test_drain_waits_for_pipes_and_takes_no_new_ones(run):
    upstream = Upstream()
    started = Started(await upstream.start())
    with dial(started.address) as client:
        await until(lambda: started.counters.open == 1)
        started.forward.stop()
        draining = asyncio.get_running_loop().create_task(started.forward.drained())
        with pytest.raises(ConnectionRefusedError):
            dial(started.address)
        await send(client, b"hello")
        assert await receive_exactly(client, 5) == b"hello"
        assert not draining.done()
        client.shutdown(socket.SHUT_WR)
        assert await receive(client) == b""
        await draining
    await started.end(upstream)


async def test_abandon_resets_what_is_left(run):
    upstream = Upstream()
    started = Started(await upstream.start())
    client = dial(started.address)
    await until(lambda: started.counters.open == 1)
    await started.forward.abandon()
    assert await is_reset(client)
    await started.end(upstream)


async def test_abandon_at_any_moment(run):
    for turns in range(12):
        upstream = Upstream()
        started = Started(await upstream.start())
        client = dial(started.address)
        started.forward._on_readable()
        for _ in range(turns):
            await asyncio.sleep(0)
        await started.forward.abandon()
        assert await is_reset(client)
        await started.end(upstream)


async def test_abandon_while_dialling(run):
    with deaf() as address:
        started = Started(Endpoint(*address))
        client = dial(started.address)
        await until(lambda: started.forward._setting_up)
        await started.forward.abandon()
        assert await is_reset(client)
    await started.end()
