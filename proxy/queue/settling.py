"""``Settling``: has the store write what has come of attempts, in the background and in batches.

Until it is written nothing is lost: what is TAKEN and not settled when the process ends is tried again. So the next
delivery does not wait for the note of the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.queue.records import QueueError, Settlement
from proxy.queue.store import QueueStore

log = logging.getLogger(__name__)

#: After a failure of the store.
AGAIN_S = 1.0


class Settling:
    """What has come of attempts and is not written yet. ``written`` is called after each batch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: QueueStore, written: Callable[[], None]) -> None:
        self._loop = loop
        self._store = store
        self._written = written
        self._settlements: list[Settlement] = []
        self._task: asyncio.Task[None] | None = None
        self._ends = False

    def add(self, settlement: Settlement) -> None:
        """Have this written, too."""
        self._settlements.append(settlement)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def end(self) -> None:
        """Write what is left, once more. Raises QueueError."""
        self._ends = True
        if self._task is not None:
            await self._task
        await self._write()

    async def _run(self) -> None:
        try:
            while self._settlements:
                try:
                    await self._write()
                except QueueError as error:
                    log.warning("outcomes of deliveries cannot be written, so these may arrive again: %s", error)
                    if self._ends:
                        return
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._task = None

    async def _write(self) -> None:
        batch, self._settlements = self._settlements, []
        if not batch:
            return
        try:
            await self._store.settle(batch)
        except QueueError:
            self._settlements = batch + self._settlements
            raise
        self._written()
