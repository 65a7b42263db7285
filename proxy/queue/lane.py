"""``Lane``: one route's kept deliveries as the courier sees them: what is here to be sent, what is out, what may go.

It decides, and does nothing: no store, no connection; time comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from proxy.core.delivery import DELIVERED, SERVER_ERRORS, AttemptOutcome, DeliveryRule, Pace
from proxy.core.states import Moves
from proxy.net.admission import Turnstile
from proxy.queue.records import Condition, LaneCount, Settlement, Taken, Try
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
    """Leaves an application alone that fails, so that what waits for it loses no attempts meanwhile.

        CLOSED -> OPEN      of the last answers, more than half are failures, or several in a row
        OPEN -> PROBING     after a pause, which doubles each time
        PROBING -> CLOSED   one delivery succeeded; at first few go side by side, then more
        PROBING -> OPEN     it failed

    Only the absence of an answer and the 5xx are failures: what else an application says, it says while it is well.
    """

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
        last = list(self._last)
        too_much = len(last) >= IN_A_ROW and not any(last[-IN_A_ROW:])
        too_much = too_much or (len(last) >= LEAST and 2 * last.count(False) > len(last))
        if self.state is PROBING or (self.state is CLOSED and too_much):
            self.state = MOVES[self.state][OPEN]
            self._until = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, PAUSE_MOST_S)
            self._ramp = 0
            self._last.clear()


#: Beyond those that are out, so many are fetched ahead, so that none waits for the disk.
AHEAD = 16
#: No lane has more than so many here, whatever its concurrency: their bodies are in memory.
MOST_HERE = 256


class Lane:
    """The lane called ``name``. Times are monotonic seconds, but for ``next_due`` (since the epoch)."""

    def __init__(self, name: str, rule: DeliveryRule) -> None:
        self.name = name
        self.rule = rule
        self.ready: deque[Taken] = deque()
        self.out = 0
        self.coming = 0  # are being kept, and will be here without being fetched
        self.paused = False
        self.is_called = False  # the courier looks in a moment whether one may go
        self.in_line = False  # behind exchanges of its route, which take turns with it
        self.away = False  # it goes to agents, and none is here: an attempt would be lost
        self.may_have_more = True  # the store may have some that are due
        self.next_due: float | None = None  # of those that are not due yet, as far as is known
        self.breaker = Breaker()
        self._pace = Pace()
        self._dead = 0  # so many there were at the last look
        self._not_before = 0.0  # the application asked for a pause

    def wants(self, now: float, wall: float) -> int:
        """How many to fetch from the store now; then call ``fetching``, and ``fetched`` with what there was."""
        if self.next_due is not None and self.next_due <= wall:
            self.may_have_more, self.next_due = True, None
        if self._rests or not self.may_have_more or not self.breaker.most(self.rule.concurrency, now):
            return 0
        room = min(self.rule.concurrency + AHEAD, MOST_HERE) - len(self.ready) - self.out - self.coming
        return room if room > AHEAD // 2 or not self.ready else 0

    def counted(self, count: LaneCount, wall: float) -> None:
        """What the store says of it. What the operator has resumed, or dead ones replayed, is tried at once."""
        if (self.paused and not count.paused) or count.dead < self._dead:
            self.breaker.try_now()
        self.paused, self.next_due, self._dead = count.paused, count.next_due, count.dead
        if count.next_due is not None and count.next_due <= wall:
            self.may_have_more = True

    @property
    def _rests(self) -> bool:
        return self.paused or self.away

    @property
    def is_idle(self) -> bool:
        """Whether one that has just come may go before any other."""
        # Those that are coming are in memory in any case, and to fetch one costs as much as to keep it.
        rule, here = self.rule, len(self.ready) + self.out
        if here >= rule.concurrency + AHEAD or here + self.coming >= MOST_HERE:
            return False
        return not (self._rests or self.may_have_more or rule.strict or self.breaker.state is OPEN)

    def fetching(self) -> None:
        """The store is asked; what comes from now on is not in its answer."""
        self.may_have_more = False

    def fetched(self, taken: list[Taken], wanted: int) -> None:
        """The store gave these of so many."""
        self.ready.extend(taken)
        self.may_have_more |= len(taken) == wanted

    def may_send(self, now: float) -> bool:
        """Whether one may go now."""
        if not self.ready or self._rests or now < self._not_before:
            return False
        rule = self.rule
        if self.out >= self.breaker.most(rule.concurrency, now):
            return False
        return not rule.pace_per_s or not self._pace.wait_s(rule.pace_per_s, now)

    def next(self, now: float) -> Taken:
        """The one to send now, where ``may_send`` says that one may go."""
        self._pace.went(self.rule.pace_per_s, now)
        self.out += 1
        return self.ready.popleft()

    def wakes_in(self, now: float, wall: float) -> float | None:
        """In how many seconds something may go that may not now; None where only an event can change that."""
        found = [] if self.next_due is None else [self.next_due - wall]
        if self._rests:
            pass
        elif (self.ready or self.may_have_more) and self.breaker.closes_at is not None:
            found.append(self.breaker.closes_at - now)
        elif self.ready and not self.in_line and self.out < self.breaker.most(self.rule.concurrency, now):
            found.append(max(self._not_before - now, self._pace.wait_s(self.rule.pace_per_s, now)))
        return max(0.0, min(found)) if found else None

    def ended(self, taken: Taken, last: Try, *, now: float, wall: float, chance: float, asked_s: float) -> Settlement:
        """What becomes of one that was out. ``asked_s`` is the pause that the application asked for."""
        self.out -= 1
        rule, status = self.rule, last.status
        if not status or status // 100 == SERVER_ERRORS:
            self.breaker.failed(now)
        else:
            self.breaker.succeeded(rule.concurrency)
        if asked_s:
            self._not_before = max(self._not_before, now + min(asked_s, rule.retry.most_s))
        outcome = rule.retry.judge(status)
        if outcome is DELIVERED:
            return Settlement(taken.number, None, last)
        attempts = taken.attempts + 1
        due = rule.retry.due(taken.begun, wall, attempts, chance, asked_s) if outcome is AttemptOutcome.AGAIN else None
        if due is None:
            return Settlement(taken.number, Condition.DEAD, last)
        self.next_due = due if self.next_due is None else min(self.next_due, due)
        return Settlement(taken.number, Condition.WAITING, last, due)

    def take_back(self) -> list[Taken]:
        """What is here and was not sent: nothing is sent any more."""
        back = list(self.ready)
        self.ready.clear()
        return back


class LaneTurns:
    """How the kept deliveries of a lane take turns with its route's exchanges at ``turnstile``: in the same line, as
    one of them. ``wake`` is called when there is a turn.

    A lane that has had its turn goes to the end of the line. So what was kept does not wait until nothing new comes,
    and what is new does not wait for a backlog.
    """

    def __init__(self, turnstile: Turnstile, wake: Callable[[], object]) -> None:
        self.turnstile = turnstile
        self._wake = wake
        self._has_one = False

    def let_through(self) -> None:
        """It is its turn (``turnstile.Waiting``)."""
        self._has_one = True
        self._wake()

    def take(self) -> bool:
        """Take the turn that there is, or stand in line for the next. What has taken one calls ``turnstile.leave``."""
        if self._has_one:
            self._has_one = False
            return True
        if self.turnstile.waits(self):
            return False
        if self.turnstile.enter():
            return True
        self.turnstile.stand(self)
        return False

    def give_up(self) -> None:
        """Nothing is to be sent: neither a turn nor a place is held."""
        self.turnstile.forsake(self)
        if self._has_one:
            self._has_one = False
            self.turnstile.leave()
