"""``Breaker``: leaves an application alone that fails, so that what waits for it loses no attempts meanwhile.

    CLOSED -> OPEN      of the last answers, more than half are failures, or several in a row
    OPEN -> PROBING     after a pause, which doubles each time
    PROBING -> CLOSED   one delivery succeeded; at first few go side by side, then more
    PROBING -> OPEN     it failed

Only the absence of an answer and the 5xx are failures: what else an application says, it says while it is well. Time
comes in as an argument.
"""

from __future__ import annotations

from collections import deque

from proxy.core.states import Moves
from proxy.values import IdentityEnum

#: So many answers are looked at, and so many must have come before a share of them says anything.
WINDOW, LEAST = 20, 10
#: So many failures in a row say it sooner.
IN_A_ROW = 5
#: How long it is left alone at first, and at most, in seconds.
PAUSE_FIRST_S, PAUSE_MOST_S = 1.0, 30.0


class BreakerState(IdentityEnum):
    """Whether deliveries go out."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


CLOSED, OPEN, PROBING = BreakerState
MOVES: dict[BreakerState, Moves[BreakerState]] = {
    CLOSED: Moves(CLOSED, [OPEN]),
    OPEN: Moves(OPEN, [PROBING]),
    PROBING: Moves(PROBING, [CLOSED, OPEN]),
}


class Breaker:
    """The breaker of one lane."""

    __slots__ = ("_last", "_pause_s", "_ramp", "_until", "state")

    def __init__(self) -> None:
        self.state = CLOSED
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._until = 0.0
        self._pause_s = PAUSE_FIRST_S
        self._ramp = 0  # deliveries side by side after it was open; 0: as many as the route says

    def most(self, concurrency: int, now: float) -> int:
        """How many deliveries may be under way, where the route says ``concurrency``."""
        if self.state is OPEN:
            if now < self._until:
                return 0
            self.state = MOVES[self.state][PROBING]
        if self.state is PROBING:
            return 1
        return min(concurrency, self._ramp) if self._ramp else concurrency

    @property
    def closes_at(self) -> float | None:
        """When it lets the next one out, where it lets none out now."""
        return self._until if self.state is OPEN else None

    def try_now(self) -> None:
        """Leave it alone no longer: the operator has resumed the lane."""
        self._until = 0.0

    def succeeded(self, concurrency: int) -> None:
        """The application gave an answer."""
        self._last.append(True)
        self._pause_s = PAUSE_FIRST_S
        if self.state is PROBING:
            self.state = MOVES[self.state][CLOSED]
            self._last.clear()
            self._ramp = 2
        elif self._ramp:
            self._ramp = 0 if 2 * self._ramp >= concurrency else 2 * self._ramp

    def failed(self, now: float) -> None:
        """It gave none, or one of the 5xx."""
        self._last.append(False)
        if self.state is PROBING or (self.state is CLOSED and self._is_too_much):
            self.state = MOVES[self.state][OPEN]
            self._until = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, PAUSE_MOST_S)
            self._ramp = 0
            self._last.clear()

    @property
    def _is_too_much(self) -> bool:
        last = list(self._last)
        in_a_row = len(last) >= IN_A_ROW and not any(last[-IN_A_ROW:])
        return in_a_row or (len(last) >= LEAST and 2 * last.count(False) > len(last))
