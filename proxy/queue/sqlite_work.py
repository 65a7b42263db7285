"""What a store in SQLite does to its database, on a thread: functions of a transaction, and of a look at it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from proxy.queue import statements as sql
from proxy.queue.group_commit import BatchLedger
from proxy.queue.records import Choice, Condition, Kept, LaneCount, Parcel, Settlement, Taken, Try

Forget = Callable[[str], None]  # the body of that id

#: Bodies up to this size are in the database: one sync for all. Larger ones are files.
INLINE_BYTES = 64 * 1024
#: Rows of one look, so that no look holds what it found, or the file's old pages, for long.
PAGE = 500
#: Numbers of one statement; a power of two.
MOST_NUMBERS = 64
KEY_BYTES = 16
DEAD = Condition.DEAD


def begin(database: sqlite3.Connection) -> BatchLedger:
    """What is kept as a transaction begins."""
    [used] = database.execute(sql.USED).fetchone()
    return BatchLedger(used)


def end(database: sqlite3.Connection, ledger: BatchLedger) -> None:
    """Write what the jobs of a transaction have changed in the counts."""
    rows = [(lane, *(changes[name] for name in sql.COUNTED)) for lane, changes in ledger.changes.items()]
    each(database, sql.COUNT, rows)


def each(database: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Execute ``statement`` for each of ``rows``."""
    for row in rows:
        database.execute(statement, row)


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
        _note(database, one.number, row[sql.ATTEMPTS] + 1, one.last)
        database.execute(sql.SETTLE, (int(one.condition), one.due, row[sql.ATTEMPTS] + 1, one.number))
        if one.condition is Condition.DEAD:
            ledger.add(row[sql.LANE], live=-1, dead=1, died=1)
            _let_next(database, row)


def _note(database: sqlite3.Connection, number: int, attempt: int, last: Try) -> None:
    fields = (last.at, last.status, last.word, last.detail, last.lasted_s, last.upstream)
    database.execute(sql.TRY, (number, attempt, *fields))


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


def recover(now: float, database: sqlite3.Connection, _ledger: BatchLedger) -> int:
    """Put back what is taken, as an attempt that was interrupted; gives how many."""
    found = 0
    for (lane,) in database.execute(sql.LANES).fetchall():
        for number, attempts in database.execute(sql.TAKEN, (lane,)).fetchall():
            _note(database, number, attempts + 1, Try(now, 0, "interrupted"))
            database.execute(sql.SETTLE, (int(Condition.WAITING), now, attempts + 1, number))
            found += 1
    return found


def replay(numbers: Sequence[int], now: float, database: sqlite3.Connection, ledger: BatchLedger) -> int:
    """Have those tried again; gives how many."""
    found = 0
    for row in many(database, sql.ROWS, numbers):
        number = row[0]
        if row[sql.CONDITION] == Condition.TAKEN:
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


def drop(numbers: Sequence[int], forget: Forget, database: sqlite3.Connection, ledger: BatchLedger) -> int:
    """Remove those, but for what is taken; gives how many."""
    rows = [row for row in many(database, sql.ROWS, numbers) if row[sql.CONDITION] != Condition.TAKEN]
    remove(database, ledger, rows, "dropped", forget)
    return len(rows)


def older(database: sqlite3.Connection, before: float) -> list[int]:
    """The numbers of a page of those that were accepted before that. They are numbered nearly in that order."""
    rows = database.execute(sql.FIRST, (PAGE,)).fetchall()
    return [number for number, accepted, condition in rows if accepted < before and condition != Condition.TAKEN]


def counts(now: float, database: sqlite3.Connection) -> list[LaneCount]:
    """What each lane holds."""
    del now
    found = []
    for lane, paused, *counted in database.execute(sql.COUNTS).fetchall():
        [oldest] = database.execute(sql.OLDEST, (lane,)).fetchone()
        [due] = database.execute(sql.NEXT_DUE, (lane,)).fetchone()
        numbers = dict(zip(sql.COUNTED, counted, strict=True))
        found.append(LaneCount(lane, **numbers, paused=bool(paused), oldest=oldest or due, next_due=due))
    return found


def page(choice: Choice, after: int, database: sqlite3.Connection) -> tuple[list[Kept], int]:
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
