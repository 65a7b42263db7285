"""``Turnstile``: lets exchanges of one route through to its application, so many at once and no faster than its pace.

What cannot go yet stands in line, in the order it came. Each route has a line of its own, of bounded length, so that an
application that is slow takes neither turns nor places from another's. How long one stands is for it to say: it
forsakes its place when its sender goes, or would. Kept deliveries of the route stand in the same line, as one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

from proxy.core.delivery import Pace, TurnRule
from proxy.core.policy import Policy, Route
from proxy.net.clock import Clock

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
