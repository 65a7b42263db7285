"""A store of duplicates in one SQLite file: survives restarts, and is shared by all processes of one host.

Every call is one short transaction on a thread of its own. Measured (two shared cores, cloud disk): the transaction
takes 20 µs and the way to the thread and back 30 µs, but one in a thousand has to move the write-ahead log into the
file and waits tens of milliseconds for the disk, which on the loop would stop every exchange. Commits do not wait for
the disk (``synchronous = NORMAL``): a process that dies loses nothing, a host that loses power may forget the last
moments. Keys are digests; nothing in the file can be read. It must be on a local disk, as every write-ahead log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from proxy.core.delivery import NEW, Claim, Found, Keys
from proxy.net.duplicates import CALL_S, SharedStore, StoreError

T = TypeVar("T")

#: How long one process waits for the transactions of the others when it opens the file; later, ``CALL_S`` in all.
BUSY_S = 2.0
#: A disk that does not answer holds the thread itself: so much later than the call should have ended, it is given up.
STUCK_S = 0.25
#: The file's own patience is set in steps of so many milliseconds, which are mostly the same.
_STEP_MS = 100
#: Claims between two looks for what is over, and for what is too much.
PURGE_EVERY = 1000
VERSION = 1

_SCHEMA = (
    """CREATE TABLE deliveries
    (key BLOB PRIMARY KEY, owner TEXT NOT NULL, status INTEGER NOT NULL, ends REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX deliveries_by_end ON deliveries (ends)",
)
# The status of what is in flight is 0.
_PUT = "INSERT OR REPLACE INTO deliveries (key, owner, status, ends) VALUES (?, ?, ?, ?)"
_LEARN = """INSERT INTO deliveries (key, owner, status, ends) VALUES (?, '', ?, ?)
ON CONFLICT (key) DO UPDATE SET owner = '', status = excluded.status, ends = excluded.ends
WHERE deliveries.status = 0 OR deliveries.ends <= ?"""
_RELEASE = "DELETE FROM deliveries WHERE key = ? AND owner = ? AND status = 0"
_OVER = "DELETE FROM deliveries WHERE ends <= ?"
_EXCESS = """DELETE FROM deliveries WHERE key IN
(SELECT key FROM deliveries WHERE status > 0 ORDER BY ends LIMIT max(0, (SELECT count(*) FROM deliveries) - ?))"""


class SqliteStore(SharedStore):
    """The store in the file at ``path``. ``wall`` gives seconds since the epoch: all processes must agree on it."""

    def __init__(
        self, path: str, loop: asyncio.AbstractEventLoop, wall: Callable[[], float], *, max_entries: int
    ) -> None:
        """Open or make the file. Blocks for a moment. Raises StoreError where it cannot be used."""
        self._loop = loop
        self._wall = wall
        self._max_entries = max_entries
        self._until_purge = PURGE_EVERY
        self._until = 0.0  # when the call that is on the thread should be over
        self._failed_at = 0.0  # when the last one failed
        self._patience_ms = -1
        try:
            # Only for us: SQLite gives its other files the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = _open(path)
        except OSError as error:
            raise StoreError(error.strerror or "cannot be opened") from None
        except sqlite3.Error as error:
            raise StoreError(str(error)) from None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="duplicates")

    async def claim(self, keys: Keys, owner: str, *, hold_s: float, past: bool) -> Claim:
        return await self._run(lambda: self._claim(keys, owner, hold_s, past=past))

    async def delivered(self, keys: Keys, owner: str, status: int, keep_s: float) -> None:
        await self._run(lambda: self._put(keys, owner, status, keep_s))

    async def released(self, keys: Keys, owner: str) -> None:
        await self._run(lambda: self._release(keys, owner))

    async def close(self) -> None:
        await self._loop.run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)

    # -- on the thread

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(CALL_S + STUCK_S):
                return await self._loop.run_in_executor(self._thread, self._in_time, work, time.monotonic())
        except TimeoutError:
            raise StoreError("it does not answer in time") from None

    def _in_time(self, work: Callable[[], T], asked: float) -> T:
        """Do ``work`` within its time, which began when it was asked for. What waited behind a call that then failed
        fails with it: each would wait as long, one after the other.
        """
        now = time.monotonic()
        self._until = asked + CALL_S
        if asked < self._failed_at or now >= self._until:
            raise StoreError("it is locked, or slow")
        try:
            self._wait_at_most(self._until - now)
            return work()
        except sqlite3.Error as error:
            self._failed_at = time.monotonic()
            raise StoreError(str(error)) from None

    def _check_time(self) -> None:
        """Raise where a call is so late that it was given up: a claim it made now would belong to no exchange."""
        if time.monotonic() > self._until + STUCK_S:
            raise StoreError("it is slow")

    def _wait_at_most(self, seconds: float) -> None:
        patience_ms = max(1, round(seconds * 1000 / _STEP_MS)) * _STEP_MS
        if patience_ms != self._patience_ms:
            self._database.execute(f"PRAGMA busy_timeout = {patience_ms}")
            self._patience_ms = patience_ms

    def _claim(self, keys: Keys, owner: str, hold_s: float, *, past: bool) -> Claim:
        now = self._wall()
        with self._transaction():
            found = self._held(keys, now)
            delivered = [(status, ends) for _, status, ends in found if status]
            if delivered and past:
                status, ends = delivered[0]
                self._database.executemany(_LEARN, [(key, status, ends, now) for key in keys.proven])
                return Claim(Found.DELIVERED, status)
            others = [holder for holder, status, _ in found if not status and holder != owner]
            if others:
                return Claim(Found.IN_FLIGHT, owner=others[0])
            self._database.executemany(_PUT, [(key, owner, 0, now + hold_s) for key in keys.every])
            self._purge(now)
        return NEW

    def _held(self, keys: Keys, now: float) -> list[tuple[str, int, float]]:
        """Owner, status and end of what is known of each key, in their order."""
        slots = ", ".join("?" * len(keys.every))
        rows = self._database.execute(
            f"SELECT key, owner, status, ends FROM deliveries WHERE key IN ({slots}) AND ends > ?",  # noqa: S608 - "?"s
            (*keys.every, now),
        )
        by_key = {row[0]: row[1:] for row in rows}
        return [by_key[key] for key in keys.every if key in by_key]

    def _put(self, keys: Keys, owner: str, status: int, keep_s: float) -> None:
        ends = self._wall() + keep_s
        with self._transaction():
            self._database.executemany(_PUT, [(key, owner, status, ends) for key in keys.every])

    def _release(self, keys: Keys, owner: str) -> None:
        with self._transaction():
            self._database.executemany(_RELEASE, [(key, owner) for key in keys.every])

    def _purge(self, now: float) -> None:
        self._until_purge -= 1
        if self._until_purge <= 0:
            self._until_purge = PURGE_EVERY
            self._database.execute(_OVER, (now,))
            self._database.execute(_EXCESS, (self._max_entries,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: what begins by reading and then wants to write would fail where another process wrote meanwhile.
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._check_time()
            self._database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise


def _open(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        _make_table(database)
    except BaseException:
        database.close()
        raise
    return database


def _make_table(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version not in {0, VERSION}:
        raise StoreError("it is of another version of hookward, or of another program")
    if version == 0:
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")
