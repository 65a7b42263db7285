"""A reset is one, whoever closes, and does no harm to who is gone."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.net.sockets import abort, close_by_reset, reset
from tests.net.accepting import is_reset


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
    return ours, theirs


async def take_all(sock: socket.socket) -> int:
    """How much comes until the end."""
    taken = 0
    while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        taken += len(piece)
    return taken


async def test_the_peer_sees_a_reset(run) -> None:
    ours, theirs = connected()
    reset(ours)
    assert await is_reset(theirs)
    ours, theirs = connected()
    close_by_reset(ours)
    ours.close()
    assert await is_reset(theirs)


async def test_what_a_transport_has_not_sent_is_dropped(run) -> None:
    ours, theirs = connected()
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ours)
    transport.write(b"x" * (64 << 20))
    abort(transport, ours)
    with pytest.raises(ConnectionResetError):
        await take_all(theirs)
    theirs.close()


def test_a_reset_of_who_is_gone_does_no_harm() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    reset(ours)
    reset(ours)
    assert ours.fileno() == -1


async def test_what_has_no_socket_any_more_is_aborted_all_the_same() -> None:
    """The peer was faster: for a moment the transport is closed, and its protocol has not heard of it."""
    ours, theirs = connected()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    with theirs:
        abort(transport, None)
        assert transport.is_closing()
        assert await take_all(theirs) == 0
