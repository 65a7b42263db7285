"""What comes together is inserted together, and each has what it would have alone."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.queue import database as sql
from proxy.queue.database import BatchLedger
from proxy.queue.records import Choice, Condition, QueueError, QueueFullError
from proxy.queue.sqlite_store import QueueFile
from proxy.queue.sqlite_work import MOST_NUMBERS, SIZES, Insertion, Room, insert_together, many
from tests.queue.conformance import MAX_BYTES, NOW, count, delivered, died, failed, names, only, parcel, take
from tests.queue.test_sqlite_store import with_store


@pytest.mark.parametrize("number", [0, 1, 3, MOST_NUMBERS, MOST_NUMBERS + 1, 200])
def test_all_of_a_list_are_found(tmp_path: Path, number: int) -> None:
    async def check(store: QueueFile) -> None:
        await store.append([parcel(f"d{one}") for one in range(200)])
        found = await store._writer.run(lambda database, _: many(database, sql.ROWS, range(1, number + 1)))
        assert [row[0] for row in found] == list(range(1, number + 1))

    with_store(tmp_path / "queue", check)


def test_each_of_a_batch_has_what_became_of_it(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        await store.append([parcel(f"d{number}", "one" if number % 2 else "two") for number in range(150)])
        for lane in ("one", "two"):
            first, second, *rest = await take(store, 100, lane=lane)
            await store.settle([failed(first, NOW + 9), died(second), *map(delivered, rest)])
            found = await count(store, lane)
            assert (found.live, found.dead, found.delivered) == (1, 1, 73)
        kept = [one async for one in store.find(Choice())]
        assert [(one.condition, len(one.tries)) for one in kept] == [(Condition.WAITING, 1)] * 2 + [
            (Condition.DEAD, 1)
        ] * 2
        assert await store.drop([one.number for one in kept]) == 4
        assert await names(store) == []
        [left] = await store._writer.run(lambda database, _: database.execute("SELECT count(*) FROM tries").fetchone())
        assert left == 0, "what was tried goes with its delivery"

    with_store(tmp_path / "queue", check)


def test_a_row_that_cannot_be_read_is_an_error_of_the_queue(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        await store.append([parcel("a")])
        with closing(sqlite3.connect(store.folder.database)) as database, database:
            database.execute("UPDATE deliveries SET facts = 'no record'")
        with pytest.raises(QueueError):
            await names(store)
        with pytest.raises(QueueError):
            await take(store)

    with_store(tmp_path / "queue", check)


def rows(database: sqlite3.Connection) -> list[tuple[int, str]]:
    return database.execute("SELECT number, id FROM deliveries ORDER BY number").fetchall()


def insertion(room: Room, *ids: str, order: str = "", condition: Condition = Condition.WAITING) -> Insertion:
    return Insertion([parcel(name, order=order) for name in ids], condition, room)


@pytest.mark.parametrize("many", [2, 3, SIZES[0], SIZES[0] + 5, 3 * SIZES[0] + 1])
def test_each_has_the_number_of_its_row(tmp_path: Path, many: int) -> None:
    async def check(store: QueueFile) -> None:
        room = store._room
        each = [insertion(room, f"d{number}", condition=Condition.TAKEN) for number in range(many)]
        each.insert(1, insertion(room, "waits", "waits too"))
        ledger = BatchLedger()
        with closing(sqlite3.connect(store.folder.database, isolation_level=None)) as database:
            taken = insert_together(database, ledger, each)
            found = rows(database)
        assert taken.pop(1) is None
        given = [(one.number, one.parcel.id) for one in taken if one is not None]
        assert given == [row for row in found if row[1].startswith("d")]
        assert len(given) == many
        assert (ledger.changes["hook"]["live"], ledger.used) == (many + 2, (many + 2) * parcel("d").cost)

    with_store(tmp_path / "queue", check)


def test_one_that_is_at_fault_fails_alone(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        await store.append([parcel("twice")])
        ids = [f"d{number}" for number in range(20)] + ["twice"]
        found = await asyncio.gather(*(store.append([parcel(name)]) for name in ids), return_exceptions=True)
        assert [isinstance(one, QueueError) for one in found] == [False] * 20 + [True]
        assert len(await names(store)) == (await count(store)).live == 21

    with_store(tmp_path / "queue", check)


def test_those_that_have_no_room_are_told_alone(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        body = b"x" * 60_000
        each = [store.append([parcel(f"d{number}", body=body)]) for number in range(100)]
        found = await asyncio.gather(*each, return_exceptions=True)
        refused = [one for one in found if isinstance(one, QueueFullError)]
        assert len(refused) == 100 - MAX_BYTES // parcel("d", body=body).cost

    with_store(tmp_path / "queue", check)


def test_what_has_an_order_goes_by_it(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        assert not insertion(store._room, "a", order="k").is_plain
        await asyncio.gather(*(store.append([parcel(f"d{number}", order="k")]) for number in range(10)))
        assert [one.parcel.id for one in await take(store)] == ["d0"]
        assert (await only(store, "d1")).condition is Condition.BEHIND

    with_store(tmp_path / "queue", check)
