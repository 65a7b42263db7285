"""What a load balancer asks for itself: its PROXY header names no client (LOCAL, UNKNOWN, UNSPEC).

That is how its health checks look, so it is answered and never judged: neither the load balancer's own address nor any
other admits it, and no byte goes to an upstream. A check by HTTP hears 200 where its method is a safe one. All else is
reset and counted, for a balancer that does not know its clients (HAProxy's frontends on unix sockets write UNKNOWN)
must not have their deliveries told 200.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from proxy.core.addresses import Peer
from proxy.core.setup_faults import NO_CLIENT
from proxy.net.admission import ConnectionSlots
from proxy.net.reset import abort

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
