"""One ``[tcp.NAME]``: accepts, judges the address, dials the upstream and lets a pipe run between the two.

The upstream is dialled before anything is read from the client, and the client is reset where that fails. There is no
idle deadline: an SSH session may be silent for a day.

Through a pipe bytes go both ways untouched, and nothing is looked at. Each direction ends by itself (half-close); a
reset on one side becomes a reset on the other, so that neither takes a broken transfer for a whole one. Backpressure:
the sink's ``pause_writing`` is the source's ``pause_reading``, so a pipe holds no more than two write buffers,
whichever side is slow.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from proxy.core.addresses import AddressSet, Peer
from proxy.core.policy import Endpoint
from proxy.core.proxy_protocol import header_for
from proxy.net.acceptor import Acceptor, SettingUp
from proxy.net.admission import ConnectionSlot, ConnectionSlots, PolicyHolder
from proxy.net.sockets import abort, reset
from proxy.values import mutable

#: Bytes that wait in a direction before its source is paused.
WRITE_HIGH_BYTES = 64 * 1024

#: A peer that vanished without a word is found after 60 + 4 * 15 s; a pipe has no other deadline of its own.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Flow:
    """What the two ends of a pipe share: how many ends are left, what to call."""

    __slots__ = ("ended", "ends_left")

    def __init__(self, ended: Callable[[], None]) -> None:
        self.ended = ended
        self.ends_left = 2


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


@mutable
class ForwardCounters:
    """What one forward has done. All but ``open`` only grow."""

    opened: int = 0
    open: int = 0
    dial_failed: int = 0
    bytes_in: int = 0  # from clients
    bytes_out: int = 0  # from the upstream


class TcpForward(Acceptor):
    """Forwards connections of one listening socket, which it owns from now on, to ``upstream``.

    ``allow`` is judged at accept, None admits every address; a reload may set it anew, for connections to come.
    ``slots`` are shared with all listeners of the worker, so that the caps hold for all together; pipes leave
    ``reserved_share`` of them to connections for routes. The connect timeout is the policy's. Pipes live on when it
    stops.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        site: PolicyHolder,
        slots: ConnectionSlots,
        upstream: Endpoint,
        allow: AddressSet | None,
    ) -> None:
        super().__init__(sock, site=site, slots=slots, gate=lambda: self.allow, hand_over=self._take_over, lasting=True)
        self.allow = allow
        self.counters = ForwardCounters()
        self._upstream = upstream
        self._changed = asyncio.Event()  # there may be nothing left
        self._setting_up = SettingUp("a pipe could not be laid", self._changed.set)
        self._pipes: set[PipeEnd] = set()

    async def drained(self) -> None:
        """Returns when no pipe is left. Call ``stop`` first."""
        while self._setting_up or self._pipes:
            self._changed.clear()
            await self._changed.wait()

    async def abandon(self) -> None:
        """Stop, reset every pipe, and return when nothing is left: the end of a drain."""
        self.stop()
        await self._setting_up.abandon()
        for client in list(self._pipes):
            client.abort()
            client.sink.abort()
        await self.drained()

    def _take_over(self, sock: socket.socket, peer: Peer, slot: ConnectionSlot) -> None:
        self._setting_up.begin(self._connect(sock, peer, slot), slot)

    async def _connect(self, sock: socket.socket, peer: Peer, slot: ConnectionSlot) -> None:
        client, upstream = pair(lambda: self._ended(client, slot), self._received, self._answered)
        try:
            async with asyncio.timeout(self._site.policy.server.connect_timeout_s):
                await self._dial(upstream)
                if self._upstream.send_proxy:
                    upstream.begin_with(header_for(peer, sock.getsockname()))
        except BaseException as error:
            slot.release()
            reset(sock)
            upstream.abort()  # it may stand already, where what came behind it failed
            if not isinstance(error, OSError):
                raise
            self.counters.dial_failed += 1
            return
        self._setting_up.hold_fast()
        self.counters.opened += 1
        self.counters.open += 1
        self._pipes.add(client)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: client, sock)
        except OSError as error:
            reset(sock)
            client.connection_lost(error)  # no transport will say so

    async def _dial(self, upstream: PipeEnd) -> None:
        loop, to = asyncio.get_running_loop(), self._upstream
        if to.path is not None:
            await loop.create_unix_connection(lambda: upstream, to.path)
        else:
            await loop.create_connection(lambda: upstream, to.host, to.port)

    def _ended(self, client: PipeEnd, slot: ConnectionSlot) -> None:
        slot.release()
        self.counters.open -= 1
        self._pipes.remove(client)
        self._changed.set()

    def _received(self, size: int) -> None:
        self.counters.bytes_in += size

    def _answered(self, size: int) -> None:
        self.counters.bytes_out += size
