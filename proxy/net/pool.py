"""Persistent connections to the upstreams, and the choice between several of them.

Key: an ``Endpoint``, that is address, TLS and every verify setting; connections are shared only where all of it
agrees. An idle one is used no longer than its route and the upstream's own word allow, because what is sent as the
upstream closes it is lost. Choice: the healthy endpoint with the fewest exchanges under way for its weight, and of
equal ones the one whose turn it is. Health is passive: an endpoint that refuses connections is left alone for a moment
that doubles, unless it is the only one; ``net.health`` may say more. A dial may be repeated elsewhere, because nothing
has been sent yet; a request never is. All that wait for an upstream that is down share one attempt at a
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import encodings.idna  # noqa: F401 - the loop encodes the names of hosts by it, when privileges may be gone
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import field

from proxy.core.policy import Endpoint
from proxy.core.proxy_protocol import LOCAL
from proxy.errors import ConfigError
from proxy.net.clock import NEVER, Clock
from proxy.net.tls import upstream_context
from proxy.net.turn import Turn
from proxy.net.upstream import CLOSED, UpstreamConnection
from proxy.values import mutable

log = logging.getLogger(__name__)

#: Idle connections kept for one endpoint.
MAX_IDLE = 256
#: An endpoint that refused is left alone this long at first, doubling up to the second figure.
EJECT_FIRST_S = 1.0
EJECT_MOST_S = 30.0
#: While a verified delivery waits for an unreachable upstream, it is tried again this often.
RETRY_S = 0.1
#: Of the exchanges that waited, so many at once connect when it is back: a fresh server's queue is short.
MAX_WAITING_DIALS = 32


@mutable
class EndpointState:
    """What the pool knows of one endpoint."""

    idle: deque[UpstreamConnection] = field(default_factory=deque)  # the warmest is on the right
    outstanding: int = 0  # connections that are lent to an exchange
    dialing: int = 0
    failures: int = 0
    ejected_until: float = 0.0
    unwell: bool = False  # by its own answers to health checks
    asked: bool = False  # by health checks
    failing: bool = False  # the last check, or what was tried after it
    doubt: asyncio.Event = field(default_factory=asyncio.Event)  # there is a reason to check at once
    keeps: bool = True  # its connections, once they are idle
    turn: float = 0.0  # grows by 1/weight with each exchange


class Dial:
    """A connection that is being made. ``cancel`` where the exchange has ended meanwhile."""

    __slots__ = ("cancelled", "preface")

    def __init__(self, preface: bytes = b"") -> None:
        self.cancelled = False
        self.preface = preface

    def cancel(self) -> None:
        """Neither ``ready`` nor ``failed`` is called any more; a connection that is being made goes to the pool."""
        self.cancelled = True


class UpstreamPool:
    """The connections of one worker to all its upstreams."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, turn: Turn, *, connect_timeout_s: float) -> None:
        self.connect_timeout_s = connect_timeout_s
        self.deadline = NEVER
        self.turn = turn
        self._loop = loop
        self._clock = clock
        self._states: dict[Endpoint, EndpointState] = {}
        self._turn = 0.0  # of the endpoint chosen last: one that comes back is behind by one at most
        self._dials: set[asyncio.Task[None]] = set()
        self._closed = False
        self._used: frozenset[Endpoint] | None = None  # None: any

    # -- for exchanges

    def acquire(self, endpoints: tuple[Endpoint, ...], *, waits: bool = False) -> UpstreamConnection | None:
        """An idle connection to the best endpoint, or None where one must be dialled. ``waits`` where it may be waited
        for: then only an endpoint that is ready will do.
        """
        if waits and not (endpoints := self.ready(endpoints)):
            return None
        several = len(endpoints) > 1
        endpoint = self._order(endpoints)[0] if several else endpoints[0]
        state = self._state(endpoint)
        now = self._clock.now() if state.idle else 0.0
        while state.idle:
            connection = state.idle[-1]
            due = min(connection.idle_until, connection.idle_since + endpoint.idle_timeout_s)
            if now < due and not connection.is_stale:
                state.idle.pop()
                state.outstanding += 1
                connection.endpoint = endpoint  # equal to its own, but for how long this route lets it be idle
                if several:
                    self._charge(endpoint, endpoints)
                return connection
            connection.close()  # ``lost`` takes it out
        return None

    def dial(
        self,
        endpoints: tuple[Endpoint, ...],
        *,
        patience_s: float,
        ready: Callable[[UpstreamConnection], None],
        failed: Callable[[], None],
        preface: bytes = b"",
    ) -> Dial:
        """Make a connection: to the best endpoint, then to the others, then again until ``patience_s`` is over, and
        where there is patience, only to those that are ready.

        ``preface`` goes first to endpoints with ``send_proxy``: the PROXY header of the client.
        """
        dial = Dial(preface)
        task = self._loop.create_task(self._dial(dial, endpoints, patience_s, ready, failed))
        self._dials.add(task)
        task.add_done_callback(lambda done: self._dialled(done, dial, failed))
        return dial

    def ready(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Those whose health check, where they have one, does not fail. The others are asked again soon."""
        found = []
        for endpoint in endpoints:
            state = self._state(endpoint)
            if state.failing:
                state.doubt.set()
            else:
                found.append(endpoint)
        return tuple(found)

    def unavailable(self, endpoint: Endpoint) -> None:
        """It has answered 503: its health check, where it has one, may say more."""
        self._state(endpoint).doubt.set()

    def reachable(self, endpoints: tuple[Endpoint, ...]) -> bool:
        """Whether at least one endpoint is not ejected now."""
        now = self._clock.now()
        return any(self._is_well(self._state(endpoint), now) for endpoint in endpoints)

    def waiting_dials(self) -> int:
        """How many exchanges wait for a connection."""
        return len(self._dials)

    def lent_connections(self) -> int:
        """How many connections are in use."""
        return sum(state.outstanding for state in self._states.values())

    def conditions(self) -> dict[str, bool]:
        """Whether each endpoint that was ever used is well now."""
        now = self._clock.now()
        return {str(endpoint): self._is_well(state, now) for endpoint, state in self._states.items()}

    def idle_connections(self) -> int:
        """How many connections wait for a request."""
        return sum(len(state.idle) for state in self._states.values())

    def use(self, endpoints: Iterable[Endpoint]) -> None:
        """Forget every endpoint but these: its idle connections are closed, those in use when they become idle."""
        self._used = frozenset(endpoints)
        for endpoint, state in list(self._states.items()):
            state.keeps = endpoint in self._used and not endpoint.send_proxy
            if endpoint in self._used:
                continue
            while state.idle:
                state.idle[-1].close()
            if not state.outstanding and not state.dialing:
                del self._states[endpoint]

    # -- for health checks

    async def open(self, endpoint: Endpoint) -> UpstreamConnection:
        """A connection that is lent to the caller. Raises OSError and what else a connection can fail with."""
        return await self._open(endpoint, LOCAL if endpoint.send_proxy else b"")

    def checked(self, endpoint: Endpoint, *, well: bool, failing: bool, asked: bool = True) -> None:
        """What its health check says; ``asked`` where it will be asked again. An endpoint that is not well is chosen
        only where no other is; to one whose check is ``failing`` nothing is sent that can wait.
        """
        state = self._state(endpoint)
        if state.unwell and well:
            log.info("%s is well again", endpoint)
        state.unwell, state.failing, state.asked = not well, failing, asked

    async def doubted(self, endpoint: Endpoint) -> None:
        """Wait until there is a reason to check the endpoint at once."""
        doubt = self._state(endpoint).doubt
        await doubt.wait()
        doubt.clear()

    async def close(self) -> None:
        """Close what is idle and stop what is being made."""
        self._closed = True
        self._clock.unwatch(self)
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for state in self._states.values():
            while state.idle:
                state.idle[-1].close()

    # -- for connections (upstream.Owner)

    def made(self, connection: UpstreamConnection) -> None:
        """The connection stands and is lent to the exchange that dialled."""
        self._state(connection.endpoint).outstanding += 1
        self._clock.watch(self)

    def released(self, connection: UpstreamConnection) -> None:
        """The connection is idle: its answer was read to its end, or the exchange is gone."""
        state = self._state(connection.endpoint)
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
        state = self._state(connection.endpoint)
        try:
            state.idle.remove(connection)
        except ValueError:
            state.outstanding -= 1

    # -- for the clock

    def deadline_passed(self, now: float) -> None:
        """Close what has been idle too long."""
        idle = [connection for state in self._states.values() for connection in state.idle]
        for connection in idle:
            if connection.idle_until <= now:
                connection.close()
        self.deadline = min((one.idle_until for one in idle if one.idle_until > now), default=NEVER)

    # -- inside

    def _state(self, endpoint: Endpoint) -> EndpointState:
        state = self._states.get(endpoint)
        if state is None:
            used = self._used is None or endpoint in self._used
            state = self._states[endpoint] = EndpointState(keeps=used and not endpoint.send_proxy)
        return state

    def _order(self, endpoints: tuple[Endpoint, ...]) -> list[Endpoint]:
        """Healthy ones first, then by what is under way for their weight, then by turns."""
        if len(endpoints) == 1:
            return list(endpoints)
        now = self._clock.now()

        def rank(endpoint: Endpoint) -> tuple[bool, float, float]:
            state = self._state(endpoint)
            busy = (state.outstanding + state.dialing) / endpoint.weight
            return not self._is_well(state, now), busy, max(state.turn, self._turn - 1) + 1 / endpoint.weight

        return sorted(endpoints, key=rank)

    def _charge(self, chosen: Endpoint, endpoints: tuple[Endpoint, ...]) -> None:
        """It was this one's turn. ``chosen`` may be of another route, with another weight."""
        state = self._state(chosen)
        weight = next((one.weight for one in endpoints if one == chosen), 1)
        begun = max(state.turn, self._turn - 1)
        self._turn = max(begun, self._turn)
        state.turn = begun + 1 / weight

    @staticmethod
    def _is_well(state: EndpointState, now: float) -> bool:
        return state.ejected_until <= now and not state.unwell

    async def _dial(
        self,
        dial: Dial,
        endpoints: tuple[Endpoint, ...],
        patience_s: float,
        ready: Callable[[UpstreamConnection], None],
        failed: Callable[[], None],
    ) -> None:
        until = self._clock.now() + patience_s
        able = self.ready(endpoints) if patience_s else endpoints
        connection = None if dial.cancelled else await self._connect_any(able, dial.preface)
        while connection is None and not dial.cancelled and (left := until - self._clock.now()) > 0:
            await asyncio.sleep(min(RETRY_S, left))
            if able := self.ready(endpoints):
                connection = self.acquire(able) or await self._connect_again(able, until, dial.preface)
        if dial.cancelled:
            if connection is not None:
                self.released(connection)
        elif connection is None:
            failed()
        else:
            ready(connection)

    def _dialled(self, task: asyncio.Task[None], dial: Dial, failed: Callable[[], None]) -> None:
        self._dials.discard(task)
        if task.cancelled() or (bug := task.exception()) is None:
            return
        # An exchange that waits for the connection would wait until its own time is over.
        self.turn.complain(bug)
        if not dial.cancelled:
            failed()

    async def _connect_any(self, endpoints: tuple[Endpoint, ...], preface: bytes) -> UpstreamConnection | None:
        for endpoint in self._order(endpoints):
            connection = await self._connect(endpoint, self.connect_timeout_s, preface)
            if connection is not None:
                if len(endpoints) > 1:
                    self._charge(endpoint, endpoints)
                return connection
        return None

    async def _connect_again(
        self, endpoints: tuple[Endpoint, ...], until: float, preface: bytes
    ) -> UpstreamConnection | None:
        """A dial of an exchange that has waited: not where another tries already, and not all at once."""
        for endpoint in endpoints:
            state = self._state(endpoint)
            if state.dialing >= (1 if state.failures else MAX_WAITING_DIALS):
                continue
            left = max(until - self._clock.now(), RETRY_S)
            connection = await self._connect(endpoint, min(self.connect_timeout_s, left), preface)
            if connection is not None:
                return connection
        return None

    async def _connect(self, endpoint: Endpoint, timeout_s: float, preface: bytes) -> UpstreamConnection | None:
        state = self._state(endpoint)
        state.dialing += 1
        try:
            async with asyncio.timeout(timeout_s):
                connection = await (self._open(endpoint, preface) if endpoint.send_proxy else self._open(endpoint))
        except (OSError, UnicodeError, ConfigError) as error:  # the others: a name or a file that cannot be used
            if not state.failures:
                log.warning("%s cannot be reached: %s", endpoint, str(error) or type(error).__name__)
            state.failures += 1
            # An upstream that comes back may listen before it can answer.
            state.failing = state.asked
            state.doubt.set()
            pause_s = min(EJECT_FIRST_S * 2 ** min(state.failures - 1, 10), EJECT_MOST_S)
            state.ejected_until = self._clock.now() + pause_s
            return None
        finally:
            state.dialing -= 1
        state.failures = 0
        state.ejected_until = 0.0
        if connection.state is CLOSED:
            return None
        # An upstream that has hung up, or speaks first, gets no delivery. Over TLS the first bytes may be session
        # tickets.
        if endpoint.tls is None and connection.is_stale:
            connection.close()
            return None
        return connection

    async def _open(self, endpoint: Endpoint, preface: bytes = b"") -> UpstreamConnection:
        sock = await self._connected_socket(endpoint)
        try:
            if preface:  # before TLS, whose peer reads what is behind it
                await self._loop.sock_sendall(sock, preface)
            context = upstream_context(endpoint.tls) if endpoint.tls else None
            name = (endpoint.tls.server_name or endpoint.host) if endpoint.tls else None
            _, connection = await self._loop.create_connection(
                lambda: UpstreamConnection(endpoint, self, sock), sock=sock, ssl=context, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _connected_socket(self, endpoint: Endpoint) -> socket.socket:
        if endpoint.path is not None:
            return await self._connect_socket(socket.AF_UNIX, endpoint.path)
        infos = await self._loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        error: OSError = OSError("no address")
        for family, _, _, _, address in infos:
            try:
                return await self._connect_socket(family, address)
            except OSError as refused:
                error = refused
        raise error

    async def _connect_socket(self, family: int, address: object) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(sock, address)  # type: ignore[arg-type]
        except BaseException:
            with contextlib.suppress(OSError):
                sock.close()
            raise
        return sock
