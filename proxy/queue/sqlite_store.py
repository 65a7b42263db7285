"""The store of one host: a folder with a database and the large bodies. All processes of the host may have it open.

Each process writes through a thread of its own (``queue.group_commit``) and reads through another, so that nothing
waits for the disk on a loop. Of a database error nothing is guessed: the caller is told that it did not happen.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from proxy.queue import sqlite_work as work
from proxy.queue import statements as sql
from proxy.queue.folder import QueueFolder
from proxy.queue.group_commit import CommitStatistics, GroupCommit
from proxy.queue.layout import open_database, open_to_read
from proxy.queue.records import Choice, Condition, Kept, LaneCount, Parcel, QueueError, Settlement, Taken
from proxy.queue.reserve import Reserve, ReservedBytes
from proxy.queue.sqlite_insert import TAKEN, Insertion, Room, insert_together
from proxy.queue.sqlite_work import INLINE_BYTES

T = TypeVar("T")

#: Threads that write large bodies; each waits for the disk.
BODY_THREADS = 2


class QueueFile:
    """The store in ``folder``. At most ``max_bytes`` are kept."""

    is_durable = True

    def __init__(self, folder: QueueFolder, loop: asyncio.AbstractEventLoop, *, max_bytes: int) -> None:
        """Open or make it. Blocks for a moment. Raises QueueError."""
        self.folder = folder
        self._loop = loop
        self.max_bytes = max_bytes
        try:
            self._reserve = Reserve(folder.path)
        except OSError as error:
            raise QueueError(f"{folder.path}: {error.strerror}") from None
        self._room = Room(folder, self._reserve, max_bytes)
        self._writer = GroupCommit(loop, partial(open_database, folder.database), work.begin, work.end)
        self._reader = open_to_read(folder.database)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="queue-read")
        self._bodies = ThreadPoolExecutor(BODY_THREADS, thread_name_prefix="queue-body")

    @property
    def statistics(self) -> CommitStatistics:
        """What the writing thread has done."""
        return self._writer.statistics

    # -- for what is kept

    def append(self, parcels: Sequence[Parcel]) -> Awaitable[object]:
        """Keep ``parcels``, all or none."""
        return self._append(parcels, Condition.WAITING)

    def append_taken(self, parcel: Parcel) -> Awaitable[Taken | None]:
        """``append`` and ``take`` in one, for a courier of this process that has nothing else to do."""
        return self._append([parcel], TAKEN)

    def _append(self, parcels: Sequence[Parcel], condition: Condition) -> Awaitable[Taken | None]:
        """No coroutine where nothing is to be waited for but the transaction: a task for each costs more."""
        large = [parcel for parcel in parcels if parcel.size > INLINE_BYTES]
        if large:
            return self._append_large(parcels, large, condition)
        insertion = Insertion(parcels, condition, self._room)
        return self._writer.run(insertion.run, (insert_together, insertion) if insertion.is_plain else None)

    async def _append_large(
        self, parcels: Sequence[Parcel], large: Sequence[Parcel], condition: Condition
    ) -> Taken | None:
        """Those that are ``large`` are written before there is a row, and room is kept for them before that."""
        promise = ReservedBytes(self._reserve)
        filed: list[str] = []
        try:
            await self._writer.run(partial(self._room.promise, promise, sum(one.cost for one in large)))
            for parcel in large:
                await self._loop.run_in_executor(self._bodies, self.folder.keep, parcel)
                filed.append(parcel.id)
            return await self._writer.run(Insertion(parcels, condition, self._room, promise).run)
        except (QueueError, OSError) as error:
            for name in filed:
                self.folder.forget(name)
            raise QueueError(error.strerror or type(error).__name__) if isinstance(error, OSError) else error from None
        finally:
            promise.end()

    # -- for the courier

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        """Give the courier up to so many of each lane that are due, the longest due first."""
        return await self._writer.run(partial(work.take, wanted, now))

    def pieces(self, parcel: Parcel) -> Iterator[bytes]:
        """The body of a taken one, in order and in pieces."""
        if parcel.body is not None:
            return iter([parcel.body] if parcel.body else [])
        return self.folder.pieces(parcel.id)

    def holds(self, number: int) -> bool:
        """The lock of the folder leaves it to no other."""
        del number
        return True

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """What has become of taken ones."""
        await self._writer.run(partial(work.settle, settlements, self.folder.forget))

    async def give_back(self, numbers: Sequence[int]) -> None:
        """Taken ones that were not sent."""
        await self._writer.run(lambda database, _: work.each(database, sql.GIVE_BACK, [(one,) for one in numbers]))

    async def recover(self, now: float) -> int:
        """Put back what a courier had that is no more, and remove what a crash left."""
        found = await self._writer.run(partial(work.recover, now))
        self._reserve.clear()
        orphans = await self._loop.run_in_executor(self._reading, self._orphans, now)
        for name in orphans:
            self.folder.forget(name)
        return found

    def _orphans(self, now: float) -> list[str]:
        names = [name.removesuffix(".new") for name in self.folder.orphans(now)]
        return [name for name in names if self._reader.execute(sql.HAS_ID, (name,)).fetchone() is None]

    # -- for people

    async def counts(self, now: float) -> list[LaneCount]:
        """Each lane that holds anything, or ever did."""
        return await self._read(partial(work.counts, now))

    async def find(self, choice: Choice) -> AsyncIterator[Kept]:
        """Those that are meant, the oldest first."""
        after = 0
        while True:
            page = await self._read(partial(work.page, choice, after))
            for kept in page[0]:
                yield kept
            if not page[1]:
                return
            after = page[1]

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        """Try these again now, with a new life."""
        return await self._writer.run(partial(work.replay, numbers, now))

    async def drop(self, numbers: Sequence[int]) -> int:
        """Remove these for good."""
        return await self._writer.run(partial(work.drop, numbers, self.folder.forget))

    async def pause(self, lane: str, *, paused: bool) -> None:
        """Whether nothing of a lane is taken."""
        await self._writer.run(lambda database, _: work.each(database, sql.PAUSE, [(lane, int(paused))]))

    async def expire(self, before: float) -> int:
        """Remove what was accepted before that."""
        found = 0
        while numbers := await self._read(lambda database: work.older(database, before)):
            found += await self.drop(numbers)
        return found

    async def close(self) -> None:
        """Write what waits, and give everything back."""
        await self._writer.close()
        with suppress(sqlite3.Error):
            await self._loop.run_in_executor(self._reading, self._reader.close)
        self._reserve.close()
        self._reading.shutdown(wait=False)
        self._bodies.shutdown(wait=False)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._reading, work, self._reader)
        except sqlite3.Error as error:
            raise QueueError(str(error)) from None
