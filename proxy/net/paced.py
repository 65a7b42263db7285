"""``PacedExchange``: an exchange that waits for its turn before it takes a connection to the application.

It waits after its verdict, so that nothing forged has a place in line, and no longer than its sender does. It leaves
its place, in line or with the application, when it ends, whatever the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.core.exchange import Reject
from proxy.core.policy import SPARE_S
from proxy.core.relay import RECEIVING
from proxy.net.exchange import Exchange
from proxy.net.flow import Pause
from proxy.net.turnstile import Turnstile
from proxy.reasons import Reason


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

    def step(self) -> None:
        """Take the turn that has come, and do what an exchange does."""
        if self._is_let:
            self._is_let = False
            self._note_wait()
            self._go()
            if self._dial is None:
                self._reading.resume(Pause.CONNECT)
        Exchange.step(self)

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
