"""The one budget of buffered bytes for all exchanges together (design: promise 5, bounded).

An exchange reserves before it buffers. Where nothing is left it waits its turn, first come first served: without
turns, many half-filled windows would each wait for the others for ever. This module never pauses a transport; it
calls back who waits.
"""

from __future__ import annotations

from collections import OrderedDict
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
        """Give back what is more than ``size`` bytes, or ask for no more than that; who waits gets its turn."""
        if size < self.size:
            if self.granted:
                self._budget.used -= self.size - size
            self.size = size
            self._budget.serve()

    def grow(self, size: int) -> bool:
        """Take up to ``size`` bytes in all where there is plenty: nobody waits, and half of the budget stays free.
        Whether there is; what was taken before is kept either way.
        """
        budget = self._budget
        more = max(0, size - self.size)
        if not self.granted or budget.waiting or budget.used + more > budget.limit // 2:
            return False
        budget.used += more
        self.size += more
        return True

    def release(self) -> None:
        """Give everything back, or leave the queue. Calling it twice does no harm."""
        if self.granted:
            self._budget.used -= self.size
            self.granted = False
        self.size = 0
        # Whoever waits behind a large request that gives up may fit at once.
        self._budget.leave(self)

    def grant(self) -> None:
        """The budget's call: the bytes are ours now."""
        self.granted = True
        self._on_grant()


class BufferBudget:
    """``limit`` bytes for everybody; ``used`` of them are reserved now."""

    __slots__ = ("_limit", "_serving", "_waiting", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        # Ordered and left in O(1): peers that come and go while the first one waits must not pile up here.
        self._waiting: OrderedDict[Reservation, None] = OrderedDict()
        self._serving = False

    @property
    def limit(self) -> int:
        """Bytes in all. A reload may set it: a larger limit serves who waits, a smaller one takes nothing back."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self.serve()

    def reserve(self, size: int, on_grant: Callable[[], None]) -> Reservation:
        """Reserve ``size`` bytes, at most the whole limit: the result's ``size`` says how many they are.

        Where they are free the result is ``granted`` and ``on_grant`` is not called; else it waits in the queue and
        ``on_grant`` is called when its turn has come.
        """
        reservation = Reservation(self, min(size, self._limit), on_grant)
        if not self._waiting and self.used + reservation.size <= self._limit:
            self.used += reservation.size
            reservation.granted = True
        else:
            self._waiting[reservation] = None
        return reservation

    @property
    def waiting(self) -> int:
        """How many exchanges wait for their turn."""
        return len(self._waiting)

    def leave(self, reservation: Reservation) -> None:
        """A reservation's call: it waits no longer."""
        self._waiting.pop(reservation, None)
        self.serve()

    def serve(self) -> None:
        """Give the freed bytes to those who wait, in order."""
        # One that is granted may end at once and free its bytes from within: the loop below goes on with them. A call
        # inside the call would nest as deep as the queue is long.
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiting:
                first = next(iter(self._waiting))
                # A reload may have lowered the limit below what was asked for.
                first.size = min(first.size, self._limit)
                if self.used + first.size > self._limit:
                    return
                del self._waiting[first]
                self.used += first.size
                first.grant()
        finally:
            self._serving = False
