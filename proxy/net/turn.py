"""``Turn``: what one look at the kernel has brought, taken stage by stage and not connection by connection.

An exchange is some 5,000 byte codes in 90 functions: more than a processor's first caches and its branch predictor
hold, so each exchange finds them filled with the end of the one before it. Where all heads that have come are read in a
row, then all are judged, and so on, each stage stays warm: with ten and more at once an exchange costs a quarter less.
(Packet processors call it vectors: VPP, fd.io.) Nobody waits for it: a turn runs before the loop looks at the kernel
again, and what it wrote is sent right behind it.

Within a turn no call of a transport, a timer or a signal comes between two stages of one exchange; only other
exchanges' stages do. It knows nothing of what it calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Step = Callable[[], None]
#: What is called with the exception of a step that raises: a bug, of which only its own exchange may die.
Failed = Callable[[Exception], None]

HEAD, DECISION, VERDICT, DELIVERY, ANSWER, RELAY = range(6)

#: So much of what came may wait for its stage. More is taken at once: behind a full read there may be another, and a
#: crowd that sends much before it is judged would fill memory.
STAGED_BYTES = 16 * 1024


class Turn:
    """The stages of one worker."""

    __slots__ = ("_loop", "_running", "_scheduled", "_stages")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stages: list[list[tuple[Step, Failed]]] = [[] for _ in range(RELAY + 1)]
        self._scheduled = False
        self._running = False

    def enter(self, stage: int, step: Step, failed: Failed) -> None:
        """Take ``step`` at its stage of the next turn, which comes in this iteration of the loop."""
        self._stages[stage].append((step, failed))
        self._schedule()

    def go_on(self, stage: int, step: Step, failed: Failed) -> None:
        """The next step of what is under way: at its stage where a turn runs, else at once."""
        if self._running:
            self._stages[stage].append((step, failed))
        else:
            self._take(step, failed)

    def complain(self, bug: BaseException) -> None:
        """Tell the loop's handler of a bug."""
        self._loop.call_exception_handler({"message": "internal error in an exchange", "exception": bug})

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        stages = self._stages
        self._running = True
        try:
            for stage, steps in enumerate(stages):
                if steps:
                    stages[stage] = []
                    for step, failed in steps:
                        self._take(step, failed)
        finally:
            self._running = self._scheduled = False
        if any(stages):
            self._schedule()

    def _take(self, step: Step, failed: Failed) -> None:
        try:
            step()
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not take the others' turn
            self._give_up(failed, bug)

    def _give_up(self, failed: Failed, bug: Exception) -> None:
        try:
            failed(bug)
        except Exception as worse:  # noqa: BLE001 - as above
            self.complain(worse)
