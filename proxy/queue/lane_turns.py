"""``LaneTurns``: how the kept deliveries of a route take turns with its exchanges: in the same line, as one of them.

A lane that has had its turn goes to the end of the line. So what was kept does not wait until nothing new comes, and
what is new does not wait for a backlog.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.net.turnstile import Turnstile


class LaneTurns:
    """The turns of one lane at ``turnstile``. ``wake`` is called when there is one."""

    def __init__(self, turnstile: Turnstile, wake: Callable[[], None]) -> None:
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
