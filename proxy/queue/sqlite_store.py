"""The store of one host: a folder with a database and the large bodies. All processes of the host may have it open.

Each process writes through a thread of its own (``queue.group_commit``) and reads through another, so that nothing
waits for the disk on a loop. Of a database error nothing is guessed: the caller is told that it did not happen.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from proxy.queue import statements as sql
from proxy.queue.folder import QueueFolder
from proxy.queue.group_commit import BatchLedger, CommitStatistics, GroupCommit
from proxy.queue.layout import open_database, open_to_read
from proxy.queue.records import (
    Choice,
    Condition,
    Kept,
    LaneCount,
    Parcel,
    QueueError,
    QueueFullError,
    Settlement,
    Taken,
    Try,
)
from proxy.values import frozen

T = TypeVar("T")
Forget = Callable[[str], None]  # the body of that id

#: Bodies up to this size are in the database: one sync for all. Larger ones are files.
INLINE_BYTES = 64 * 1024
#: Threads that write large bodies; each waits for the disk.
BODY_THREADS = 2
#: Rows of one look, so that no look holds what it found, or the file's old pages, for long.
PAGE = 500
KEY_BYTES = 16


class QueueFile:
    """The store in ``folder``. At most ``max_bytes`` are kept."""

    is_durable = True

    def __init__(self, folder: QueueFolder, loop: asyncio.AbstractEventLoop, *, max_bytes: int) -> None:
        """Open or make it. Blocks for a moment. Raises QueueError."""
        self.folder = folder
        self._loop = loop
        self.max_bytes = max_bytes
        self._writer = GroupCommit(loop, partial(open_database, folder.database), _begin, _end)
        self._reader = open_to_read(folder.database)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="queue-read")
        self._bodies = ThreadPoolExecutor(BODY_THREADS, thread_name_prefix="queue-body")

    @property
    def statistics(self) -> CommitStatistics:
        """What the writing thread has done."""
        return self._writer.statistics

    # -- for what is kept

    async def append(self, parcels: Sequence[Parcel]) -> None:
        """Keep ``parcels``, all or none."""
        await self._append(parcels, Condition.WAITING)

    async def append_taken(self, parcel: Parcel) -> Taken | None:
        """``append`` and ``take`` in one, for a courier of this process that has nothing else to do."""
        [number] = await self._append([parcel], Condition.TAKEN)
        kept = parcel if parcel.size <= INLINE_BYTES else replace(parcel, body=None, spill=None)
        return Taken(number, kept, parcel.attempts, parcel.accepted)

    async def _append(self, parcels: Sequence[Parcel], condition: Condition) -> list[int]:
        filed: list[str] = []
        try:
            for parcel in parcels:
                if parcel.size > INLINE_BYTES:
                    await self._loop.run_in_executor(self._bodies, self.folder.keep, parcel)
                    filed.append(parcel.id)
            insertion = _Insertion(parcels, condition, self.max_bytes, self.folder)
            return await self._writer.run(insertion.run)
        except (QueueError, OSError) as error:
            for name in filed:
                self.folder.forget(name)
            raise QueueError(error.strerror or type(error).__name__) if isinstance(error, OSError) else error from None

    # -- for the courier

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        """Give the courier up to so many of each lane that are due, the longest due first."""
        return await self._writer.run(partial(_take, wanted, now))

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
        await self._writer.run(partial(_settle, settlements, self.folder.forget))

    async def give_back(self, numbers: Sequence[int]) -> None:
        """Taken ones that were not sent."""
        await self._writer.run(lambda database, _: _each(database, sql.GIVE_BACK, [(one,) for one in numbers]))

    async def recover(self, now: float) -> int:
        """Put back what a courier had that is no more, and remove what a crash left."""
        found = await self._writer.run(partial(_recover, now))
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
        return await self._read(partial(_counts, now))

    async def find(self, choice: Choice) -> AsyncIterator[Kept]:
        """Those that are meant, the oldest first."""
        after = 0
        while True:
            page = await self._read(partial(_page, choice, after))
            for kept in page[0]:
                yield kept
            if not page[1]:
                return
            after = page[1]

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        """Try these again now, with a new life."""
        return await self._writer.run(partial(_replay, numbers, now))

    async def drop(self, numbers: Sequence[int]) -> int:
        """Remove these for good."""
        return await self._writer.run(partial(_drop, numbers, self.folder.forget))

    async def pause(self, lane: str, *, paused: bool) -> None:
        """Whether nothing of a lane is taken."""
        await self._writer.run(lambda database, _: _each(database, sql.PAUSE, [(lane, int(paused))]))

    async def expire(self, before: float) -> int:
        """Remove what was accepted before that."""
        found = 0
        while numbers := await self._read(lambda database: _older(database, before)):
            found += await self.drop(numbers)
        return found

    async def close(self) -> None:
        """Write what waits, and give everything back."""
        await self._writer.close()
        with suppress(sqlite3.Error):
            await self._loop.run_in_executor(self._reading, self._reader.close)
        self._reading.shutdown(wait=False)
        self._bodies.shutdown(wait=False)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._reading, work, self._reader)
        except sqlite3.Error as error:
            raise QueueError(str(error)) from None


# -- the work, on a thread


def _begin(database: sqlite3.Connection) -> BatchLedger:
    [used] = database.execute(sql.USED).fetchone()
    return BatchLedger(used)


def _end(database: sqlite3.Connection, ledger: BatchLedger) -> None:
    rows = [(lane, *(changes[name] for name in sql.COUNTED)) for lane, changes in ledger.changes.items()]
    _each(database, sql.COUNT, rows)


def _each(database: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    for row in rows:
        database.execute(statement, row)


@frozen
class _Insertion:
    """What ``append`` does in the thread."""

    parcels: Sequence[Parcel]
    condition: Condition
    max_bytes: int
    folder: QueueFolder

    def run(self, database: sqlite3.Connection, ledger: BatchLedger) -> list[int]:
        if ledger.used + sum(parcel.cost for parcel in self.parcels) > self.max_bytes:
            raise QueueFullError("max_bytes is reached")
        if (spare := self.folder.spare()) < 0 and spare + database.execute(sql.FREE).fetchone()[0] < 0:
            raise QueueFullError("the disk is nearly full, and delivering needs the rest")
        return [self._insert(parcel, database, ledger) for parcel in self.parcels]

    def _insert(self, parcel: Parcel, database: sqlite3.Connection, ledger: BatchLedger) -> int:
        condition = self.condition
        if parcel.same:  # of those that wait and are the same, the last counts
            same = database.execute(sql.SAME, (parcel.lane, parcel.same)).fetchall()
            _remove(database, ledger, same, "dropped", self.folder.forget)
        if parcel.order and database.execute(sql.IS_BEHIND, (parcel.lane, parcel.order)).fetchone() is not None:
            condition = Condition.BEHIND
        row = (
            *(parcel.id, parcel.lane, int(condition), parcel.accepted, parcel.accepted, parcel.accepted),
            *(parcel.attempts, parcel.order, parcel.same, parcel.cost, parcel.size, json.dumps(dict(parcel.facts))),
            *(b"".join(parcel.keys), parcel.head, parcel.body if parcel.size <= INLINE_BYTES else None),
        )
        number = database.execute(sql.INSERT, row).lastrowid
        assert number is not None
        ledger.add(parcel.lane, live=1, accepted=1, bytes=parcel.cost)
        return number


def _take(wanted: Mapping[str, int], now: float, database: sqlite3.Connection, _ledger: BatchLedger) -> list[Taken]:
    taken = []
    for lane, most in wanted.items():
        for row in database.execute(sql.TAKE, (lane, now, most)).fetchall():
            taken.append(Taken(row[0], _parcel(row), row[5], row[4]))
            database.execute(sql.SET_TAKEN, (row[0],))
    return taken


def _settle(
    settlements: Sequence[Settlement], forget: Forget, database: sqlite3.Connection, ledger: BatchLedger
) -> None:
    for one in settlements:
        row = database.execute(sql.ROW, (one.number,)).fetchone()
        if row is None:
            continue
        if one.condition is None:
            _remove(database, ledger, [row], "delivered", forget)
            continue
        attempts = row[sql.ATTEMPTS] + 1
        last = one.last
        database.execute(sql.TRY, (one.number, attempts, last.at, last.status, last.word, last.detail, last.lasted_s))
        database.execute(sql.SETTLE, (int(one.condition), one.due, attempts, one.number))
        if one.condition is Condition.DEAD:
            ledger.add(row[sql.LANE], live=-1, dead=1, died=1)
            _let_next(database, row)


def _remove(
    database: sqlite3.Connection,
    ledger: BatchLedger,
    rows: Sequence[tuple[Any, ...]],
    counted: str,
    forget: Forget,
) -> None:
    for row in rows:
        number, name, lane, cost, size, *_ = row
        database.execute(sql.DELETE_TRIES, (number,))
        database.execute(sql.DELETE, (number,))
        where = "dead" if row[sql.CONDITION] == Condition.DEAD else "live"
        ledger.add(lane, **{where: -1, "bytes": -cost, counted: 1})
        if size > INLINE_BYTES:
            ledger.after.append(partial(forget, name))
        _let_next(database, row)


def _let_next(database: sqlite3.Connection, row: Sequence[object]) -> None:
    """The next of the same order is no longer behind."""
    if row[sql.SEQUENCE]:
        database.execute(sql.LET_NEXT, (row[sql.LANE], row[sql.SEQUENCE]))


def _recover(now: float, database: sqlite3.Connection, _ledger: BatchLedger) -> int:
    found = 0
    for (lane,) in database.execute(sql.LANES).fetchall():
        for number, attempts in database.execute(sql.TAKEN, (lane,)).fetchall():
            database.execute(sql.TRY, (number, attempts + 1, now, 0, "interrupted", "", 0.0))
            database.execute(sql.SETTLE, (int(Condition.WAITING), now, attempts + 1, number))
            found += 1
    return found


def _replay(numbers: Sequence[int], now: float, database: sqlite3.Connection, ledger: BatchLedger) -> int:
    found = 0
    for number in numbers:
        row = database.execute(sql.ROW, (number,)).fetchone()
        if row is None or row[sql.CONDITION] == Condition.TAKEN:
            continue
        condition, was_dead = Condition.WAITING, row[sql.CONDITION] == Condition.DEAD
        if was_dead:
            ledger.add(row[sql.LANE], live=1, dead=-1)
        if row[sql.SEQUENCE]:
            held = database.execute(sql.IS_BEHIND_OTHER, (row[sql.LANE], row[sql.SEQUENCE], number)).fetchone()
            condition = Condition.BEHIND if held is not None else condition
        database.execute(sql.REPLAY, (int(condition), now, now, number))
        found += 1
    return found


def _drop(numbers: Sequence[int], forget: Forget, database: sqlite3.Connection, ledger: BatchLedger) -> int:
    rows = [database.execute(sql.ROW, (number,)).fetchone() for number in numbers]
    rows = [row for row in rows if row is not None and row[sql.CONDITION] != Condition.TAKEN]
    _remove(database, ledger, rows, "dropped", forget)
    return len(rows)


def _older(database: sqlite3.Connection, before: float) -> list[int]:
    """The numbers of a page of those that were accepted before that. They are numbered nearly in that order."""
    rows = database.execute(sql.FIRST, (PAGE,)).fetchall()
    return [number for number, accepted, condition in rows if accepted < before and condition != Condition.TAKEN]


def _counts(now: float, database: sqlite3.Connection) -> list[LaneCount]:
    del now
    found = []
    for lane, paused, *counted in database.execute(sql.COUNTS).fetchall():
        [oldest] = database.execute(sql.OLDEST, (lane,)).fetchone()
        [due] = database.execute(sql.NEXT_DUE, (lane,)).fetchone()
        numbers = dict(zip(sql.COUNTED, counted, strict=True))
        found.append(LaneCount(lane, **numbers, paused=bool(paused), oldest=oldest or due, next_due=due))
    return found


def _page(choice: Choice, after: int, database: sqlite3.Connection) -> tuple[list[Kept], int]:
    """The next of those that are meant, and the number to go on after; 0 at the end."""
    where: list[str] = ["number > ?"]
    values: list[object] = [after, *choice.ids]
    if choice.ids:
        where.append(f"id IN ({', '.join('?' * len(choice.ids))})")
    if choice.conditions:
        where.append(f"condition IN ({', '.join(str(int(one)) for one in choice.conditions)})")
    if choice.lane is not None:
        where.append("lane = ?")
        values.append(choice.lane)
    if choice.since:
        where.append("accepted >= ?")
        values.append(choice.since)
    body = "body" if choice.content else "NULL"
    rows = database.execute(sql.PAGE.format(body=body, where=" AND ".join(where)), (*values, PAGE)).fetchall()
    found = []
    for row in rows:
        tries = tuple(Try(*each) for each in database.execute(sql.TRIES, (row[0],))) if row[5] else ()
        found.append(Kept(row[0], _parcel(row), Condition(row[sql.PAGE_CONDITION]), row[sql.PAGE_DUE], row[5], tries))
    return found, rows[-1][0] if len(rows) == PAGE else 0


def _parcel(row: Sequence[Any]) -> Parcel:
    _, name, lane, accepted, _, attempts, order, same, size, facts, keys, head, body, *_ = row
    return Parcel(
        id=name,
        lane=lane,
        accepted=accepted,
        head=head,
        body=body,
        size=size,
        facts=json.loads(facts),
        order=order,
        same=same,
        keys=tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)),
        attempts=attempts,
    )
