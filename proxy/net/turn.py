"""``Turn``: what one look at the kernel has brought, taken step by step and not connection by connection.

An exchange is thousands of byte codes in a hundred functions, and a hash of its body: more than a processor's first
caches and its branch predictor hold, so each exchange finds them filled with the end of the one before it. Where all
heads that have come are read in a row, then all are judged, and so on, each step stays warm: with ten and more at once
an exchange costs a quarter less. (Packet processors call it vectors: VPP, fd.io.) Nothing waits for it: a turn runs
before the loop looks at the kernel again, and what it wrote is sent right behind it.

Within a turn no call of a transport, a timer or a signal comes between two steps of one exchange; only other
exchanges' steps do.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

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
