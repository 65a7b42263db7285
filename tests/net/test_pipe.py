"""A pipe's two ends: each direction ends by itself, resets cross, and a slow reader slows its own sender."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager

import pytest

from proxy.net.tcp_forward import WRITE_HIGH_BYTES, PipeEnd, pair
from tests.net.accepting import is_reset, receive, receive_exactly, send, until


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


class Laid:
    """A pipe with its outer sockets: ``client`` and ``upstream`` are what talks to it."""

    def __init__(self) -> None:
        self.ended = 0
        self.bytes_in = self.bytes_out = 0
        self.near, self.far = pair(self.end, self.came_in, self.came_out)
        self.client, self.near_socket = tcp_pair()
        self.upstream, self.far_socket = tcp_pair()

    def end(self) -> None:
        self.ended += 1

    def came_in(self, size: int) -> None:
        self.bytes_in += size

    def came_out(self, size: int) -> None:
        self.bytes_out += size

    async def connect_upstream(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self.far, sock=self.far_socket)

    async def connect_client(self) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self.near, self.near_socket)


@asynccontextmanager
async def laid(*, connected: bool = True):
    one = Laid()
    if connected:
        await one.connect_upstream()
        await one.connect_client()
    with one.client, one.upstream, one.near_socket, one.far_socket:
        yield one
        one.client.close()
        one.upstream.close()
        await until(lambda: one.ended)
        assert one.ended == 1


def held(end: PipeEnd) -> int:
    return end.transport.get_write_buffer_size()


async def test_bytes_go_both_ways(run):
    async with laid() as one:
        await send(one.client, b"question")
        assert await receive_exactly(one.upstream, 8) == b"question"
        await send(one.upstream, b"answer")
        assert await receive_exactly(one.client, 6) == b"answer"
        assert (one.bytes_in, one.bytes_out) == (8, 6)


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_each_direction_ends_by_itself(run, first):
    async with laid() as one:
        ends, stays = (one.client, one.upstream) if first == "client" else (one.upstream, one.client)
        await send(ends, b"last words")
        ends.shutdown(socket.SHUT_WR)
        assert await receive_exactly(stays, 10) == b"last words"
        assert await receive(stays) == b""
        await send(stays, b"a long answer")
        assert await receive_exactly(ends, 13) == b"a long answer"
        assert not one.ended
        stays.shutdown(socket.SHUT_WR)
        assert await receive(ends) == b""
        await until(lambda: one.ended)


async def test_the_end_comes_after_all_that_waits(run):
    async with laid() as one:
        data = os.urandom(3 << 20)
        loop = asyncio.get_running_loop()
        sending = loop.create_task(send(one.client, data))
        received = await receive_exactly(one.upstream, 1000)
        one.upstream.shutdown(socket.SHUT_WR)
        assert await receive(one.client) == b""
        received += await receive_exactly(one.upstream, len(data) - 1000)
        await sending
        one.client.shutdown(socket.SHUT_WR)
        assert await receive(one.upstream) == b""
        assert received == data


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_reset_becomes_a_reset(run, first):
    async with laid() as one:
        ends, stays = (one.client, one.upstream) if first == "client" else (one.upstream, one.client)
        await send(ends, b"half of it")
        assert await receive_exactly(stays, 10) == b"half of it"
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        ends.close()
        assert await is_reset(stays)


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_slow_reader_slows_its_own_sender(run, first):
    async with laid() as one:
        source, sink = (one.client, one.upstream) if first == "client" else (one.upstream, one.client)
        end = one.far if first == "client" else one.near
        data = os.urandom(1 << 20) * 16
        sending = asyncio.get_running_loop().create_task(send(source, data))
        # Until everything is full: nothing moves any more in many turns of the loop.
        moved, still = -1, 0
        while still < 200:
            await asyncio.sleep(0)
            seen = one.bytes_in + one.bytes_out
            still, moved = (still + 1, moved) if seen == moved else (0, seen)
        assert not sending.done()
        assert moved < len(data)
        # One read (256 KiB at most) may come on top of what had not reached the mark.
        assert 0 < held(end) <= WRITE_HIGH_BYTES + (256 << 10)
        assert await receive_exactly(sink, len(data)) == data
        await sending


async def test_what_comes_before_the_other_end_is_there_is_kept(run):
    async with laid(connected=False) as one:
        greeting = os.urandom(1 << 20)
        sending = asyncio.get_running_loop().create_task(send(one.upstream, greeting))
        await one.connect_upstream()
        await until(lambda: one.bytes_out)
        for _ in range(20):
            await asyncio.sleep(0)
        assert one.bytes_out <= 256 << 10  # one read, then paused
        await one.connect_client()
        # The kept bytes are over the mark by themselves: the pause they ask for must hold.
        for _ in range(200):
            await asyncio.sleep(0)
        assert held(one.near) <= WRITE_HIGH_BYTES + (256 << 10)
        assert await receive_exactly(one.client, len(greeting)) == greeting
        await sending


@pytest.mark.parametrize("greeting", [b"go away", b""])
async def test_an_upstream_that_ends_before_the_other_end_is_there(run, greeting):
    async with laid(connected=False) as one:
        await send(one.upstream, greeting)
        one.upstream.shutdown(socket.SHUT_WR)
        await one.connect_upstream()
        await until(lambda: one.bytes_out or one.far.eof)
        await one.connect_client()
        assert await receive_exactly(one.client, len(greeting)) == greeting
        assert await receive(one.client) == b""
        await send(one.client, b"why")
        assert await receive_exactly(one.upstream, 3) == b"why"
        one.client.shutdown(socket.SHUT_WR)
        assert await receive(one.upstream) == b""


async def test_an_upstream_lost_before_the_other_end_is_there(run):
    async with laid(connected=False) as one:
        await one.connect_upstream()
        one.upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.upstream.close()
        await until(lambda: one.far.transport is None)
        await one.connect_client()
        assert await is_reset(one.client)


async def test_dead_peers_are_looked_for(run):
    async with laid() as one:
        for end in (one.near, one.far):
            sock = end.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
