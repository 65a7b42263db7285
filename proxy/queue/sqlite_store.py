"""The store of one host: a folder with a database and the large bodies. All processes of the host may have it open.

Each process writes through a thread of its own (``queue.database``) and reads through another, so that nothing
waits for the disk on a loop. Of a database error nothing is guessed: the caller is told that it did not happen.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from proxy.queue import database as sql
from proxy.queue import sqlite_work as work
from proxy.queue.database import GroupCommit, open_database
from proxy.queue.folder import QueueFolder, Reserve, ReservedBytes
from proxy.queue.records import (
    INLINE_BYTES,
    Choice,
    Condition,
    Kept,
    LaneCount,
    Parcel,
    QueueError,
    QueueStore,
    Settlement,
    Taken,
)
from proxy.queue.sqlite_work import TAKEN, Insertion, Room, insert_together

T = TypeVar("T")

#: Threads that write large bodies; each waits for the disk.
BODY_THREADS = 2


def open_to_read(path: Path) -> sqlite3.Connection:
    """Another connection, which changes nothing. Raises QueueError."""
    try:
        database = sqlite3.connect(path, timeout=sql.BUSY_S, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise QueueError(f"{path}: {error}") from None
    return database


class QueueFile(QueueStore):
    """The store in ``folder``. At most ``max_bytes`` are kept."""

    def __init__(self, folder: QueueFolder, loop: asyncio.AbstractEventLoop, *, max_bytes: int) -> None:
        """Open or make it. Blocks for a moment. Raises QueueError."""
        self.folder = folder
        self._loop = loop
        self.max_bytes, self.is_durable = max_bytes, True
        try:
            self._reserve = Reserve(folder.path)
        except OSError as error:
            raise QueueError(f"{folder.path}: {error.strerror}") from None
        self._room = Room(folder, self._reserve, max_bytes)
        self._writer = GroupCommit(loop, partial(open_database, folder.database), work.begin, work.end)
        self.statistics = self._writer.statistics
        self._reader = open_to_read(folder.database)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="queue-read")
        self._bodies = ThreadPoolExecutor(BODY_THREADS, thread_name_prefix="queue-body")

    # -- for what is kept

    def append(self, parcels: Sequence[Parcel]) -> Awaitable[object]:
        return self._append(parcels, Condition.WAITING)

    def append_taken(self, parcel: Parcel) -> Awaitable[Taken | None]:
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
            raise QueueError.of(error) from None
        finally:
            promise.end()

    # -- for the courier

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        return await self._writer.run(partial(work.take, wanted, now))

    def pieces(self, parcel: Parcel) -> Iterator[bytes]:
        return self.folder.pieces(parcel.id) if parcel.body is None else parcel.pieces()

    def holds(self, number: int) -> bool:
        del number
        return True  # the lock of the folder leaves it to no other

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._writer.run(partial(work.settle, settlements, self.folder.forget))

    async def give_back(self, numbers: Sequence[int]) -> None:
        await self._writer.run(partial(work.give_back, numbers))

    async def recover(self, now: float) -> int:
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

    async def counts(self) -> list[LaneCount]:
        return await self._read(work.counts)

    async def find(self, choice: Choice) -> AsyncIterator[Kept]:
        after = 0
        while True:
            page = await self._read(partial(work.page, choice, after))
            for kept in page[0]:
                yield kept
            if not page[1]:
                return
            after = page[1]

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        return await self._writer.run(partial(work.replay, numbers, now))

    async def drop(self, numbers: Sequence[int]) -> int:
        return await self._writer.run(partial(work.drop, numbers, self.folder.forget))

    async def pause(self, lane: str, *, paused: bool) -> None:
        await self._writer.run(partial(work.pause, lane, paused))

    async def expire(self, before: float) -> int:
        found = 0
        while numbers := await self._read(lambda database: work.older(database, before)):
            found += await self.drop(numbers)
        return found

    async def close(self) -> None:
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
            raise QueueError.of(error) from None
