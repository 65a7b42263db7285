"""Taking the PROXY header off a socket: whole, in pieces, late, wrong; and not one byte more."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager

import pytest

from proxy.core.addresses import Peer
from proxy.errors import ProtocolError
from proxy.net.listener import says_more, take_header
from tests.net.accepting import until

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + (4000).to_bytes(2)
    + b"\x01\xbb"
)
V2_TLV = V2[:14] + (12 + 3 + 300).to_bytes(2) + V2[16:] + b"\xea\x01\x2c" + bytes(300)
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
NAMED = Peer.of("192.0.2.7", 4000)

headers = pytest.mark.parametrize("header", [V1, V2, V2_TLV], ids=["v1", "v2", "v2 with TLV"])


@contextmanager
def connected():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@headers
async def test_whole_with_what_follows(run, header):
    with connected() as (ours, theirs):
        theirs.sendall(header + b"GET / HTTP/1.1\r\n")
        assert (await take_header(ours)).peer == NAMED
        assert ours.recv(100) == b"GET / HTTP/1.1\r\n"


@headers
async def test_byte_by_byte(run, header):
    with connected() as (ours, theirs):
        task = asyncio.get_running_loop().create_task(take_header(ours))
        for i in range(len(header)):
            assert not task.done()
            theirs.sendall(header[i : i + 1])
            if i % 8 == 0:
                await asyncio.sleep(0)
        theirs.sendall(b"\x16\x03\x01")
        assert (await task).peer == NAMED
        assert ours.recv(100) == b"\x16\x03\x01"


async def test_a_beginning_does_not_keep_the_loop_awake(run):
    with connected() as (ours, theirs):
        theirs.sendall(V1[:9])
        task = asyncio.get_running_loop().create_task(take_header(ours))
        await until(lambda: readable_bytes(ours) == 0)
        theirs.sendall(V1[9:])
        assert (await task).peer == NAMED


def readable_bytes(sock: socket.socket) -> int:
    try:
        return len(sock.recv(4096, socket.MSG_PEEK))
    except BlockingIOError:
        return 0


async def test_a_local_header_names_nobody(run):
    with connected() as (ours, theirs):
        theirs.sendall(LOCAL)
        assert (await take_header(ours)).peer is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY " + b"x" * 200,
        V2[:12] + b"\x99" * 50,
    ],
)
async def test_what_is_no_header(run, data):
    with connected() as (ours, theirs):
        theirs.sendall(data)
        with pytest.raises(ProtocolError):
            await take_header(ours)


@pytest.mark.parametrize("data", [b"", V1[:20], V2[:13]], ids=["nothing", "half of v1", "half of v2"])
async def test_late(run, data):
    with connected() as (ours, theirs):
        theirs.sendall(data)
        with pytest.raises(TimeoutError):
            await take_header(ours, timeout_s=0.02)
        # The descriptor is free of the loop again.
        assert not asyncio.get_running_loop().remove_reader(ours)


async def test_a_peer_that_says_nothing_looks_whether_the_port_is_open(run):
    with connected() as (ours, theirs):
        theirs.close()
        assert await take_header(ours) is None


async def test_what_follows_a_header_is_awaited_and_left_there(run):
    with connected() as (ours, theirs):
        waiting = asyncio.get_running_loop().create_task(says_more(ours))
        await asyncio.sleep(0)
        theirs.sendall(b"GET")
        assert await waiting
        assert ours.recv(100) == b"GET"
        assert not await says_more(ours, timeout_s=0.02)
        theirs.close()
        assert not await says_more(ours)


@pytest.mark.parametrize("data", [V1[:20], V2[:13]], ids=["half of v1", "half of v2"])
async def test_gone(run, data):
    with connected() as (ours, theirs):
        theirs.sendall(data)
        theirs.close()
        with pytest.raises(ConnectionError):
            await take_header(ours)


async def test_cancelled(run):
    with connected() as (ours, _):
        task = asyncio.get_running_loop().create_task(take_header(ours))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not asyncio.get_running_loop().remove_reader(ours)
