"""Take the PROXY protocol header off an accepted socket, and not one byte more (HAProxy, doc/proxy-protocol.txt).

What follows the header is the client's TLS or HTTP, which a transport made later must find untouched: so bytes are
peeked (MSG_PEEK), judged by ``core.proxy_protocol``, and only what belongs to the header is taken. A beginning of a
header belongs to it whole, so it is taken at once: left in the socket, it would keep the loop awake until the rest
comes. Whether the peer may send such a header is the listener's check, before.
"""

from __future__ import annotations

import asyncio
import socket

from proxy.core.proxy_protocol import NEED_MORE, Header, parse
from proxy.core.setup_faults import (
    BROKEN_HEADER,
    HTTP_FOR_HEADER,
    LATE_HEADER,
    NO_HEADER,
    TLS_FOR_HEADER,
    SetupFault,
    Spoken,
    spoken,
)
from proxy.errors import ProtocolError

#: A whole header is sent in one piece by every load balancer; the specification asks for at least 3 s.
HEADER_TIMEOUT_S = 5.0

#: More than the longest header (16 + 4096 bytes), so that one look nearly always is enough.
_PEEK_BYTES = 4200


_FAULTS = {
    Spoken.TLS.value: TLS_FOR_HEADER,
    Spoken.HTTP.value: HTTP_FOR_HEADER,
    Spoken.PROXY.value: BROKEN_HEADER,
}


def header_fault(error: Exception) -> SetupFault:
    """What was wrong where ``take_header`` has raised ``error``."""
    if isinstance(error, ProtocolError):
        return _FAULTS.get(error.detail, NO_HEADER)
    return LATE_HEADER if isinstance(error, TimeoutError) else BROKEN_HEADER


async def take_header(sock: socket.socket, timeout_s: float = HEADER_TIMEOUT_S) -> Header | None:
    """Wait for the whole header and take it; None where the peer goes without a byte, as a probe of the port
    does. ``sock`` is non-blocking and has no transport.

    Raises ProtocolError for what is no header (its detail says what it is), TimeoutError where it is late, OSError
    where the peer is gone.
    """
    async with asyncio.timeout(timeout_s):
        taken = b""
        while True:
            seen = await _peek(sock)
            if not seen and not taken:
                return None
            if not seen:
                raise ConnectionResetError("closed before the header was whole")
            try:
                header = parse(taken + seen)
            except ProtocolError as error:
                raise ProtocolError(error.reason, spoken(taken + seen).value) from None
            mine = len(seen) if header is NEED_MORE else header.length - len(taken)
            taken += sock.recv(mine)
            if header is not NEED_MORE:
                return header


async def says_more(sock: socket.socket, timeout_s: float = HEADER_TIMEOUT_S) -> bool:
    """Wait for what follows a header, and leave it there; False where nothing does."""
    try:
        async with asyncio.timeout(timeout_s):
            return bool(await _peek(sock))
    except TimeoutError:
        return False


async def _peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        await _readable(sock)
        return await _peek(sock)
    except ConnectionResetError:
        return b""


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _wake, ready)
    try:
        await ready
    finally:
        # The descriptor must be free of the loop before a transport takes it.
        loop.remove_reader(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
