"""Whether the other end lives, and when to try again: values of time, and no clock of their own.

All times are seconds. A ``Pulse`` is fed what is heard and asked what is due; ``Backoff`` says how long to wait before
the next dial; ``Sleep`` notices that the machine was suspended.
"""

from __future__ import annotations

from collections.abc import Callable

#: Each end says something at least so often.
PING_S = 5.0
#: Two pings missed, and four seconds for what is late: then the other end is dead, within ten seconds of its last word.
SILENCE_S = 9.0
#: A probe that came through to the application counts for so long.
FRESH_S = 15.0
#: Between two dials of one connection: at random up to a bound that grows from the first figure to the second.
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 15.0
#: The bound after each of the first failures, as a share of the one before.
GROWTH = 1.5
#: Up to this the bound grows by the number of failures; beyond it by how long nothing came through, whether each dial
#: fails at once (refused) or takes seconds: a twentieth of it. So a network that returns after a minute and a half is
#: used within 5 s, and a relay that was taken down is asked every few seconds after five.
BACKOFF_SOON_S = 2.0
SHARE_OF_OUTAGE = 1 / 20
#: A key that is not taken is not taken a moment later either.
REFUSED_S = (15.0, 60.0)
#: The clocks of the machine are so far apart after a sleep, or the loop has stood still so long.
SLEPT_S = 5.0


class Pulse:
    """One connection's signs of life."""

    __slots__ = ("_heard", "_number", "_pinged")

    def __init__(self, now: float) -> None:
        self._heard = self._pinged = now
        self._number = 0

    def heard(self, now: float) -> None:
        """Something has come."""
        self._heard = now

    def silent_s(self, now: float) -> float:
        """For how long nothing has come."""
        return now - self._heard

    def is_dead(self, now: float) -> bool:
        """Whether the other end is to be given up."""
        return now - self._heard >= SILENCE_S

    def ping(self, now: float) -> int:
        """The number of the ping that is due, or 0."""
        if now - self._pinged < PING_S:
            return 0
        self._pinged = now
        self._number = self._number % 999_999_999 + 1
        return self._number

    def next_s(self, now: float) -> float:
        """In how many seconds it is to be asked again."""
        return max(0.05, min(self._pinged + PING_S, self._heard + SILENCE_S) - now)


class Backoff:
    """How long to wait before the next dial. ``uniform(a, b)`` gives a number between both, at random."""

    __slots__ = ("_failures", "_since", "_uniform")

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._failures = 0
        self._since = 0.0

    def succeeded(self) -> None:
        """A dial came through."""
        self._failures = 0

    def failed(self, began: float) -> float:
        """A dial did not that began then; how long to wait, from its beginning on."""
        if not self._failures:
            self._since = began
        soon = min(BACKOFF_FIRST_S * GROWTH ** min(self._failures, 20), BACKOFF_SOON_S)
        self._failures += 1
        return self._uniform(0.0, min(max(soon, (began - self._since) * SHARE_OF_OUTAGE), BACKOFF_MOST_S))

    def refused(self) -> float:
        """The relay does not take us; how long to wait."""
        return self._uniform(*REFUSED_S)

    def between(self, least_s: float, most_s: float) -> float:
        """A time at random, for what is no failure."""
        return self._uniform(least_s, most_s)


class Sleep:
    """Notices that time has passed which this process did not see."""

    __slots__ = ("_boot", "_now")

    def __init__(self, now: float, boot: float) -> None:
        """``now`` is monotonic time, which may stand still while the machine sleeps; ``boot`` does not."""
        self._now, self._boot = now, boot

    def slept(self, now: float, boot: float, expected_s: float) -> bool:
        """Whether more has passed since the last call than ``expected_s``, by either clock."""
        passed_s = max(now - self._now, boot - self._boot)
        self._now, self._boot = now, boot
        return passed_s > expected_s + SLEPT_S
