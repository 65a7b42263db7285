"""What time it is for a worker, and in which order it does what has come: its clock, its one timer and its turns.

``Clock`` is the one place that reads the clock. Connections do not arm a timer each: they say by when they must have
moved on (``deadline``), and a look at all of them, twice a second at the most, finds those that have not. A deadline is
then an attribute, and moving it costs next to nothing (``call_later`` and ``cancel`` cost 1.1 µs, four times a
request). They are not looked at before the first of them can be over, so that thousands of idle connections cost
nothing. To end one costs 100 times as much as to look at it: a crowd that is late is called in portions, spread over
the half second, because deliveries must not wait for it.

``Turn`` takes what one look at the kernel has brought step by step and not connection by connection. An exchange is
thousands of byte codes in a hundred functions, and a hash of its body: more than a processor's first caches and its
branch predictor hold, so each exchange finds them filled with the end of the one before it. Where all heads that have
come are read in a row, then all are judged, and so on, each step stays warm: with ten and more at once an exchange
costs a quarter less. (Packet processors call it vectors: VPP, fd.io.) Nothing waits for it: a turn runs before the loop
looks at the kernel again, and what it wrote is sent right behind it. Within a turn no call of a transport, a timer or a
signal comes between two steps of one exchange; only other exchanges' steps do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from proxy.http1 import http_date

#: Deadlines are kept to within this many seconds; to within twice as many where a crowd is watched.
TICK_S = 0.5
#: At most so many of those that are late are called in one turn of the loop.
PORTION = 250

NEVER = float("inf")


class Watched(Protocol):
    """Something with a deadline, in seconds of ``Clock.now``. While it is watched it may be moved away at will, but
    nearer only by ``Clock.after`` or in ``deadline_passed``.
    """

    deadline: float

    def deadline_passed(self, now: float) -> None:
        """The deadline is over; set another or end."""


class Clock:
    """Monotonic time, wall time, the ``Date`` field's bytes, and the sweep of deadlines."""

    __slots__ = ("_date", "_date_second", "_earliest", "_late", "_loop", "_pause_s", "_timer", "_watched", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` gives monotonic seconds: uvloop's own stand still for a turn, longer than most exchanges."""
        self._loop = loop
        self.now = now
        self._watched: set[Watched] = set()
        self._earliest = NEVER  # no watched deadline is nearer
        self._late: list[Watched] = []  # and not called yet
        self._pause_s = TICK_S  # between their portions
        self._timer: asyncio.TimerHandle | None = None
        self._date = b""
        self._date_second = -1

    def after(self, seconds: float) -> float:
        """The time that is ``seconds`` from now, for use as a deadline."""
        at = self.now() + seconds
        if at < self._earliest:  # noqa: PLR1730 - min() takes twice as long, and this is for every request
            self._earliest = at
        return at

    #: Seconds since the epoch.
    wall: Callable[[], float] = staticmethod(time.time)  # noqa: TID251 - the one place

    @property
    def date(self) -> bytes:
        """The value of a ``Date`` field now (RFC 9110 section 6.6.1)."""
        second = int(self.wall())
        if second != self._date_second:
            self._date_second = second
            self._date = http_date(second).encode("ascii")
        return self._date

    def watch(self, watched: Watched) -> None:
        """Sweep ``watched`` from now on."""
        self._watched.add(watched)
        self._earliest = min(self._earliest, watched.deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def unwatch(self, watched: Watched) -> None:
        """Sweep it no longer. Unwatching what is not watched does no harm."""
        self._watched.discard(watched)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched.clear()
        self._late.clear()

    def _tick(self) -> None:
        now = self.now()
        if not self._late and self._earliest <= now:
            self._late = self._find_late(now)
            self._pause_s = TICK_S / max(1, -(-len(self._late) // PORTION))
        portion, self._late = self._late[:PORTION], self._late[PORTION:]
        self._timer = self._loop.call_later(self._pause_s, self._tick) if self._watched else None
        for watched in portion:
            if watched not in self._watched or watched.deadline > now:
                continue  # it ended, or moved on, since it was found late
            try:
                watched.deadline_passed(now)
            except Exception as bug:  # noqa: BLE001 - the deadlines of all others hang on this sweep
                self._loop.call_exception_handler({"message": "a deadline could not be judged", "exception": bug})
            self._earliest = min(self._earliest, watched.deadline)

    def _find_late(self, now: float) -> list[Watched]:
        """Whose deadline is over; and when the next one can be."""
        late = []
        earliest = NEVER
        for watched in self._watched:
            deadline = watched.deadline
            if deadline <= now:
                late.append(watched)
            elif deadline < earliest:
                earliest = deadline
        self._earliest = earliest
        return late


#: So much of what came may wait for its turn. More is taken at once: behind a full read there may be another, and a
#: crowd that sends much before it is judged would fill memory.
STAGED_BYTES = 16 * 1024


class Ready(Protocol):
    """A connection that has something to do."""

    def step(self) -> None:
        """Do the next thing, where there still is one: it may be called once too often."""

    def failed(self, bug: Exception) -> None:
        """``step`` has raised: end the exchange, and the connection."""


class Turn:
    """The turns of one worker."""

    __slots__ = ("_loop", "_next", "_now", "_running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now: list[Ready] = []  # for the round of steps that comes next
        self._next: list[Ready] = []  # for the next turn
        self._running = False

    def enter(self, ready: Ready) -> None:
        """Step it in the next turn, which comes in this iteration of the loop or, during a turn, in the next one."""
        if not self._next:
            self._loop.call_soon(self._run)
        self._next.append(ready)

    def go_on(self, ready: Ready) -> None:
        """Step it again: in the next round of this turn, or where none runs as ``enter`` does."""
        if self._running:
            self._now.append(ready)
        else:
            self.enter(ready)

    def complain(self, bug: BaseException) -> None:
        """Tell the loop's handler of a bug."""
        self._loop.call_exception_handler({"message": "internal error in an exchange", "exception": bug})

    def _run(self) -> None:
        self._now, self._next = self._next, self._now
        self._running = True
        try:
            while self._now:
                ready, self._now = self._now, []
                for one in ready:
                    try:
                        one.step()
                    except Exception as bug:  # noqa: BLE001 - a bug of ours must not take the others' turn
                        self._give_up(one, bug)
        finally:
            self._running = False

    def _give_up(self, one: Ready, bug: Exception) -> None:
        try:
            one.failed(bug)
        except Exception as worse:  # noqa: BLE001 - neither must the failure of what ends it
            self.complain(worse)
