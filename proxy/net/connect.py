"""Making one connection to an upstream: the socket, what goes first on it, and TLS.

``loop.create_connection`` would do it in one call, but the connection must know its socket, which it asks whether the
upstream has hung up, and a PROXY header must go before TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from proxy.core.policy import Endpoint
from proxy.net.tls import upstream_context
from proxy.net.upstream import Owner, UpstreamConnection


async def connect(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, owner: Owner, preface: bytes
) -> UpstreamConnection:
    """A connection to ``endpoint`` that is lent to the caller, with ``preface`` written on it. Raises OSError, and for
    a name or a file that cannot be used UnicodeError and ConfigError.
    """
    sock = await _socket_to(loop, endpoint)
    try:
        if preface:  # before TLS, whose peer reads what is behind it
            await loop.sock_sendall(sock, preface)
        context = upstream_context(endpoint.tls) if endpoint.tls else None
        name = (endpoint.tls.server_name or endpoint.host) if endpoint.tls else None
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(endpoint, owner, sock), sock=sock, ssl=context, server_hostname=name
        )
    except BaseException:
        sock.close()
        raise
    return connection


async def _socket_to(loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> socket.socket:
    if endpoint.path is not None:
        return await _connected(loop, socket.AF_UNIX, endpoint.path)
    error: OSError = OSError("no address")
    for family, address in await _found(loop, endpoint):
        try:
            return await _connected(loop, family, address)
        except OSError as refused:
            error = refused
    raise error


async def _found(loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> list[tuple[int, object]]:
    """Family and address of each place that it may be. A name alone is looked up, in a thread of the loop."""
    host, port, stream = endpoint.host, endpoint.port, socket.SOCK_STREAM
    try:
        infos = socket.getaddrinfo(host.encode("ascii"), port, type=stream, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        infos = await loop.getaddrinfo(host, port, type=stream)
    return [(family, address) for family, _, _, _, address in infos]


async def _connected(loop: asyncio.AbstractEventLoop, family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await _connect(loop, sock, address)
        else:
            await loop.sock_connect(sock, address)  # type: ignore[arg-type] # typeshed knows no sockaddr of its own
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return sock


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, address: object) -> None:
    """As ``loop.sock_connect``, where uvloop would look up the address once more, in its threads."""
    try:
        sock.connect(address)  # type: ignore[arg-type] # typeshed knows no sockaddr here either
    except BlockingIOError:
        ready = loop.create_future()
        loop.add_writer(sock, _told, ready)
        try:
            await ready
        finally:
            loop.remove_writer(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code)) from None


def _told(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
