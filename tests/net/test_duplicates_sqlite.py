"""The store in a file: several processes, restarts, its bounds, and files that are none of ours."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from proxy.core.delivery import Found
from proxy.net import duplicates_sqlite
from proxy.net.duplicates import SharedStore, StoreError
from proxy.net.duplicates_sqlite import SqliteStore
from tests.net.conftest import Run
from tests.net.duplicate_stores import Move, agree, check_flight_only, check_learning, keys, moves
from tests.net.duplicate_workers import machine

ROOT = Path(__file__).resolve().parents[2]


class Wall:
    """A clock on the wall that the test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def open_store(path: Path, wall: Callable[[], float] = time.time, max_entries: int = 1000) -> SqliteStore:
    return SqliteStore(str(path), asyncio.get_running_loop(), wall, max_entries=max_entries)


folder = TemporaryDirectory(prefix="hookward-test-")


def shared_store(_: int) -> SharedStore:
    """All workers of a machine open the same file; machines use numbers of their own in it."""
    return open_store(Path(folder.name) / "shared.sqlite3")


TestSeveralWorkers = machine(shared_store, 40).TestCase


@settings(max_examples=40)
@given(moves())
def test_it_says_what_one_process_would(plan: list[Move]) -> None:
    async def main() -> None:
        with TemporaryDirectory(prefix="hookward-test-") as empty:
            stores = [open_store(Path(empty) / "one.sqlite3") for _ in range(2)]
            await agree(stores, plan, "")
            for store in stores:
                await store.close()

    asyncio.run(main())


async def test_flight_and_learning(run: Run[None], tmp_path: Path) -> None:
    store = open_store(tmp_path / "one.sqlite3")
    await check_flight_only(store)
    await check_learning(store)
    await store.close()


