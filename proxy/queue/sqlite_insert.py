"""How deliveries come into the database of a store, on its thread: one by one, or all that came together in one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quote
from typing import Any, NamedTuple

from proxy.queue import statements as sql
from proxy.queue.folder import QueueFolder
from proxy.queue.group_commit import BatchLedger
from proxy.queue.records import Condition, Parcel, QueueFullError, Taken
from proxy.queue.reserve import Reserve, ReservedBytes
from proxy.queue.sqlite_work import INLINE_BYTES, remove
from proxy.values import frozen

#: Rows of one statement, so that few are prepared, and two or three do for most transactions.
SIZES = (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
#: Columns of a row.
LANE, COST = 1, 9
TAKEN = Condition.TAKEN


@frozen
class Room:
    """What may be kept in a store of ``max_bytes``, and on its disk."""

    folder: QueueFolder
    reserve: Reserve
    max_bytes: int

    def check(self, size: int, database: sqlite3.Connection, ledger: BatchLedger, *, promised: int = 0) -> None:
        """Raises QueueFullError where there is none for so many bytes, of which ``promised`` are promised already."""
        others = max(0, self.reserve.total() - promised)
        if ledger.used + others + size > self.max_bytes:
            raise QueueFullError("max_bytes is reached")
        spare = self.folder.spare() - others
        if spare < 0 and spare + database.execute(sql.FREE).fetchone()[0] < 0:
            raise QueueFullError("the disk is nearly full, and delivering needs the rest")

    def promise(self, promise: ReservedBytes, size: int, database: sqlite3.Connection, ledger: BatchLedger) -> None:
        """Keep so many bytes free for bodies that are to be written. Raises QueueFullError."""
        self.check(size, database, ledger)
        promise.begin(size)


class Insertion(NamedTuple):
    """What ``append`` does in the thread. ``promise`` is of its large bodies, which are written already."""

    parcels: Sequence[Parcel]
    condition: Condition
    room: Room
    promise: ReservedBytes | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but their own rows changes with them, so that others can be inserted beside them."""
        for one in self.parcels:
            if one.order or one.same:
                return False
        return self.promise is None

    @property
    def cost(self) -> int:
        """What they count against ``max_bytes``."""
        return sum(parcel.cost for parcel in self.parcels)

    def run(self, database: sqlite3.Connection, ledger: BatchLedger) -> Taken | None:
        """Insert them, all or none; gives what is taken. Raises QueueFullError."""
        self.room.check(self.cost, database, ledger, promised=0 if self.promise is None else self.promise.size)
        numbers = [self._insert(parcel, database, ledger) for parcel in self.parcels]
        if self.promise is not None:
            self.promise.end()  # others see it with the row: all this is under the lock of the database
        return self.taken(numbers)

    def taken(self, numbers: Sequence[int]) -> Taken | None:
        """What a courier has by now: the one that is inserted for it, under the first of ``numbers``."""
        if self.condition is not TAKEN:
            return None
        parcel = self.parcels[0]
        kept = parcel if parcel.size <= INLINE_BYTES else parcel._replace(body=None, spill=None)
        return Taken(numbers[0], kept, parcel.attempts, parcel.accepted)

    def _insert(self, parcel: Parcel, database: sqlite3.Connection, ledger: BatchLedger) -> int:
        condition = self.condition
        if parcel.same:  # of those that wait and are the same, the last counts
            same = database.execute(sql.SAME, (parcel.lane, parcel.same)).fetchall()
            remove(database, ledger, same, "dropped", self.room.folder.forget)
        if parcel.order and database.execute(sql.IS_BEHIND, (parcel.lane, parcel.order)).fetchone() is not None:
            condition = Condition.BEHIND
        number = database.execute(sql.INSERT, _row(parcel, condition)).lastrowid
        assert number is not None
        ledger.add(parcel.lane, live=1, accepted=1, bytes=parcel.cost)
        return number


def insert_together(
    database: sqlite3.Connection, ledger: BatchLedger, insertions: Sequence[Insertion]
) -> list[Taken | None]:
    """``run`` of plain ones in few statements: all or none. Each statement that is executed gives the loop's lock away
    and waits for it again, which costs more than the insertion itself.
    """
    rows = [_row(parcel, one.condition) for one in insertions for parcel in one.parcels]
    costs: dict[str, list[int]] = {}
    for row in rows:
        costs.setdefault(row[LANE], []).append(row[COST])
    insertions[0].room.check(sum(map(sum, costs.values())), database, ledger)
    numbers, at = _insert_rows(database, rows), 0
    for lane, each in costs.items():
        ledger.add(lane, live=len(each), accepted=len(each), bytes=sum(each))
    taken = []
    for one in insertions:
        taken.append(one.taken(numbers[at:]))
        at += len(one.parcels)
    return taken


def _insert_rows(database: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Their numbers: those of one statement follow each other, for no other writes meanwhile."""
    numbers: list[int] = []
    at = 0
    while at < len(rows):
        left = len(rows) - at
        count = next(size for size in SIZES if size <= left)
        statement = sql.INSERT + sql.ONE_MORE * (count - 1)
        last = database.execute(statement, [value for row in rows[at : at + count] for value in row]).lastrowid
        assert last is not None
        numbers += range(last - count + 1, last + 1)
        at += count
    return numbers


def _row(parcel: Parcel, condition: Condition) -> tuple[Any, ...]:
    # All are texts, and ``json`` takes three times as long.
    facts = ", ".join([f"{quote(name)}: {quote(value)}" for name, value in parcel.facts.items()])
    accepted, size = parcel.accepted, parcel.size
    return (
        *(parcel.id, parcel.lane, int(condition), accepted, accepted, accepted),
        *(parcel.attempts, parcel.order, parcel.same, parcel.cost, size, f"{{{facts}}}"),
        *(b"".join(parcel.keys), parcel.head, parcel.body if size <= INLINE_BYTES else None),
    )
