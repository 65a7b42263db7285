"""``Site``: what all connections of one worker share.

A reload swaps ``policy`` and ``table`` together; an exchange keeps what it began with. The rest lives as long as the
worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from proxy.core.addresses import Peer
from proxy.core.budget import BufferBudget, Party, RateLimiter
from proxy.core.exchange import Reject
from proxy.core.handshakes import HandshakeAnswer
from proxy.core.keeping import KeepingRelay
from proxy.core.metric_families import STARTED
from proxy.core.metrics import Metrics
from proxy.core.policy import Policy, Route
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.recurring import HeadForms
from proxy.core.relay import Relay
from proxy.core.request_head import HeadLimits
from proxy.core.setup_faults import SetupFault
from proxy.http1 import Refusal, RequestHead, build_refusal
from proxy.net.admission import Turnstiles
from proxy.net.clock import NEVER, Clock, Turn, Watched
from proxy.net.duplicates import Duplicates
from proxy.net.flow import Connection
from proxy.net.large_bodies import MAX_RUNNING, Apart, SpillFile, SpillSpace
from proxy.net.pool import UpstreamPool
from proxy.reasons import Reason

#: The values of ``Retry-After``, in seconds. To come back sooner than the first would help neither side.
RETRY_STEPS_S = (5, 10, 30, 60, 300, 900, 3600)


class ExchangeLog(Protocol):
    """Where finished exchanges are written."""

    def write(self, record: ExchangeRecord) -> None:
        """Write one line; never blocks."""


class EndedExchange(Protocol):
    """What tells of an exchange that has ended: its relay, or a delivery that went by its plan."""

    @property
    def record(self) -> ExchangeRecord:
        """What is known of it."""

    @property
    def started(self) -> float:
        """When it began, in monotonic seconds."""

    @property
    def head(self) -> RequestHead:
        """What was asked for; not there where the bytes were none."""

    @property
    def route(self) -> Route | None:
        """The one that has decided."""

    @property
    def arrival(self) -> Arrival:
        """How it has come."""

    @property
    def own(self) -> HandshakeAnswer | None:
        """Our answer, where it is no refusal."""

    @property
    def reject(self) -> Reject | None:
        """What the refusal says besides its reason."""

    @property
    def suspect(self) -> Reason | None:
        """Whose cause is to be looked for."""

    def body_in_memory(self) -> bytes | None:
        """The body, to look for that cause in; None where it is large, or not here whole."""


class CauseFinder(Protocol):
    """Finds out why a delivery was refused."""

    def look(self, over: EndedExchange, routes: tuple[Route, ...], done: Callable[[ExchangeRecord], None]) -> None:
        """Look for the cause of what ``over`` suspects, later, and never block. ``done`` is called once, now or soon,
        with its record, in which the cause is where it was found.
        """


class Recorder(Protocol):
    """Keeps what came, for the console."""

    def relay(
        self,
        record: ExchangeRecord,
        arrival: Arrival,
        now: float,
        head: RequestHead | None,
        data: bytes = b"",
        *,
        keeps: bool = False,
    ) -> Relay:
        """The relay of an exchange with a head, or with ``data`` that is none; ``keeps`` where it may be kept."""

    def wants(self, now: float) -> bool:
        """Whether an exchange that begins now may be one that is kept."""

    def keep(self, over: EndedExchange) -> None:
        """An exchange has ended; never blocks."""


class DeliveryQueue(Protocol):
    """Keeps deliveries that are not delivered yet (``proxy.queue``)."""

    folder: str | None  # where bodies are kept, for what may have to be

    @property
    def failure(self) -> str:
        """Why the store does not take deliveries now; "" where it does, or may."""
        ...

    def keep(self, relay: KeepingRelay, spill: SpillFile | None, told: Callable[[Reason | None, str], None]) -> None:
        """Keep what ``relay`` has, with the body in ``spill`` where it is large. ``told`` is called once, later: with
        None once it is on stable storage, else with the reason and a detail.
        """

    def copy(self, relay: KeepingRelay, spill: SpillFile | None) -> None:
        """Keep the copies that are to be made of what ``relay`` sends itself, beside it: nothing is told of them."""

    def holds(self, route: Route) -> bool:
        """Whether nothing is sent to the route's upstream now: it is paused, fails, or others must go first."""

    def tried(self, route: Route, *, well: bool) -> None:
        """An exchange has tried the route's upstream: whether it gave an answer, and none of the 5xx."""

    def measure(self) -> None:
        """Bring its metrics up to date."""


