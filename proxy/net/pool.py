"""Persistent connections to the upstreams.

Key: an ``Endpoint``, that is address, TLS and every verify setting; connections are shared only where all of it
agrees. An idle one is used no longer than its route and the upstream's own word allow, because what is sent as the
upstream closes it is lost. Which of several endpoints is chosen, and which are left alone, is ``net.endpoints``'s. A
dial may be repeated elsewhere, because nothing has been sent yet; a request never is. All that wait for an upstream
that is down share one attempt at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

from proxy.core.policy import Endpoint
from proxy.core.proxy_protocol import LOCAL
from proxy.errors import ConfigError
from proxy.net.clock import NEVER, Clock, Turn
from proxy.net.endpoints import Endpoints
from proxy.net.tls import upstream_context
from proxy.net.upstream import CLOSED, Owner, UpstreamConnection
from proxy.reasons import Reason

# -- Making one connection to an upstream: the socket, what goes first on it, and TLS.
#
# ``loop.create_connection`` would do it in one call, but the connection must know its socket, which it asks whether
# the upstream has hung up, and a PROXY header must go before TLS.


async def connect(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, owner: Owner, preface: bytes
) -> UpstreamConnection:
    """A connection to ``endpoint`` that is lent to the caller, with ``preface`` written on it. Raises OSError, and for
    a name or a file that cannot be used UnicodeError and ConfigError.
    """
    if endpoint.path is not None:
        sock = await _connected(loop, socket.AF_UNIX, endpoint.path)
    else:
        sock = await socket_to(loop, endpoint.host, endpoint.port)
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


async def socket_to(
    loop: asyncio.AbstractEventLoop, host: str, port: int, timeout_s: float | None = None
) -> socket.socket:
    """Connected to the first address of ``host`` that takes it; ``timeout_s`` is for each, and to look them up. Raises
    OSError, and UnicodeError where the host cannot be a name.
    """
    error = OSError(f"{host} has no address")
    async with asyncio.timeout(timeout_s):
        found = await _found(loop, host, port)
    for family, address in found:
        try:
            async with asyncio.timeout(timeout_s):
                return await _connected(loop, family, address)
        except OSError as refused:  # TimeoutError is one
            error = refused if refused.strerror else OSError(f"{address[0]} does not answer")
    raise error


async def _found(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Family and address of each place that it may be. A name alone is looked up, in a thread of the loop."""
    stream = socket.SOCK_STREAM
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


#: Idle connections kept for one endpoint.
MAX_IDLE = 256
#: While a verified delivery waits for an unreachable upstream, it is tried again this often.
RETRY_S = 0.1
#: Of the exchanges that waited, so many at once connect when it is back: a fresh server's queue is short.
MAX_WAITING_DIALS = 32


@dataclass(slots=True, eq=False, repr=False)
class Dial:
    """A connection that is being made: to the best endpoint, then to the others, then again until ``patience_s`` is
    over, and where there is patience only to those that are ready. ``ready`` or ``failed`` is called once, unless the
    exchange has ended meanwhile and calls ``cancel``.
    """

    endpoints: tuple[Endpoint, ...]
    _: KW_ONLY
    patience_s: float
    ready: Callable[[UpstreamConnection], None]
    failed: Callable[[], None]
    preface: bytes = b""  # the PROXY header of the client: goes first to endpoints with ``send_proxy``
    cancelled: bool = field(init=False, default=False)

    def cancel(self) -> None:
        """Neither ``ready`` nor ``failed`` is called any more; a connection that is being made goes to the pool."""
        self.cancelled = True


