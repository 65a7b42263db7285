"""Jobs that share a sync: each fails alone, and none is told before it is on stable storage."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.queue import database as writing
from proxy.queue.database import BatchLedger, GroupCommit
from proxy.queue.records import QueueError


class Database:
    """A database with one table, whose commits may be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "database"
        self.opened = 0
        self.failing = ""
        self.ledgers: list[BatchLedger] = []

    def open(self) -> sqlite3.Connection:
        self.opened += 1
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        database.execute("CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY)")
        return database

    def begin(self, database: sqlite3.Connection) -> BatchLedger:
        del database
        return BatchLedger()

    def end(self, database: sqlite3.Connection, ledger: BatchLedger) -> None:
        del database
        if self.failing:
            raise sqlite3.OperationalError(self.failing)
        self.ledgers.append(ledger)

    def words(self) -> list[str]:
        with sqlite3.connect(self.path) as database:
            return [word for (word,) in database.execute("SELECT word FROM words ORDER BY word")]


def put(word: str) -> Callable[[sqlite3.Connection, BatchLedger], str]:
    def work(database: sqlite3.Connection, ledger: BatchLedger) -> str:
        database.execute("INSERT INTO words VALUES (?)", (word,))
        ledger.add("lane", live=1, bytes=len(word))
        if word == "bad":
            raise QueueError("bad")
        return word

    return work


def with_thread(folder: Path, check: Callable[[GroupCommit, Database], Awaitable[None]]) -> Database:
    database = Database(folder)

    async def run() -> None:
        thread = GroupCommit(asyncio.get_running_loop(), database.open, database.begin, database.end)
        try:
            await check(thread, database)
        finally:
            await thread.close()

    asyncio.run(run())
    return database


def test_a_job_that_fails_fails_alone(tmp_path: Path) -> None:
    async def check(thread: GroupCommit, database: Database) -> None:
        words = ["a", "bad", "b", "a", "c"]
        found = await asyncio.gather(*(thread.run(put(word)) for word in words), return_exceptions=True)
        assert [type(one) for one in found] == [str, QueueError, str, QueueError, str]
        assert database.words() == ["a", "b", "c"]

    database = with_thread(tmp_path, check)
    assert sum(ledger.changes["lane"]["live"] for ledger in database.ledgers) == 3, "only what was done is counted"


def test_a_bug_in_a_job_ends_that_job_alone(tmp_path: Path) -> None:
    def bug(database: sqlite3.Connection, ledger: BatchLedger) -> None:
        database.execute("INSERT INTO words VALUES ('bug')")
        raise AttributeError("a bug")

    async def check(thread: GroupCommit, database: Database) -> None:
        found = await asyncio.gather(
            thread.run(put("a")), thread.run(bug), thread.run(put("b")), return_exceptions=True
        )
        assert [type(one) for one in found] == [str, AttributeError, str]
        assert await thread.run(put("c")) == "c"
        assert database.words() == ["a", "b", "c"]

    with_thread(tmp_path, check)


@pytest.mark.parametrize(("error", "opened"), [("disk I/O error", 2), ("database is locked", 1)])
def test_a_transaction_that_fails_has_not_happened(tmp_path: Path, error: str, opened: int) -> None:
    async def check(thread: GroupCommit, database: Database) -> None:
        database.failing = error
        with pytest.raises(QueueError, match=error):
            await thread.run(put("a"))
        assert thread.statistics.failing
        database.failing = ""
        assert await thread.run(put("b")) == "b"
        assert not thread.statistics.failing
        assert database.words() == ["b"]

    assert with_thread(tmp_path, check).opened == opened


def test_a_database_that_cannot_be_opened_again_is_tried_again(tmp_path: Path) -> None:
    async def check(thread: GroupCommit, database: Database) -> None:
        database.failing = "disk I/O error"
        with pytest.raises(QueueError):
            await thread.run(put("a"))
        database.failing = ""
        path, database.path = database.path, tmp_path / "nowhere" / "database"
        with pytest.raises(QueueError, match="unable to open"):
            await thread.run(put("a"))
        database.path = path
        assert await thread.run(put("a")) == "a"

    with_thread(tmp_path, check)


def test_what_waits_at_the_end_is_done(tmp_path: Path) -> None:
    async def check(thread: GroupCommit, database: Database) -> None:
        del database
        jobs = [asyncio.ensure_future(thread.run(put(f"{number:03}"))) for number in range(100)]
        await asyncio.sleep(0)
        await thread.close()
        assert len(await asyncio.gather(*jobs)) == 100

    database = Database(tmp_path)

    async def run() -> None:
        await check(GroupCommit(asyncio.get_running_loop(), database.open, database.begin, database.end), database)

    asyncio.run(run())
    assert len(database.words()) == 100


def test_what_is_withdrawn_before_it_began_is_not_done(tmp_path: Path) -> None:
    async def check(thread: GroupCommit, database: Database) -> None:
        gate = sqlite3.connect(database.path, isolation_level=None)
        gate.execute("BEGIN IMMEDIATE")  # the thread waits at its first transaction
        first = asyncio.ensure_future(thread.run(put("a")))
        second = asyncio.ensure_future(thread.run(put("b")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        gate.execute("ROLLBACK")
        gate.close()
        await first
        assert await thread.run(put("c")) == "c"
        assert database.words() == ["a", "c"]

    with_thread(tmp_path, check)


def test_what_has_waited_for_the_last_sync_waits_for_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def now() -> float:
        return 0.0 if threading.current_thread() is threading.main_thread() else 100.0

    monkeypatch.setattr(writing, "time", SimpleNamespace(monotonic=now))
    monkeypatch.setattr(writing, "GATHER_S", 60.0)

    async def check(thread: GroupCommit, database: Database) -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(thread.run(put("a")), thread.run(put("b")))
            await thread.run(put("c"))
        assert database.words() == ["a", "b", "c"]

    with_thread(tmp_path, check)