class Site:
    """The shared parts of one worker."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        policy: Policy,
        log: ExchangeLog,
        metrics: Metrics,
        instance: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``instance``, a random word, makes request ids unique everywhere; ``now`` gives monotonic seconds."""
        self.loop = loop
        self.clock = Clock(loop, now)
        self.turn = Turn(loop)
        self.turnstiles = Turnstiles(loop, self.clock)
        self.policy = policy
        self.table = policy.table
        self.log = log
        self.metrics = metrics
        metrics.set(STARTED, self.clock.wall())
        self.budget = BufferBudget(policy.server.buffer_budget)
        self.spill_space = SpillSpace(policy.server.spill_budget)
        metrics.expect(policy.traits)
        self.rates = RateLimiter()
        self.exchanges = 0  # admitted and not ended
        self.pool = UpstreamPool(loop, self.clock, self.turn, connect_timeout_s=policy.server.connect_timeout_s)
        self.duplicates = Duplicates(loop, self.clock)
        self.outcomes: set[Watched] = set()  # deliveries whose outcome is awaited without a client
        self.connections: set[Connection] = set()
        self.apart = Apart(loop)
        self.diagnoser: CauseFinder | None = None
        self.capture: Recorder | None = None
        self.note: Callable[[SetupFault, str], None] = lambda _fault, _address: None
        self.queue: DeliveryQueue | None = None
        self.kind = 0  # of connections: another where a reload asks more of them
        self.draining = False
        self.idle_until = NEVER  # while draining: when a connection without a request is closed
        self.instance = instance
        self._requests = 0
        self._most_exchanges = self._most_of_strangers = 0
        self._measure(policy)
        self._refusals: dict[tuple[Reason, bool, int, tuple[bytes, ...], int], Refusal] = {}

    def use(self, policy: Policy) -> None:
        """Exchanges that begin from now on are judged by ``policy``."""
        self.policy = policy
        self.table = policy.table
        self.pool.connect_timeout_s = policy.server.connect_timeout_s
        self.pool.endpoints.use(policy.endpoints())
        self.metrics.expect(policy.traits)
        self._measure(policy)

    def _measure(self, policy: Policy) -> None:
        limits, server = policy.limits, policy.server
        self.turnstiles.use(policy)
        self.head_limits = HeadLimits(limits.max_head, limits.max_target, limits.max_fields)
        self.heads = HeadForms(self.head_limits, {name for route in policy.routes for name in route.secret_fields})
        most = self._most_exchanges = server.max_exchanges
        self._most_of_strangers = self._open_to_strangers(most)
        budget, space = server.buffer_budget - work_bytes(policy), server.spill_budget
        self.budget.use(budget, strangers=self._open_to_strangers(budget), window=policy.most_window)
        self.spill_space.use(space, self._open_to_strangers(space))

    def _open_to_strangers(self, most: int) -> int:
        return self.policy.server.open_to_strangers(most) if self.policy.reserved_for else most

    def new_spill(self, route: Route) -> SpillFile:
        """A file for a body of ``route``: where it may have to be kept, one that can be given a name there."""
        folder = self.queue.folder if self.queue is not None and route.delivery is not None else None
        return SpillFile(self.spill_space, folder)

    def party_of(self, client: Peer) -> Party:
        """Whose bytes those of ``client`` are. Unix sockets and trusted proxies speak for many."""
        policy = self.policy
        listed = not policy.reserved_for or client in policy.reserved_for
        return Party(None if not client.version or client in policy.trusted_proxies else client.group, listed)

    def new_request_id(self) -> str:
        """An id that no other exchange has."""
        self._requests += 1
        return f"{self.instance}{self._requests:08x}"

    def lacks(self, route: Route, kind: int) -> str:
        """Why no exchange for ``route`` may begin on a connection of that kind, "" where it may: as many are under way
        as there may be (where some routes are for listed addresses, the others leave them a share), or the connection
        has not shown what is asked of one now.
        """
        if kind != self.kind:
            return "outdated_connection"
        most = self._most_of_strangers if route.allow is None else self._most_exchanges
        return "max_exchanges" if self.exchanges >= most else ""

    def ends(self, kind: int) -> bool:
        """Whether connections of that kind end with their next answer."""
        return self.draining or kind != self.kind

    def ends_idle(self, kind: int) -> float:
        """When a connection of that kind ends that is idle."""
        return self.idle_until if kind == self.kind else 0.0

    def welcome(self, connection: Connection, kind: int) -> None:
        """``enter`` a new connection, which has the usual time for its first head."""
        connection.deadline = min(self.ends_idle(kind), self.clock.after(self.policy.limits.head_timeout_s))
        self.enter(connection)

    def enter(self, connection: Connection) -> None:
        """See to its deadline, and to it when the worker drains, until it is forgotten."""
        self.clock.watch(connection)
        self.connections.add(connection)

    def forget(self, connection: Connection) -> None:
        """It is closed, or another has its place."""
        self.clock.unwatch(connection)
        self.connections.discard(connection)

    def new_record(self, wall: float, peer: str, *, secure: bool, request_id: bytes | None = None) -> ExchangeRecord:
        """What is known of an exchange that begins at ``wall``; ``request_id`` is one that a trusted proxy gave."""
        return ExchangeRecord(
            request_id=self.new_request_id() if request_id is None else request_id.decode("ascii"),
            started=wall,
            peer=peer,
            client=peer,
            scheme="https" if secure else "http",
        )

    def refusal(
        self, reason: Reason, *, close: bool, status: int, allow: tuple[bytes, ...] = (), retry_s: float = 0.0
    ) -> Refusal:
        """The prebuilt answer for ``reason``; ``allow``: what a 405 names, ``retry_s``: the least ``Retry-After``."""
        retry = retry_after(retry_s) if retry_s else RETRY_STEPS_S[0]
        key = (reason, close, status, allow, retry)
        built = self._refusals.get(key)
        if built is None:
            extra = ((b"Allow", b", ".join(allow)),) if allow else _extra(reason, retry)
            built = self._refusals[key] = build_refusal(reason, close=close, status=status, extra=extra)
        return built

    def own_answer(self, over: EndedExchange, *, close: bool) -> bytes:
        """What the client of ``over`` is told by ourselves: the answer to an endpoint check, or its refusal."""
        record, own, reject = over.record, over.own, over.reject
        request_id, head_only = record.request_id.encode("ascii"), record.method == "HEAD"
        allow, retry_s = ((), 0.0) if reject is None else (reject.allow, reject.retry_s)
        if own is None and record.bare and not allow:
            own = HandshakeAnswer(b"", b"", record.status)
        if own is not None:
            return own.write(request_id, self.clock.date, close=close, head_only=head_only)
        refusal = self.refusal(record.reason, close=close, status=record.status, allow=allow, retry_s=retry_s)
        return refusal.write(request_id, self.clock.date, head_only=head_only)

    def finished(self, over: EndedExchange) -> None:
        """An exchange has ended: count it, and write its line, or leave that to ``explain`` where it has a suspect."""
        over.record.duration_s = self.clock.now() - over.started
        self.metrics.exchange(over.record)
        if over.suspect is None:
            self.log.write(over.record)
        if self.capture is not None:
            self.capture.keep(over)

    def explain(self, over: EndedExchange) -> None:
        """Find out, for the operator alone, why the route of ``over`` refused it or would have: after the answer. Its
        line is written when that is known, or at once where it is not looked for.
        """
        if over.suspect is None:
            return
        if self.diagnoser is None:
            self.log.write(over.record)
            return
        try:
            self.diagnoser.look(over, self.policy.routes, self._write)
        except Exception:  # a bug of ours, which must not take the line with it
            self.log.write(over.record)
            raise

    def _write(self, record: ExchangeRecord) -> None:
        # The log may have been exchanged meanwhile.
        self.log.write(record)

    @property
    def in_flight(self) -> int:
        """Exchanges that have begun and not ended."""
        return self.exchanges

    def start_drain(self, grace_s: float = 0.0) -> None:
        """From now on each connection closes after its next answer, or when ``grace_s`` are over without a request.

        Closing an idle connection at once would lose the request that is on its way; an answer that says "close" loses
        none. ``NEVER`` leaves idle connections to their own time-outs. May be called again with another grace.
        """
        self.draining = True
        self.idle_until = self.clock.after(grace_s)
        for connection in list(self.connections):
            connection.drain()

    def outdate(self) -> None:
        """From now on more is asked of connections than those of before have shown: none of them is kept."""
        self.kind += 1
        for connection in list(self.connections):
            connection.drain()


