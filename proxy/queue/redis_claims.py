"""``CourierClaims``: what the courier of one store in Redis has taken, and until when that is certain.

A courier lives in Redis as long as it renews its key. One that did not (its process slept, its network was gone) counts
as dead, and what it had is given to others: so it sends nothing any more from the moment at which that may have
happened, by a clock that goes on while a process or a host sleeps, and goes on under another name.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable

#: How long a courier counts as alive after it was last heard of.
LEASE_S = 10.0
#: So much earlier it stops by itself: clocks run apart, and a request takes time to be sent.
MARGIN = 0.1
#: The names that are remembered, for what was sent under them and ends later.
MOST_NAMES = 8

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds on a clock that does not stop."""
    return time.clock_gettime(_CLOCK)


class CourierClaims:
    """Those of one process. Times are of ``steady``."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self.certain_until = 0.0
        self._held: set[int] = set()
        self._names: list[str] = []
        self.renew()

    @property
    def name(self) -> str:
        """What the courier is called in Redis now."""
        return self._names[-1]

    @property
    def names(self) -> str:
        """All that it was called, each between two spaces."""
        return f" {' '.join(self._names)} "

    def renew(self) -> None:
        """What was taken may be another's: go on under a new name."""
        self._held.clear()
        self.certain_until = 0.0
        self._names = [*self._names[1 - MOST_NAMES :], secrets.token_hex(8)]

    def heard(self, asked_at: float) -> None:
        """Redis has answered what it was asked then: it lives."""
        self.certain_until = asked_at + self.lease_s * (1.0 - MARGIN)

    def add(self, numbers: Iterable[int]) -> None:
        """These were taken."""
        self._held.update(numbers)

    def discard(self, numbers: Iterable[int]) -> None:
        """These are no longer of interest."""
        self._held.difference_update(numbers)

    def holds(self, number: int) -> bool:
        """Whether it is certain that no other has it. Where it is not, it is no longer ours."""
        if number in self._held and steady() < self.certain_until:
            return True
        self._held.discard(number)
        return False

    def knows(self, number: int) -> bool:
        """Whether it is here."""
        return number in self._held