class Agents(Protocol):
    """The agents that are connected (``proxy.agent.roster``)."""

    def among(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The endpoints, with the processes of each agent in its place."""

    async def open(self, endpoint: Endpoint) -> UpstreamConnection:
        """A connection to such a process, lent to the caller. OSError where it is gone."""


class UpstreamPool:
    """The connections of one worker to all its upstreams."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, turn: Turn, *, connect_timeout_s: float) -> None:
        self.connect_timeout_s = connect_timeout_s
        self.deadline = NEVER
        self.turn = turn
        self.endpoints = Endpoints(clock)
        self.agents: Agents | None = None
        self._loop = loop
        self._clock = clock
        self._dials: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- for exchanges

    def acquire(self, endpoints: tuple[Endpoint, ...], *, waits: bool = False) -> UpstreamConnection | None:
        """An idle connection to the best endpoint, or None; with ``waits`` only one that is ready will do."""
        if self.agents is not None and not (endpoints := self.agents.among(endpoints)):
            return None
        if waits and not (endpoints := self.endpoints.ready(endpoints)):
            return None
        endpoint = self.endpoints.order(endpoints)[0] if len(endpoints) > 1 else endpoints[0]
        state = self.endpoints[endpoint]
        now = self._clock.now() if state.idle else 0.0
        while state.idle:
            connection = state.idle[-1]
            due = min(connection.idle_until, connection.idle_since + endpoint.idle_timeout_s)
            if now < due and not connection.is_stale:
                state.idle.pop()
                state.outstanding += 1
                connection.endpoint = endpoint  # equal to its own, but for how long this route lets it be idle
                if len(endpoints) > 1:
                    self.endpoints.charge(endpoint, endpoints)
                return connection
            connection.close()  # ``lost`` takes it out
        return None

    def dial(self, dial: Dial) -> Dial:
        """Make the connection that ``dial`` asks for, and give it back."""
        task = self._loop.create_task(self._dial(dial))
        self._dials.add(task)
        task.add_done_callback(lambda done: self._dialled(done, dial))
        return dial

    def waiting_dials(self) -> int:
        """How many exchanges wait for a connection."""
        return len(self._dials)

    def lent_connections(self) -> int:
        """How many connections are in use."""
        return sum(state.outstanding for state in self.endpoints)

    def idle_connections(self) -> int:
        """How many connections wait for a request."""
        return sum(len(state.idle) for state in self.endpoints)

    async def open(self, endpoint: Endpoint, preface: bytes = LOCAL) -> UpstreamConnection:
        """A connection that is lent to the caller; ``preface`` goes first where the endpoint wants a PROXY header.
        Raises OSError, and for a name or a file that cannot be used UnicodeError and ConfigError.
        """
        if endpoint.agent:
            if self.agents is None:
                raise ConnectionRefusedError("no agent is here")
            return await self.agents.open(endpoint)
        return await connect(self._loop, endpoint, self, preface if endpoint.send_proxy else b"")

    async def close(self) -> None:
        """Close what is idle and stop what is being made."""
        self._closed = True
        self._clock.unwatch(self)
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for state in self.endpoints:
            while state.idle:
                state.idle[-1].close()

    # -- for connections (upstream.Owner)

    def made(self, connection: UpstreamConnection) -> None:
        """The connection stands and is lent to the exchange that dialled."""
        self.endpoints[connection.endpoint].outstanding += 1
        self._clock.watch(self)

    def released(self, connection: UpstreamConnection) -> None:
        """The connection is idle: its answer was read to its end, or the exchange is gone."""
        state = self.endpoints[connection.endpoint]
        state.outstanding -= 1
        now = connection.idle_since = self._clock.now()
        left_s = min(connection.endpoint.idle_timeout_s, connection.idle_limit_s)
        connection.idle_until = now + left_s
        state.idle.append(connection)
        if self._closed or not state.keeps or left_s <= 0:
            connection.close()
        elif len(state.idle) > MAX_IDLE:
            state.idle[0].close()
        elif connection.idle_until < self.deadline:
            self.deadline = self._clock.after(left_s)

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is closed: while idle, or while it was lent."""
        state = self.endpoints[connection.endpoint]
        try:
            state.idle.remove(connection)
        except ValueError:
            state.outstanding -= 1

    # -- for the clock

    def deadline_passed(self, now: float) -> None:
        """Close what has been idle too long."""
        idle = [connection for state in self.endpoints for connection in state.idle]
        for connection in idle:
            if connection.idle_until <= now:
                connection.close()
        self.deadline = min((one.idle_until for one in idle if one.idle_until > now), default=NEVER)

    # -- inside

    def present(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Those of ``endpoints`` that can be connected to: of agents, what is there."""
        return endpoints if self.agents is None else self.agents.among(endpoints)

    def why_unreached(self, endpoints: tuple[Endpoint, ...], *, waited: bool) -> tuple[Reason, str]:
        """Why there was no connection to any of them, and a word that tells more."""
        present = self.present(endpoints)
        if all(endpoint.agent for endpoint in endpoints):
            return Reason.AGENT_AWAY, "no_connection" if present else ""
        return Reason.UPSTREAM_UNREACHABLE, "not_ready" if waited and not self.endpoints.ready(present) else ""

    async def _dial(self, dial: Dial) -> None:
        until = self._clock.now() + dial.patience_s
        able = self.present(dial.endpoints)
        able = self.endpoints.ready(able) if dial.patience_s else able
        connection = None if dial.cancelled else await self._connect_any(able, dial.preface)
        connection = connection or await self._wait_for(dial, until)
        if connection is not None:
            self.released(connection) if dial.cancelled else dial.ready(connection)
        elif not dial.cancelled:
            dial.failed()

    async def _wait_for(self, dial: Dial, until: float) -> UpstreamConnection | None:
        """Try again, now and then, while there is patience left."""
        while not dial.cancelled and (left := until - self._clock.now()) > 0:
            await asyncio.sleep(min(RETRY_S, left))
            able = self.endpoints.ready(self.present(dial.endpoints))
            connection = able and (self.acquire(able) or await self._connect_again(able, until, dial.preface))
            if connection:
                return connection
        return None

    def _dialled(self, task: asyncio.Task[None], dial: Dial) -> None:
        self._dials.discard(task)
        if task.cancelled() or (bug := task.exception()) is None:
            return
        # An exchange that waits for the connection would wait until its own time is over.
        self.turn.complain(bug)
        if not dial.cancelled:
            dial.failed()

    async def _connect_any(self, endpoints: tuple[Endpoint, ...], preface: bytes) -> UpstreamConnection | None:
        for endpoint in self.endpoints.order(endpoints):
            connection = await self._connect(endpoint, self.connect_timeout_s, preface)
            if connection is not None:
                self.endpoints.charge(endpoint, endpoints)
                return connection
        return None

    async def _connect_again(
        self, endpoints: tuple[Endpoint, ...], until: float, preface: bytes
    ) -> UpstreamConnection | None:
        """A dial of an exchange that has waited: not where another tries already, and not all at once."""
        for endpoint in endpoints:
            state = self.endpoints[endpoint]
            if state.dialing >= (1 if state.failures else MAX_WAITING_DIALS):
                continue
            left = max(until - self._clock.now(), RETRY_S)
            connection = await self._connect(endpoint, min(self.connect_timeout_s, left), preface)
            if connection is not None:
                return connection
        return None

    async def _connect(self, endpoint: Endpoint, timeout_s: float, preface: bytes) -> UpstreamConnection | None:
        state = self.endpoints[endpoint]
        state.dialing += 1
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self.open(endpoint, preface)
        except (OSError, UnicodeError, ConfigError) as error:
            self.endpoints.refused(endpoint, error)
            return None
        finally:
            state.dialing -= 1
        self.endpoints.accepted(endpoint)
        if connection.state is CLOSED:
            return None
        # An upstream that has hung up, or speaks first, gets no delivery. Over TLS the first bytes may be session
        # tickets.
        if not endpoint.secure and connection.is_stale:
            connection.close()
            return None
        return connection
