"""Take the PROXY protocol header off an accepted socket, and not one byte more (HAProxy, doc/proxy-protocol.txt).

What follows the header is the client's TLS or HTTP, which a transport made later must find untouched: so bytes are
peeked (MSG_PEEK), judged by ``core.proxy_protocol``, and only what belongs to the header is taken. A beginning of a
header belongs to it whole, so it is taken at once: left in the socket, it would keep the loop awake until the rest
comes. Whether the peer may send such a header is the listener's check, before.

Where the header names no client (LOCAL, UNKNOWN, UNSPEC), a load balancer asks for itself: that is how its health
checks look, so it is answered and never judged: neither the load balancer's own address nor any other admits it, and no
byte goes to an upstream. A check by HTTP hears 200 where its method is a safe one. All else is reset and counted, for a
balancer that does not know its clients (HAProxy's frontends on unix sockets write UNKNOWN) must not have their
deliveries told 200.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from proxy.core.addresses import Peer
from proxy.core.proxy_protocol import NEED_MORE, Header, parse
from proxy.core.setup_faults import (
    BROKEN_HEADER,
    HTTP_FOR_HEADER,
    LATE_HEADER,
    NO_CLIENT,
    NO_HEADER,
    TLS_FOR_HEADER,
    SetupFault,
    Spoken,
    spoken,
)
from proxy.errors import ProtocolError
from proxy.net.admission import ConnectionSlots
from proxy.net.sockets import abort

#: A whole header is sent in one piece by every load balancer; the specification asks for at least 3 s.
HEADER_TIMEOUT_S = 5.0

#: More than the longest header (16 + 4096 bytes), so that one look nearly always is enough.
_PEEK_BYTES = 4200


_FAULTS = {Spoken.TLS.value: TLS_FOR_HEADER, Spoken.HTTP.value: HTTP_FOR_HEADER, Spoken.PROXY.value: BROKEN_HEADER}


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


#: Longer than any check waits.
CHECK_TIMEOUT_S = 5.0
#: Of a check's head, which has a few fields.
CHECK_HEAD_BYTES = 4096
_ASKS = (b"OPTIONS ", b"GET ", b"HEAD ")
_WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"


class BalancerCheck(asyncio.Protocol):
    """The protocol of one check. ``on_close`` is called once, when its connection is gone."""

    def __init__(self, slots: ConnectionSlots, proxy: Peer, on_close: Callable[[], None]) -> None:
        self._slots = slots
        self._proxy = proxy
        self._on_close = on_close
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The header was taken, and TLS is there where it is due."""
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = asyncio.get_running_loop().call_later(CHECK_TIMEOUT_S, self._end)

    def data_received(self, data: bytes) -> None:
        """Answer a whole head; anything that is none waits for its end or the deadline."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._head += data
        if self._head.startswith(_ASKS) and b"\r\n\r\n" in self._head:
            transport.write(_WELL)
            transport.close()
        elif b"\r\n\r\n" in self._head or len(self._head) > CHECK_HEAD_BYTES:
            self._slots.counters.proxy_header_failed += 1
            self._slots.note(NO_CLIENT, self._proxy.text)
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The check has what it wanted, or was ended."""
        del exc
        if self._deadline is not None:
            self._deadline.cancel()
        self._transport = self._deadline = None
        self._on_close()

    def _end(self) -> None:
        if self._transport is not None:
            abort(self._transport, self._transport.get_extra_info("socket"))
