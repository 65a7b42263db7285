"""The one budget of buffered bytes for all exchanges together (design: promise 5, bounded).

An exchange reserves before it buffers. Where nothing is left it waits its turn, first come first served: without
turns, many half-filled windows would each wait for the others for ever. This module never pauses a transport; it
calls back who waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Reservation:
    """Bytes that one exchange may hold. ``granted`` turns true at once or, from the queue, later."""

    __slots__ = ("_budget", "_on_grant", "granted", "size")

    def __init__(self, budget: BufferBudget, size: int, on_grant: Callable[[], None]) -> None:
        self._budget = budget
        self._on_grant = on_grant
        self.size = size
        self.granted = False

    def shrink(self, size: int) -> None:
        """Give back what is more than ``size`` bytes; waiting exchanges get their turn."""
        if self.granted and size < self.size:
            self._budget.used -= self.size - size
            self.size = size
            self._budget.serve()

    def release(self) -> None:
        """Give everything back, or leave the queue. Calling it twice does no harm."""
        if self.granted:
            self.shrink(0)
            self.granted = False
        else:
            self.size = -1

    def grant(self) -> None:
        """The budget's call: the bytes are ours now."""
        self.granted = True
        self._on_grant()

    @property
    def left_queue(self) -> bool:
        """Whether the exchange ended while it waited."""
        return self.size < 0


class BufferBudget:
    """``limit`` bytes for everybody; ``used`` of them are reserved now."""

    __slots__ = ("_waiting", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[Reservation] = deque()

    def reserve(self, size: int, on_grant: Callable[[], None]) -> Reservation:
        """Reserve ``size`` bytes. Where they are free the result is ``granted`` and ``on_grant`` is not called;
        else it waits in the queue and ``on_grant`` is called when its turn has come."""
        reservation = Reservation(self, min(size, self.limit), on_grant)
        if not self._waiting and self.used + reservation.size <= self.limit:
            self.used += reservation.size
            reservation.granted = True
        else:
            self._waiting.append(reservation)
        return reservation

    @property
    def waiting(self) -> int:
        """How many exchanges wait for their turn."""
        return sum(not r.left_queue for r in self._waiting)

    def serve(self) -> None:
        """Give the freed bytes to those who wait, in order."""
        while self._waiting:
            first = self._waiting[0]
            if not first.left_queue:
                if self.used + first.size > self.limit:
                    return
                self.used += first.size
            self._waiting.popleft()
            if not first.left_queue:
                first.grant()