async def test_it_survives_a_restart(run: Run[None], tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite3"
    store = open_store(path)
    await store.claim(keys(1, 1), "a", hold_s=92.0, past=True)
    await store.delivered(keys(1, 1), "a", 202, 600.0)
    await store.close()
    store = open_store(path)
    assert (await store.claim(keys(1, 1), "b", hold_s=92.0, past=True)).status == 202
    await store.close()


async def test_times_end(run: Run[None], tmp_path: Path) -> None:
    wall = Wall()
    store = open_store(tmp_path / "one.sqlite3", wall)
    one, other = keys(1, 1), keys(2, 2)
    await store.claim(one, "died", hold_s=92.0, past=True)
    await store.delivered(other, "b", 200, 600.0)
    wall.now += 91.9
    assert (await store.claim(one, "c", hold_s=92.0, past=True)).owner == "died"
    wall.now += 0.1
    assert (await store.claim(one, "c", hold_s=92.0, past=True)).found is Found.NEW
    wall.now += 507.9
    assert (await store.claim(other, "d", hold_s=92.0, past=True)).found is Found.DELIVERED
    wall.now += 0.1
    assert (await store.claim(other, "d", hold_s=92.0, past=True)).found is Found.NEW
    await store.close()


def test_it_is_bounded(run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates_sqlite, "PURGE_EVERY", 10)

    def rows() -> int:
        with closing(sqlite3.connect(tmp_path / "one.sqlite3")) as database:
            [count] = database.execute("SELECT count(*) FROM deliveries").fetchone()
            return int(count)

    async def main() -> None:
        wall = Wall()
        store = open_store(tmp_path / "one.sqlite3", wall, max_entries=6)
        held = keys(200, 200)
        await store.claim(held, "held", hold_s=9e9, past=True)
        for number in range(50):
            await store.claim(keys(number, number), "a", hold_s=92.0, past=True)
            await store.delivered(keys(number, number), "a", 200, 600.0 + number)
        assert rows() <= 6 + 2 * 10 + 2
        assert (await store.claim(held, "b", hold_s=92.0, past=True)).owner == "held", "never pushed out"
        assert (await store.claim(keys(49, 49), "c", hold_s=92.0, past=True)).found is Found.DELIVERED
        wall.now += 1000.0
        for _ in range(10):
            await store.claim(keys(0, 0), "d", hold_s=92.0, past=True)
        assert rows() == 4
        await store.close()

    run(main())


CHILD = """
import asyncio, sys, time
from proxy.core.delivery import Found
from proxy.net.duplicates_sqlite import SqliteStore
from tests.net.duplicate_stores import keys

async def main():
    store = SqliteStore(sys.argv[1], asyncio.get_running_loop(), time.time, max_entries=1000)
    won = []
    for number in range(100):
        claim = await store.claim(keys(number, number), sys.argv[2], hold_s=60.0, past=True)
        if claim.found is Found.NEW:
            won.append(str(number))
            await store.delivered(keys(number, number), sys.argv[2], 200, 600.0)
    await store.close()
    print(" ".join(won))

asyncio.run(main())
"""


def test_processes_that_run_at_once_win_each_delivery_once(tmp_path: Path) -> None:
    """They also make the file at the same time."""
    command = [sys.executable, "-c", CHILD, str(tmp_path / "one.sqlite3")]
    children = [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for number in range(4)
    ]
    won = [number for child in children for number in child.communicate(timeout=50)[0].split()]
    assert sorted(won, key=int) == [str(number) for number in range(100)]


class TestTrouble:
    def test_only_we_may_read_it(self, run: Run[None], tmp_path: Path) -> None:
        async def main() -> None:
            store = open_store(tmp_path / "one.sqlite3")
            await store.claim(keys(1, 1), "a", hold_s=92.0, past=True)
            modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())  # noqa: ASYNC240
            await store.close()

        modes: list[int] = []
        run(main())
        assert set(modes) == {0o600}

    async def test_nothing_in_it_can_be_read(self, run: Run[None], tmp_path: Path) -> None:
        store = open_store(tmp_path / "one.sqlite3")
        await store.claim(keys(123456789, 1), "a", hold_s=92.0, past=True)
        await store.close()
        assert b"123456789" not in (tmp_path / "one.sqlite3").read_bytes()

    def test_a_file_that_is_no_database(self, run: Run[None], tmp_path: Path) -> None:
        (tmp_path / "text").write_text("this is a text of some length, and nothing but a text" * 20)

        async def main() -> None:
            with pytest.raises(StoreError, match="not a database"):
                open_store(tmp_path / "text")

        run(main())

    def test_a_database_of_another_version(self, run: Run[None], tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "other")) as database:
            database.execute("PRAGMA user_version = 7")

        async def main() -> None:
            with pytest.raises(StoreError, match="another version"):
                open_store(tmp_path / "other")

        run(main())

    async def test_a_folder_that_is_not_there(self, run: Run[None], tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="No such file"):
            open_store(tmp_path / "nowhere" / "one.sqlite3")

    async def test_a_database_that_breaks_later(self, run: Run[None], tmp_path: Path) -> None:
        store = open_store(tmp_path / "one.sqlite3")
        with closing(sqlite3.connect(tmp_path / "one.sqlite3")) as database:
            database.execute("DROP TABLE deliveries")
        with pytest.raises(StoreError, match="no such table"):
            await store.claim(keys(1, 1), "a", hold_s=92.0, past=True)
        with pytest.raises(StoreError):
            await store.delivered(keys(1, 1), "a", 200, 1.0)
        with pytest.raises(StoreError):
            await store.released(keys(1, 1), "a")
        await store.close()

    def test_a_database_that_is_locked_for_too_long(
        self, run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(duplicates_sqlite, "CALL_S", 0.05)

        async def main() -> None:
            store = open_store(tmp_path / "one.sqlite3")
            with closing(sqlite3.connect(tmp_path / "one.sqlite3", isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreError, match="locked"):
                    await store.claim(keys(1, 1), "a", hold_s=92.0, past=True)
                database.execute("ROLLBACK")
            assert (await store.claim(keys(1, 1), "a", hold_s=92.0, past=True)).found is Found.NEW
            await store.close()

        run(main())

    def test_what_waits_behind_a_claim_that_fails_fails_with_it(
        self, run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A locked file costs its time once, not once for each delivery."""
        monkeypatch.setattr(duplicates_sqlite, "CALL_S", 20.0)

        async def main() -> None:
            store = open_store(tmp_path / "one.sqlite3")
            tried: list[float] = []
            monkeypatch.setattr(store, "_wait_at_most", tried.append)
            store._database.execute("PRAGMA busy_timeout = 1000")
            with closing(sqlite3.connect(tmp_path / "one.sqlite3", isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                claims = [store.claim(keys(number, number), "a", hold_s=92.0, past=True) for number in range(50)]
                found = await asyncio.gather(*claims, return_exceptions=True)
            assert {type(one) for one in found} == {StoreError}
            assert len(tried) == 1
            assert (await store.claim(keys(1, 1), "b", hold_s=92.0, past=True)).found is Found.NEW
            await store.close()

        run(main())

    def test_a_claim_that_nobody_waits_for_any_more_is_none(
        self, run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The disk comes back after the delivery went on without it: the retry must not find it in flight."""
        monkeypatch.setattr(duplicates_sqlite, "CALL_S", 0.05)
        monkeypatch.setattr(duplicates_sqlite, "STUCK_S", 0.05)

        async def main() -> None:
            stuck, store = threading.Event(), open_store(tmp_path / "one.sqlite3")
            purge = store._purge
            monkeypatch.setattr(store, "_purge", lambda now: stuck.wait(10) and purge(now))
            behind = asyncio.create_task(store.claim(keys(2, 2), "a", hold_s=92.0, past=True))
            with pytest.raises(StoreError):
                await store.claim(keys(1, 1), "a", hold_s=92.0, past=True)
            with pytest.raises(StoreError):
                await behind
            stuck.set()
            monkeypatch.setattr(duplicates_sqlite, "CALL_S", 10.0)
            for number in (1, 2):
                assert (await store.claim(keys(number, number), "b", hold_s=92.0, past=True)).found is Found.NEW
            await store.close()

        run(main())
