"""Exchanges that do more than pass a delivery on: ``PacedExchange`` waits for its turn before it takes a connection to
the application, and what a ``KeepingExchange`` brings may be kept instead of sent (``Storing``, which outlives it).

A turn is waited for after the verdict, so that nothing forged has a place in line, and no longer than the sender does.
An exchange leaves its place, in line or with the application, when it ends, whatever the way.

What has begun to be kept is kept: whether the client has heard of it or not, none can take it back. So what belongs
to the delivery (its claim among duplicates, its body on the disk) is held until the store has said what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.core.exchange import Reject
from proxy.core.keeping import KeepingRelay
from proxy.core.policy import SPARE_S, Route
from proxy.core.relay import DIALING, RECEIVING, STORING, Relay
from proxy.core.schemes import ANSWER_S
from proxy.http1 import ResponseHead
from proxy.net.admission import Turnstile
from proxy.net.duplicates import Ticket
from proxy.net.exchange import Exchange
from proxy.net.flow import IncomingBody, Pause
from proxy.net.large_bodies import SpillFile
from proxy.net.site import Site
from proxy.reasons import Ended, Reason

__all__ = ["Exchange", "KeepingExchange", "PacedExchange", "Storing", "exchange_for"]

Told = Callable[[Reason | None, str], None]


@dataclass(slots=True, eq=False, repr=False)
class PacedExchange(Exchange):
    """One exchange of a route with ``turns``."""

    _turnstile: Turnstile | None = field(init=False, default=None)  # where it stands in line, or has gone through
    _is_let: bool = field(init=False, default=False)  # it is its turn, and nothing is done yet
    _stands_since: float = field(init=False, default=0.0)

    def let_through(self) -> None:
        """It is its turn."""
        self._is_let = True
        self._site.turn.go_on(self._client)

    def step(self) -> Relay | None:
        """Take the turn that has come, and do what an exchange does."""
        if self._is_let:
            self._is_let = False
            self._note_wait()
            self._go()
            if self._dial is None:
                self._reading.resume(Pause.CONNECT)
        return Exchange.step(self)

    def check(self, now: float) -> None:
        """Judge the deadlines; called once a second."""
        if self._in_line and self._patience_s(now) <= 0:
            self._note_wait()
            self._without_turn()
            self._settle()
        else:
            Exchange.check(self, now)

    def release(self) -> None:
        """Give everything back, once; its place as well."""
        self._give_up_turn()
        Exchange.release(self)

    # -- inside

    def _connect(self) -> None:
        turnstile = self._site.turnstiles.of(self.relay.admit.route)
        if turnstile is None or turnstile.enter():
            self._turnstile = turnstile
            self._go()
        elif turnstile.wait(self, self._patience_s(self._site.clock.now())):
            self._turnstile = turnstile
            self._stands_since = self._site.clock.now()
            if self.relay.request is RECEIVING:
                self._reading.pause(Pause.CONNECT)
            elif not self._room().hold():
                self.relay.refuse(Reason.OVERLOADED, "buffer_budget")
        else:
            self._without_turn(turnstile.comes_in_s())

    def _go(self) -> None:
        """It may go to the application."""
        Exchange._connect(self)  # noqa: SLF001 - the class that this one is made of; slots forbid super()

    def _without_turn(self, wait_s: float = 0.0) -> None:
        """There is no turn for it while its sender waits."""
        relay = self.relay
        relay.reject = Reject(Reason.OVERLOADED, relay.admit.client, relay.route, retry_s=wait_s)
        relay.refuse(Reason.OVERLOADED, "turn")

    @property
    def _in_line(self) -> bool:
        return self._turnstile is not None and self._turnstile.waits(self)

    def _note_wait(self) -> None:
        self.relay.record.turn_s = self._site.clock.now() - self._stands_since

    def _patience_s(self, now: float) -> float:
        """How much longer its sender waits, and its route lets it."""
        route = self.relay.admit.route
        most = route.limits.request_timeout_s
        if route.answer_s:
            most = min(most, route.answer_s - SPARE_S)
        return most - (now - self.relay.started)

    def _give_up_turn(self) -> None:
        turnstile, self._turnstile = self._turnstile, None
        if turnstile is not None and not turnstile.forsake(self):
            turnstile.leave()


class Storing:
    """One delivery that is being kept. ``told`` is called once, later, unless the exchange is over before."""

    __slots__ = ("_incoming", "_status", "_ticket", "_told", "is_done")

    def __init__(self, site: Site, relay: KeepingRelay, spill: SpillFile | None, told: Told) -> None:
        self._status = relay.rule.accepted_status
        self._told: Told | None = told
        self._ticket: Ticket | None = None
        self._incoming: IncomingBody | None = None
        self.is_done = False
        if site.queue is None:
            site.loop.call_soon(self._done, Reason.QUEUE_FAILED, "not_open")
        else:
            site.queue.keep(relay, spill, self._done)

    def adopt(self, ticket: Ticket | None, incoming: IncomingBody | None) -> None:
        """The exchange is over: what it held is released once it is known what came of the delivery."""
        self._told = None
        self._ticket = ticket
        self._incoming = incoming

    def _done(self, reason: Reason | None, detail: str) -> None:
        self.is_done = True
        told, self._told = self._told, None
        if told is not None:
            told(reason, detail)
            return
        if self._ticket is not None:
            if reason is None:
                self._ticket.delivered(self._status, may_be_forgotten=True)
            self._ticket.release()
        if self._incoming is not None:
            self._incoming.release()


def exchange_for(route: Route) -> type[Exchange]:
    """The class of exchanges of ``route``."""
    if route.delivery is None:
        return Exchange if route.turns is None else PacedExchange
    return KeepingExchange


@dataclass(slots=True, eq=False, repr=False)
class KeepingExchange(PacedExchange):
    """One exchange of a route with a ``delivery``; its relay is a ``KeepingRelay``."""

    _storing: Storing | None = field(init=False, default=None)
    #: It is kept by the next step: of all that were judged in one turn, that is done in a row.
    _is_next: bool = field(init=False, default=False)

    @property
    def _keeping(self) -> KeepingRelay:
        assert isinstance(self.relay, KeepingRelay)
        return self.relay

    @property
    def _route(self) -> Route:
        return self.relay.admit.route

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """End it, if it has not ended; or keep it, where the upstream is at fault and the route says so."""
        if self.relay.then is None and reason.ended_by is Ended.UPSTREAM:
            self._keeping.undelivered(reason, detail)
            self._settle()
        else:
            Exchange.refuse(self, reason, detail)

    def check(self, now: float) -> None:
        """Judge the deadlines, once a second. What may be kept waits for a connection as long as its sender does."""
        relay = self._keeping
        patience_s = (self._route.answer_s or ANSWER_S) - SPARE_S
        if relay.answer is DIALING and relay.may_be_kept and now - relay.started > patience_s:
            self.refuse(Reason.UPSTREAM_UNREACHABLE, "patience")
        else:
            PacedExchange.check(self, now)

    def release(self) -> None:
        """Give everything back, once; what is being kept later."""
        storing = self._storing
        if storing is not None and not storing.is_done and not self._released:
            storing.adopt(self._ticket, self._incoming)
            self._ticket = self._incoming = None
        PacedExchange.release(self)

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The final head has come, with ``content``; ``ended`` where that was all."""
        self._tried(well=head.status < 500)
        Exchange.upstream_answer(self, head, content, ended=ended)

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """The connection is gone, and the answer is not complete."""
        self._tried(well=False)
        Exchange.upstream_failed(self, reason, detail)

    # -- inside

    def _settle(self) -> None:
        PacedExchange._settle(self)  # noqa: SLF001 - the class that this one is made of; slots forbid super()
        if self.relay.answer is not STORING or self._storing is not None:
            return
        if self._is_next:
            spill = None if self._incoming is None else self._incoming.spill
            self._storing = Storing(self._site, self._keeping, spill, self._stored)
            return
        self._is_next = True
        dial, upstream = self._dial, self._upstream
        self._dial = self._upstream = None
        self._give_up_turn()
        if dial is not None:
            dial.cancel()
        if upstream is not None:
            upstream.abort()
        self._site.turn.go_on(self._client)

    def _connect(self) -> None:
        queue, relay = self._site.queue, self._keeping
        if not self._is_held():
            PacedExchange._connect(self)  # noqa: SLF001 - the class that this one is made of; slots forbid super()
        if queue is not None and self._route.copies:  # the application first
            queue.copy(relay, None if self._incoming is None else self._incoming.spill)

    def _go(self) -> None:
        # While it stood in line the application may have begun to fail.
        if not (self.relay.record.turn_s and self._is_held()):
            PacedExchange._go(self)  # noqa: SLF001 - as in ``_settle``

    def _is_held(self) -> bool:
        """Whether it is kept, because nothing is sent to the route's upstream now."""
        queue, relay = self._site.queue, self._keeping
        if queue is None or not relay.may_be_kept or not queue.holds(self._route):
            return False
        relay.undelivered(Reason.UPSTREAM_UNREACHABLE, "held")
        return True

    def _without_turn(self, wait_s: float = 0.0) -> None:
        if self._keeping.may_be_kept:
            self._keeping.undelivered(Reason.OVERLOADED, "turn")
        else:
            PacedExchange._without_turn(self, wait_s)  # noqa: SLF001 - as in ``_settle``

    def _unreachable(self) -> None:
        self._dial = None
        self._tried(well=False)
        Exchange._unreachable(self)  # noqa: SLF001 - as in ``_settle``

    def _tried(self, *, well: bool) -> None:
        if self._site.queue is not None and self._keeping.rule.keeps:
            self._site.queue.tried(self._route, well=well)

    def _stored(self, reason: Reason | None, detail: str) -> None:
        relay = self._keeping
        if reason is None:
            relay.stored()
            if self._ticket is not None:
                self._ticket.delivered(relay.record.status, may_be_forgotten=True)
        else:
            relay.not_stored(reason, detail)
        self._settle()
