"""One ``[tcp.NAME]``: accepts, judges the address, dials the upstream and lets a pipe run between the two.

The upstream is dialled before anything is read from the client, and the client is reset where that fails. There is no
idle deadline unless one is given: an SSH session may be silent for a day.
"""

from __future__ import annotations

import asyncio
import socket

from proxy.core.addresses import AddressSet, Peer
from proxy.core.policy import Endpoint
from proxy.core.proxy_protocol import header_for
from proxy.net.acceptor import Acceptor
from proxy.net.admission import ConnectionSlot, ConnectionSlots, PolicyHolder
from proxy.net.pipe import PipeEnd, pair
from proxy.net.reset import reset
from proxy.values import mutable

#: An idle pipe may live this part of its time longer; sweeping more often would cost more than it is worth.
_SWEEP_PART = 8


@mutable
class ForwardCounters:
    """What one forward has done. All but ``open`` only grow."""

    opened: int = 0
    open: int = 0
    dial_failed: int = 0
    idle_closed: int = 0
    bytes_in: int = 0  # from clients
    bytes_out: int = 0  # from the upstream


class TcpForward:
    """Forwards connections of one listening socket, which it owns from now on, to ``upstream``.

    ``allow`` is judged at accept, None admits every address; a reload may set it anew, for connections to come.
    ``slots`` are shared with all listeners of the worker, so that the caps hold for all together; pipes leave
    ``reserved_share`` of them to connections for routes. The connect timeout
    is the policy's. ``idle_timeout_s`` 0 is none.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        site: PolicyHolder,
        slots: ConnectionSlots,
        upstream: Endpoint,
        allow: AddressSet | None,
        idle_timeout_s: float = 0.0,
    ) -> None:
        self.allow = allow
        self.counters = ForwardCounters()
        self._site = site
        self._upstream = upstream
        self._idle_timeout_s = idle_timeout_s
        self._acceptor = Acceptor(
            sock, site=site, slots=slots, gate=lambda: self.allow, hand_over=self._take_over, lasting=True
        )
        self._dialling: set[asyncio.Task[None]] = set()
        self._joining: set[asyncio.Task[None]] = set()
        self._pipes: set[PipeEnd] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept on the running loop."""
        self._acceptor.start()
        if self._idle_timeout_s:
            self._sweep()

    def take_queue(self) -> None:
        """Accept what has connected already, before a drain."""
        self._acceptor.take_queue()

    def stop(self) -> None:
        """Stop accepting, at once (drain). Pipes live on."""
        self._acceptor.stop()

    def shield(self, *, on: bool) -> None:
        """Let the kernel drop addresses that ``allow`` does not admit now, or stop that. Call it after each change."""
        self._acceptor.shield(on=on)

    @property
    def is_shielded(self) -> bool:
        """Whether the kernel does."""
        return self._acceptor.is_shielded

    async def drained(self) -> None:
        """Returns when no pipe is left. Call ``stop`` first."""
        while self._dialling or self._joining or self._pipes:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(turn)
            try:
                await turn
            finally:
                self._waiting.discard(turn)

    async def abandon(self) -> None:
        """Stop, reset every pipe, and return when nothing is left: the end of a drain."""
        self.stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
        # A task that is cancelled before its first step would never see the socket that it has to close.
        await asyncio.sleep(0)
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)
        for client in list(self._pipes):
            client.abort()
            client.sink.abort()
        await self.drained()

    def _take_over(self, sock: socket.socket, peer: Peer, slot: ConnectionSlot) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(sock, peer, slot))
        self._dialling.add(task)
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._dialling.discard(task)
        self._joining.discard(task)
        self._tell_waiting()
        if not task.cancelled() and (error := task.exception()):
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a pipe could not be laid", "exception": error, "task": task}
            )

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
        self._hold_fast()
        self.counters.opened += 1
        self.counters.open += 1
        self._pipes.add(client)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: client, sock)
        except OSError as error:
            reset(sock)
            client.connection_lost(error)  # no transport will say so

    def _hold_fast(self) -> None:
        # What follows takes no time, and must not be cancelled: uvloop then closes a transport whose connection_made
        # has run, and never calls connection_lost.
        task = asyncio.current_task()
        assert task is not None
        self._dialling.discard(task)
        self._joining.add(task)

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
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    def _received(self, size: int) -> None:
        self.counters.bytes_in += size

    def _answered(self, size: int) -> None:
        self.counters.bytes_out += size

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time() - self._idle_timeout_s
        for client in [one for one in self._pipes if one.flow.moved_at < before]:
            self.counters.idle_closed += 1
            client.abort()
            client.sink.abort()
        self._sweeping = loop.call_later(self._idle_timeout_s / _SWEEP_PART, self._sweep)