def work_bytes(policy: Policy) -> int:
    """What of ``buffer_budget`` is kept for the verdicts that are made of whole bodies, as many as are made at once."""
    return min(MAX_RUNNING * policy.most_work, policy.server.buffer_budget // 2)


def retry_after(wait_s: float) -> int:
    """The value of ``Retry-After`` for a wait: one of a few, so that answers can be kept."""
    if wait_s <= RETRY_STEPS_S[0]:
        return RETRY_STEPS_S[0]  # of nearly all, and asked for with each answer of ours
    return next((step for step in RETRY_STEPS_S if step >= wait_s), RETRY_STEPS_S[-1])


#: Reasons whose answer says when to come back.
_COME_BACK = frozenset(
    {Reason.OVERLOADED, Reason.RATE_LIMITED, Reason.QUEUE_FULL, Reason.QUEUE_FAILED, Reason.AGENT_AWAY}
)


def _extra(reason: Reason, retry: int) -> tuple[tuple[bytes, bytes], ...]:
    if reason is Reason.DUPLICATE_DELIVERED:
        return ((b"Webhook-Duplicate", b"delivered"),)
    if reason is Reason.DUPLICATE_IN_FLIGHT:
        return ((b"Webhook-Duplicate", b"in-flight"), (b"Retry-After", b"5"))
    if reason is Reason.BASIC_AUTH_FAILED:
        return ((b"WWW-Authenticate", b'Basic realm="hookward", charset="UTF-8"'),)
    if reason in _COME_BACK:
        return ((b"Retry-After", b"%d" % retry),)
    return ()
