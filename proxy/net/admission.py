"""How much there may be at once: connections, in all and from one address, and exchanges of one route.

All of it is bounded (design: promise 5). A connection holds a :class:`ConnectionSlot` from accept to its end. One
:class:`ConnectionSlots` is shared by all listeners of a worker, so that the caps and the counters are the worker's.
Which addresses may come at all is the policy's ``admission``; here they are only counted, and it is said why of each
that is turned away.

A :class:`Turnstile` lets exchanges of one route through to its application, so many at once and no faster than its
pace. What cannot go yet stands in line, in the order it came. Each route has a line of its own, of bounded length, so
that an application that is slow takes neither turns nor places from another's. How long one stands is for it to say: it
forsakes its place when its sender goes, or would. Kept deliveries of the route stand in the same line, as one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import field
from typing import Protocol

from proxy.core.addresses import Peer
from proxy.core.delivery import Pace, TurnRule
from proxy.core.policy import Policy, Route
from proxy.core.setup_faults import FULL, MANY_HANDSHAKES, MANY_OF_ADDRESS, SetupFault
from proxy.net.clock import Clock
from proxy.values import mutable


@mutable
class AcceptCounters:
    """What happened before a connection was handed over. All but ``open`` only grow."""

    accepted: int = 0  # came through every check, TLS not yet begun
    refused_address: int = 0  # outside the allow lists, or no trusted proxy where one is required
    refused_full: int = 0  # over max_connections, or over what unlisted addresses may have of them
    refused_handshakes: int = 0  # over max_handshakes
    refused_per_address: int = 0  # over max_connections_per_address
    proxy_header_failed: int = 0  # malformed, late or missing
    tls_done: int = 0
    tls_failed: int = 0  # the handshake did not come to its end, and a byte had come
    tls_faults: Counter[str] = field(default_factory=Counter)  # why it failed, by word, after a handshake too
    accept_paused: int = 0  # times that the host had no descriptor or memory left
    open: int = 0  # slots held now
    handshakes: int = 0  # under way now


class ConnectionSlots:
    """The slots of one worker. ``take`` when a connection comes, ``charge`` its slot when its address is known."""

    __slots__ = ("counters", "groups", "note")

    def __init__(self, note: Callable[[SetupFault, str], None] = lambda _fault, _address: None) -> None:
        """``note`` is told of each connection that came to nothing: why, and the address."""
        self.counters = AcceptCounters()
        self.note = note
        self.groups: dict[tuple[int, int], int] = {}

    def take(self, policy: Policy, peer: Peer) -> ConnectionSlot | None:
        """A slot for a connection from ``peer``, or None (counted) where ``max_connections`` are open."""
        counters = self.counters
        if counters.open >= policy.server.max_connections:
            counters.refused_full += 1
            self.note(FULL, peer.text)
            return None
        counters.open += 1
        return ConnectionSlot(self)


class ConnectionSlot:
    """The right of one connection to be there."""

    __slots__ = ("_group", "_held", "_slots")

    def __init__(self, slots: ConnectionSlots) -> None:
        self._slots = slots
        self._group: tuple[int, int] | None = None
        self._held = True

    def charge(self, peer: Peer, policy: Policy, *, named: bool = False, lasting: bool = False) -> bool:
        """Count the connection for its address: the last check. False (counted, the slot given back) where that
        address has too many.

        There is no cap on what speaks for many clients.
        """
        counters = self._slots.counters
        if counters.open > room_for(peer, policy, policy.server.max_connections, lasting=lasting):
            counters.refused_full += 1
            self._turn_away(FULL, peer)
            return False
        groups = self._slots.groups
        group = peer.group
        count = groups.get(group, 0)
        if count >= policy.server.max_connections_per_address and not speaks_for_many(peer, policy, named=named):
            counters.refused_per_address += 1
            self._turn_away(MANY_OF_ADDRESS, peer)
            return False
        groups[group] = count + 1
        self._group = group
        counters.accepted += 1
        return True

    def begin_handshake(self, peer: Peer, policy: Policy) -> bool:
        """Count a TLS handshake, until ``end_handshake``. False, and the slot is given back: there are too many."""
        counters = self._slots.counters
        if counters.handshakes >= room_for(peer, policy, policy.server.max_handshakes):
            counters.refused_handshakes += 1
            self._turn_away(MANY_HANDSHAKES, peer)
            return False
        counters.handshakes += 1
        return True

    def end_handshake(self) -> None:
        """The handshake is over, one way or the other."""
        self._slots.counters.handshakes -= 1

    def _turn_away(self, fault: SetupFault, peer: Peer) -> None:
        self._slots.note(fault, peer.text)
        self.release()

    def release(self) -> None:
        """Give the slot back. A second call does nothing, so that a connection that fails half-way counts once."""
        if not self._held:
            return
        self._held = False
        self._slots.counters.open -= 1
        if self._group is None:
            return
        left = self._slots.groups[self._group] - 1
        if left:
            self._slots.groups[self._group] = left
        else:
            del self._slots.groups[self._group]


def room_for(peer: Peer, policy: Policy, most: int, *, lasting: bool = False) -> int:
    """How many of ``most`` there may be for this one to come: unlisted addresses leave a share to listed ones, and what
    may be silent for as long as it likes (``lasting``) leaves it to connections of routes.
    """
    reserved = policy.reserved_for
    if not (reserved or (lasting and policy.routes)) or peer in reserved:
        return most
    return policy.server.open_to_strangers(most)


def speaks_for_many(peer: Peer, policy: Policy, *, named: bool) -> bool:
    """Whether many clients come from there: it is a unix socket, or a trusted proxy that no PROXY header ``named``."""
    return not peer.version or (peer in policy.trusted_proxies and not named)


class PolicyHolder(Protocol):
    """What accepting needs of the worker besides the slots."""

    @property
    def policy(self) -> Policy:
        """The policy in force; a reload swaps it."""
        ...


#: Of ``max_exchanges`` so much may stand in all lines together: the others are for what goes, and for other routes.
WAITING_PART = 2
_ANY = TurnRule()


class Waiting(Protocol):
    """Stands in line."""

    def let_through(self) -> None:
        """It is its turn; called once, and nothing may be done at once but to have itself called later."""


class Turnstile:
    """That of one route in one worker. Its line has ``most`` places."""

    __slots__ = ("_clock", "_line", "_loop", "_out", "_pace", "_rule", "_timer", "most")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._rule = _ANY
        self._line: OrderedDict[Waiting, None] = OrderedDict()
        self._out = 0
        self._pace = Pace()
        self._timer: asyncio.TimerHandle | None = None
        self.most = 0

    def use(self, rule: TurnRule, most: int) -> None:
        """From now on these are the figures: of those in line, too."""
        self.most = most
        if rule != self._rule:
            self._rule = rule
            self._pace = Pace()  # the last one went by another
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._let()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def comes_in_s(self) -> float:
        """In how many seconds a new one would have its turn, at the least."""
        pace = self._rule.per_s
        return self._pace.wait_s(pace, self._clock.now()) + len(self._line) / pace if pace else 0.0

    def enter(self) -> bool:
        """Go through, where nothing waits and there is room. What has gone through calls ``leave``."""
        now = self._clock.now()
        if self._line or not self._lets(now):
            return False
        self._go(now)
        return True

    def wait(self, waiting: Waiting, patience_s: float) -> bool:
        """Stand in line, where there is a place that may have its turn within ``patience_s``."""
        if len(self._line) >= self.most or self.comes_in_s() > patience_s:
            return False
        self.stand(waiting)
        return True

    def stand(self, waiting: Waiting) -> None:
        """Stand in line, however long it is."""
        self._line[waiting] = None
        self._arm(self._clock.now())

    def waits(self, waiting: Waiting) -> bool:
        """Whether it stands in line."""
        return waiting in self._line

    def forsake(self, waiting: Waiting) -> bool:
        """Give up its place; False where it has had its turn."""
        return self._line.pop(waiting, self) is None

    def leave(self) -> None:
        """One that has gone through is done."""
        self._out -= 1
        self._let()

    def _lets(self, now: float) -> bool:
        return self._has_room and not self._pace.wait_s(self._rule.per_s, now)

    @property
    def _has_room(self) -> bool:
        most = self._rule.at_once
        return not most or self._out < most

    def _go(self, now: float) -> None:
        self._out += 1
        self._pace.went(self._rule.per_s, now)

    def _let(self) -> None:
        now = self._clock.now()
        while self._line and self._lets(now):
            waiting, _ = self._line.popitem(last=False)
            self._go(now)
            waiting.let_through()
        self._arm(now)

    def _arm(self, now: float) -> None:
        """The next one goes when its time comes; where there is no room, the next that leaves lets it through."""
        if self._line and self._timer is None and self._has_room:
            self._timer = self._loop.call_later(self._pace.wait_s(self._rule.per_s, now), self._due)

    def _due(self) -> None:
        self._timer = None
        self._let()


class Turnstiles:
    """Those of one worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._by_route: dict[str, Turnstile] = {}

    def use(self, policy: Policy) -> None:
        """From now on the figures of ``policy`` hold. Where a route has none any more, its line is let through."""
        ruled = {route.name: route.turns for route in policy.routes if route.turns is not None}
        most = max(1, policy.server.max_exchanges // WAITING_PART // max(1, len(ruled)))
        for name in self._by_route.keys() - ruled.keys():
            self._by_route.pop(name).use(_ANY, most)
        for name, rule in ruled.items():
            if name not in self._by_route:
                self._by_route[name] = Turnstile(self._loop, self._clock)
            self._by_route[name].use(rule, most)

    def of(self, route: Route) -> Turnstile | None:
        """That of a route; None where it has none."""
        return self._by_route.get(route.name)

    def waiting(self) -> dict[tuple[str, ...], float]:
        """How many stand in line for each route that has one."""
        return {(name,): one.waiting for name, one in self._by_route.items()}
