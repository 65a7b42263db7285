"""The store of one host, held to what every store promises, and to what its folder and file promise besides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.queue.folder import LOG_BYTES, QueueFolder
from proxy.queue.records import QueueError, QueueFullError
from proxy.queue.sqlite_store import QueueFile
from tests.queue import conformance
from tests.queue.conformance import MAX_BYTES, NOW, delivered, names, parcel, take


def with_store(folder: Path, check: Callable[[QueueFile], Awaitable[object]]) -> None:
    async def run() -> None:
        store = QueueFile(QueueFolder(folder), asyncio.get_running_loop(), max_bytes=MAX_BYTES)
        try:
            await check(store)
        finally:
            await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_it_does_what_every_store_does(tmp_path: Path, check: conformance.Check) -> None:
    with_store(tmp_path / "queue", check)


def test_what_is_appended_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    async def fill(store: QueueFile) -> None:
        await store.append([parcel("a"), parcel("b", body=b"x" * 100_000)])
        await take(store, 1)

    async def look(store: QueueFile) -> None:
        assert await names(store) == ["a", "b"]
        assert await store.recover(NOW) == 1
        assert [b"".join(store.pieces(one.parcel)) for one in await take(store)] == [b"body", b"x" * 100_000]

    with_store(tmp_path / "queue", fill)
    with_store(tmp_path / "queue", look)


def test_all_is_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / "queue"

    async def fill(store: QueueFile) -> None:
        await store.append([parcel("b", body=b"x" * 100_000)])
        found = {path.relative_to(folder): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
        assert {mode for path, mode in found.items() if path.name != "bodies"} == {0o600}
        assert found[Path("bodies")] == folder.stat().st_mode & 0o777 == 0o700

    with_store(folder, fill)


@pytest.mark.parametrize("name", ["", "queue.sqlite3", "bodies"])
def test_links_are_refused(tmp_path: Path, name: str) -> None:
    other, folder = tmp_path / "other", tmp_path / "queue"
    other.mkdir()
    if name:
        folder.mkdir()
    (folder / name).symlink_to(other)
    with pytest.raises(QueueError):
        QueueFolder(folder)
    assert list(other.iterdir()) == []


def test_many_that_come_together_share_a_sync(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        await asyncio.gather(*(store.append([parcel(f"d{n}")]) for n in range(200)))
        assert store.statistics.commits < 50
        assert store.statistics.jobs == 200
        assert len(await names(store)) == 200

    with_store(tmp_path / "queue", check)


def test_two_processes_may_write(tmp_path: Path) -> None:
    async def check(store: QueueFile) -> None:
        other = QueueFile(QueueFolder(tmp_path / "queue"), asyncio.get_running_loop(), max_bytes=MAX_BYTES)
        each = [one.append([parcel(f"{word}{n}")]) for n in range(30) for one, word in ((store, "a"), (other, "b"))]
        await asyncio.gather(*each)
        assert len(await names(other)) == 60
        await other.close()

    with_store(tmp_path / "queue", check)


def test_only_one_is_the_courier(tmp_path: Path) -> None:
    one, other = QueueFolder(tmp_path), QueueFolder(tmp_path)
    assert one.lock()
    assert not other.lock()
    one.unlock()
    assert other.lock()


def test_delivering_keeps_its_share_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(store: QueueFile) -> None:
        await store.append([parcel("a", body=b"x" * 60_000), parcel("b")])
        [taken] = await take(store, 1)
        monkeypatch.setattr(store.folder, "spare", lambda: -40_000)
        with pytest.raises(QueueFullError, match="nearly full"):
            await store.append([parcel("c")])
        await store.settle([delivered(taken)])
        await store.append([parcel("c")])
        assert await names(store) == ["b", "c"], "the file has room that is used again"

    with_store(tmp_path / "queue", check)


@pytest.mark.parametrize(("free", "log", "spare"), [(10, 0, -2), (10, 4, 2), (12, 6, 6), (12, 9, 3), (0, 0, -12)])
def test_what_is_spare_goes_by_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, log: int, spare: int
) -> None:
    """In sixths of what the log grows to."""
    folder, unit = QueueFolder(tmp_path / "queue"), LOG_BYTES // 6
    with folder.database.with_name("queue.sqlite3-wal").open("wb") as file:
        file.truncate(unit * log)
    status = list(os.statvfs(tmp_path))
    status[1], status[4] = 1, free * unit  # f_frsize, f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(status))
    assert abs(folder.spare() - spare * unit) < unit / 2
