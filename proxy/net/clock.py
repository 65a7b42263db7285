"""The one place that reads the clock, and the one timer of a worker.

Connections do not arm a timer each: they say by when they must have moved on (``deadline``), and a look at all of them,
twice a second at the most, finds those that have not. A deadline is then an attribute, and moving it costs next to
nothing (``call_later`` and ``cancel`` cost 1.1 µs, four times a request). They are not looked at before the first of
them can be over, so that thousands of idle connections cost nothing. To end one costs 100 times as much as to look at
it: a crowd that is late is called in portions, spread over the half second, because deliveries must not wait for it.
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
