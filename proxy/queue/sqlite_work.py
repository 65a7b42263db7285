"""What a store in SQLite does to its database, on a thread: functions of a transaction, and of a look at it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from json.encoder import encode_basestring_ascii as quote
from typing import Any, NamedTuple

from proxy.queue import database as sql
from proxy.queue.database import BatchLedger
from proxy.queue.folder import QueueFolder, Reserve, ReservedBytes
from proxy.queue.records import (
    INLINE_BYTES,
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
    split_keys,
)
from proxy.values import frozen

Forget = Callable[[str], None]  # the body of that id

#: Rows of one look, so that no look holds what it found, or the file's old pages, for long.
PAGE = 500
#: Numbers of one statement; a power of two.
MOST_NUMBERS = 64
TAKEN, DEAD = Condition.TAKEN, Condition.DEAD


def begin(database: sqlite3.Connection) -> BatchLedger:
    """What is kept as a transaction begins."""
    [used] = database.execute(sql.USED).fetchone()
    return BatchLedger(used)


def end(database: sqlite3.Connection, ledger: BatchLedger) -> None:
    """Write what the jobs of a transaction have changed in the counts."""
    rows = [(lane, *(changes[name] for name in sql.COUNTED)) for lane, changes in ledger.changes.items()]
    database.executemany(sql.COUNT, rows)


def take(wanted: Mapping[str, int], now: float, database: sqlite3.Connection, _ledger: BatchLedger) -> list[Taken]:
    """Mark as taken up to so many of each lane that are due, and give them."""
    rows = [row for lane, most in wanted.items() for row in database.execute(sql.TAKE, (lane, now, most)).fetchall()]
    taken = [Taken(row[0], _parcel(row), row[5], row[4]) for row in rows]
    many(database, sql.SET_TAKEN, [one.number for one in taken])
    return taken


def many(database: sqlite3.Connection, statement: str, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """What ``statement``, which ends with a list of numbers, gives for all; filled up, so that few are prepared."""
    found: list[tuple[Any, ...]] = []
    for at in range(0, len(numbers), MOST_NUMBERS):
        part = list(numbers[at : at + MOST_NUMBERS])
        part += [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))
        found += database.execute(f"{statement} ({', '.join('?' * len(part))})", part).fetchall()
    return found


def settle(
    settlements: Sequence[Settlement], forget: Forget, database: sqlite3.Connection, ledger: BatchLedger
) -> None:
    """Write down what has become of taken ones."""
    rows = {row[0]: row for row in many(database, sql.ROWS, [one.number for one in settlements])}
    there = [one for one in settlements if one.number in rows]
    remove(database, ledger, [rows[one.number] for one in there if one.condition is None], "delivered", forget)
    for one in there:
        if one.condition is None:
            continue
        row = rows[one.number]
        attempts = row[sql.ATTEMPTS] + 1
        database.execute(sql.TRY, (one.number, attempts, *one.last))
        database.execute(sql.SETTLE, (int(one.condition), one.due, attempts, one.number))
        if one.condition is DEAD:
            ledger.add(row[sql.LANE], live=-1, dead=1, died=1)
            _let_next(database, row)


def remove(
    database: sqlite3.Connection, ledger: BatchLedger, rows: Sequence[tuple[Any, ...]], counted: str, forget: Forget
) -> None:
    """Remove those ``rows``, which count as ``counted``."""
    many(database, sql.DELETE_TRIES, [row[0] for row in rows if row[sql.ATTEMPTS]])
    many(database, sql.DELETE, [row[0] for row in rows])
    costs: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        _, name, lane, cost, size, condition, *_ = row
        costs.setdefault((lane, "dead" if condition == DEAD else "live"), []).append(cost)
        if size > INLINE_BYTES:
            ledger.after.append(partial(forget, name))
        _let_next(database, row)
    for (lane, where), each_cost in costs.items():
        count = len(each_cost)
        ledger.add(lane, **{where: -count, "bytes": -sum(each_cost), counted: count})


def _let_next(database: sqlite3.Connection, row: Sequence[object]) -> None:
    """The next of the same order is no longer behind."""
    if row[sql.SEQUENCE]:
        database.execute(sql.LET_NEXT, (row[sql.LANE], row[sql.SEQUENCE]))


def give_back(numbers: Sequence[int], database: sqlite3.Connection, _ledger: BatchLedger) -> None:
    """These were taken and not sent."""
    database.executemany(sql.GIVE_BACK, [(number,) for number in numbers])


def pause(lane: str, paused: bool, database: sqlite3.Connection, _ledger: BatchLedger) -> None:  # noqa: FBT001 - by partial
    """Whether nothing of a lane is taken."""
    database.execute(sql.PAUSE, (lane, paused))


def recover(now: float, database: sqlite3.Connection, _ledger: BatchLedger) -> int:
    """Put back what is taken, as an attempt that was interrupted; gives how many."""
    found = 0
    for (lane,) in database.execute(sql.LANES).fetchall():
        for number, attempts in database.execute(sql.TAKEN, (lane,)).fetchall():
            database.execute(sql.TRY, (number, attempts + 1, *Try(now, 0, "interrupted")))
            database.execute(sql.SETTLE, (int(Condition.WAITING), now, attempts + 1, number))
            found += 1
    return found


def replay(numbers: Sequence[int], now: float, database: sqlite3.Connection, ledger: BatchLedger) -> int:
    """Have those tried again; gives how many."""
    found = 0
    for row in many(database, sql.ROWS, numbers):
        number = row[0]
        if row[sql.CONDITION] == TAKEN:
            continue
        condition, was_dead = Condition.WAITING, row[sql.CONDITION] == DEAD
        if was_dead:
            ledger.add(row[sql.LANE], live=1, dead=-1)
        if row[sql.SEQUENCE]:
            held = database.execute(sql.IS_BEHIND_OTHER, (row[sql.LANE], row[sql.SEQUENCE], number)).fetchone()
            condition = Condition.BEHIND if held is not None else condition
        database.execute(sql.REPLAY, (int(condition), now, now, number))
        found += 1
    return found


def drop(numbers: Sequence[int], forget: Forget, database: sqlite3.Connection, ledger: BatchLedger) -> int:
    """Remove those, but for what is taken; gives how many."""
    rows = [row for row in many(database, sql.ROWS, numbers) if row[sql.CONDITION] != TAKEN]
    remove(database, ledger, rows, "dropped", forget)
    return len(rows)


def older(database: sqlite3.Connection, before: float) -> list[int]:
    """The numbers of a page of those that were accepted before that. They are numbered nearly in that order."""
    rows = database.execute(sql.FIRST, (PAGE,)).fetchall()
    return [number for number, accepted, condition in rows if accepted < before and condition != TAKEN]


def counts(database: sqlite3.Connection) -> list[LaneCount]:
    """What each lane holds."""
    found = []
    for lane, paused, *counted in database.execute(sql.COUNTS).fetchall():
        [oldest] = database.execute(sql.OLDEST, (lane,)).fetchone()
        [due] = database.execute(sql.NEXT_DUE, (lane,)).fetchone()
        numbers = dict(zip(sql.COUNTED, counted, strict=True))
        found.append(LaneCount(lane, **numbers, paused=bool(paused), oldest=oldest or due, next_due=due))
    return found


def page(choice: Choice, after: int, database: sqlite3.Connection) -> tuple[list[Kept], int]:
    """The next of those that are meant, and the number to go on after; 0 at the end."""
    where, values = ["number > ?"], [after, *choice.ids]
    if choice.ids:
        where.append(f"id IN ({', '.join('?' * len(choice.ids))})")
    if choice.conditions:
        where.append(f"condition IN ({', '.join(str(int(one)) for one in choice.conditions)})")
    body = "body" if choice.content else "NULL"
    rows = database.execute(sql.PAGE.format(body=body, where=" AND ".join(where)), (*values, PAGE)).fetchall()
    found = []
    for row in rows:
        tries = tuple(Try(*each) for each in database.execute(sql.TRIES, (row[0],))) if row[5] else ()
        found.append(Kept(row[0], _parcel(row), Condition(row[sql.PAGE_CONDITION]), row[sql.PAGE_DUE], row[5], tries))
    return found, rows[-1][0] if len(rows) == PAGE else 0


def _parcel(row: Sequence[Any]) -> Parcel:
    _, name, lane, accepted, _, attempts, order, same, size, facts, keys, head, body, *_ = row
    try:
        told = json.loads(facts)
    except (ValueError, TypeError):  # the disk gave back something else
        raise QueueError(f"the row of {name} cannot be read") from None
    return Parcel(name, lane, accepted, head, body, size, told, order, same, split_keys(keys), attempts)


# -- How deliveries come into the database: one by one, or all that came together in one.

#: Rows of one statement, so that few are prepared, and two or three do for most transactions.
SIZES = (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
#: Columns of a row.
LANE, COST = 1, 9


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

    def run(self, database: sqlite3.Connection, ledger: BatchLedger) -> Taken | None:
        """Insert them, all or none; gives what is taken. Raises QueueFullError."""
        promised = 0 if self.promise is None else self.promise.size
        self.room.check(sum(parcel.cost for parcel in self.parcels), database, ledger, promised=promised)
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
