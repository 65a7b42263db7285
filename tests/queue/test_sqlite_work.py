"""What is done to many rows at once is done to each."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.queue import statements as sql
from proxy.queue.records import Choice, Condition
from proxy.queue.sqlite_store import QueueFile
from proxy.queue.sqlite_work import MOST_NUMBERS, many
from tests.queue.conformance import NOW, count, delivered, died, failed, names, parcel, take
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
