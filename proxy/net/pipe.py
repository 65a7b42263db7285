"""Plain TCP forwarding for ``[tcp.NAME]``: the address is checked at accept, then bytes go both ways untouched.

Each direction ends by itself (half-close); a reset on one side becomes a reset on the other, so that neither takes a
broken transfer for a whole one. Backpressure: the sink's ``pause_writing`` is the source's ``pause_reading``, so a pipe
holds no more than two write buffers, whichever side is slow. Nothing is looked at.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from proxy.net.reset import abort

#: Bytes that wait in a direction before its source is paused.
WRITE_HIGH_BYTES = 64 * 1024

#: A peer that vanished without a word is found after 60 + 4 * 15 s; a pipe has no other deadline of its own.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Flow:
    """What the two ends of a pipe share: when something moved last, how many ends are left, what to call."""

    __slots__ = ("ended", "ends_left", "loop", "moved_at")

    def __init__(self, ended: Callable[[], None]) -> None:
        self.ended = ended
        self.ends_left = 2
        self.loop = asyncio.get_running_loop()
        self.moved_at = self.loop.time()


class PipeEnd(asyncio.Protocol):
    """One end of a pipe. Two are made as a pair by :func:`pair`; each reads its transport and writes to its sink's.

    What comes before the other end is connected is kept: at most one read, for then reading is paused. (Pausing in
    ``connection_made`` would be simpler; uvloop undoes it.)
    """

    __slots__ = ("_early", "_received", "eof", "flow", "sink", "transport")

    def __init__(self, flow: Flow, received: Callable[[int], None]) -> None:
        self.flow = flow
        self._received = received
        self.sink: PipeEnd = self  # the other end, once paired
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self.eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's call: connected. What the other end kept goes out."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        _keep_alive(self.transport)
        if self.flow.ends_left < 2:
            self.abort()  # the other end was reset before we came
            return
        self.sink.flush_early()

    def begin_with(self, data: bytes) -> None:
        """Write to this end before anything of the other."""
        if self.transport is not None:
            self.transport.write(data)

    def flush_early(self) -> None:
        """The sink is connected now: pass on what came before, and read on."""
        target = self.sink.transport
        if self.transport is None or target is None:
            return
        self.resume()  # before the writes: they may ask for a pause again
        for data in self._early:
            target.write(data)
        self._early.clear()
        if self.eof:
            self._end(target)

    def data_received(self, data: bytes) -> None:
        """Asyncio's call: pass on."""
        self.flow.moved_at = self.flow.loop.time()
        self._received(len(data))
        target = self.sink.transport
        if target is None:
            self._early.append(data)
            self.pause()
        else:
            target.write(data)

    def eof_received(self) -> bool:
        """Asyncio's call: this direction has ended. The other may go on, so the transport stays open."""
        self.eof = True
        target = self.sink.transport
        if target is not None:
            self._end(target)
        return True

    def _end(self, target: asyncio.Transport) -> None:
        if self.sink.eof:
            # Both directions have ended; close() still sends what waits.
            target.close()
            if self.transport is not None:
                self.transport.close()
        elif target.can_write_eof() and not target.is_closing():
            target.write_eof()

    def pause_writing(self) -> None:
        """Asyncio's call: our peer reads slowly, so the other end's peer must wait."""
        self.sink.pause()

    def resume_writing(self) -> None:
        """Asyncio's call: our peer has caught up."""
        self.sink.resume()

    def pause(self) -> None:
        """Read nothing for now."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        # After the end there is nothing to read, and a transport that reads again would report the end again.
        if self.transport is not None and not self.eof and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's call: gone. Unless both directions had ended before, the other end is reset too."""
        self.transport = None
        self._early.clear()
        if exc is not None or not (self.eof and self.sink.eof):
            self.sink.abort()
        self.flow.ends_left -= 1
        if self.flow.ends_left == 0:
            self.flow.ended()

    def abort(self) -> None:
        """End the connection by a reset, dropping what waits."""
        if self.transport is not None:
            abort(self.transport, self.transport.get_extra_info("socket"))


def pair(
    ended: Callable[[], None], received_in: Callable[[int], None], received_out: Callable[[int], None]
) -> tuple[PipeEnd, PipeEnd]:
    """The two ends of a new pipe: client's, upstream's. ``ended`` is called once, when both are gone."""
    flow = Flow(ended)
    client, upstream = PipeEnd(flow, received_in), PipeEnd(flow, received_out)
    client.sink, upstream.sink = upstream, client
    return client, upstream


def _keep_alive(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
