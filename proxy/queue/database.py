"""The database of a store in SQLite: its tables, how a file of an older version becomes one of today, what is said to
it, and the one thread that writes to it (``GroupCommit``) and shares each sync between all that came together.

A new file is made by the same steps as an old one is changed by, so every start of a new store tries all of them. A
migration is one transaction; before it, the file is copied beside itself.

A job is a function of the database and of a ``BatchLedger`` of what it changes in the counts. Jobs that wait are done
in one transaction, each in a savepoint of its own: one that fails fails alone. Their callers hear of it when the
transaction is on stable storage, and never before. While a sync is under way the next jobs gather by themselves; where
there are many, a moment more is waited for others.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from proxy.queue.records import CommitStatistics, QueueError

#: How long a process waits for the transactions of others.
BUSY_S = 5.0
#: So many pages the log has before the database takes it in.
CHECKPOINT_PAGES = 4000

_V1 = (
    """CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, lane TEXT NOT NULL, condition INTEGER NOT NULL,
        due REAL NOT NULL, accepted REAL NOT NULL, begun REAL NOT NULL, attempts INTEGER NOT NULL,
        sequence TEXT NOT NULL, same TEXT NOT NULL, cost INTEGER NOT NULL, size INTEGER NOT NULL,
        facts TEXT NOT NULL, keys BLOB NOT NULL, head BLOB NOT NULL, body BLOB
    )""",
    "CREATE UNIQUE INDEX by_id ON deliveries (id)",
    "CREATE INDEX by_due ON deliveries (lane, condition, due, number)",
    "CREATE INDEX by_sequence ON deliveries (lane, sequence, number) WHERE sequence <> ''",
    "CREATE INDEX by_same ON deliveries (lane, same) WHERE same <> ''",
    """CREATE TABLE tries (
        number INTEGER NOT NULL, attempt INTEGER NOT NULL, at REAL NOT NULL, status INTEGER NOT NULL,
        word TEXT NOT NULL, detail TEXT NOT NULL, lasted REAL NOT NULL, PRIMARY KEY (number, attempt)
    ) WITHOUT ROWID""",
    """CREATE TABLE lanes (
        lane TEXT PRIMARY KEY, live INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0, accepted INTEGER NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0,
        died INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
)

_V2 = ("ALTER TABLE tries ADD COLUMN upstream TEXT NOT NULL DEFAULT ''",)

STEPS: tuple[tuple[str, ...], ...] = (_V1, _V2)
VERSION = len(STEPS)


def open_database(path: Path, *, steps: tuple[tuple[str, ...], ...] = STEPS) -> sqlite3.Connection:
    """The database at ``path``, of today's version. Blocks. Raises QueueError."""
    try:
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            # Each commit waits for the disk: what was told 2xx is there.
            database.execute("PRAGMA synchronous = FULL")
            # Some builds (Debian's) write zeros over all that is deleted: each body would be written a second time.
            database.execute("PRAGMA secure_delete = FAST")
            database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            _migrate(database, path, steps)
        except BaseException:
            database.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise QueueError(f"{path}: {error}") from None
    return database


def _migrate(database: sqlite3.Connection, path: Path, steps: tuple[tuple[str, ...], ...]) -> None:
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version == len(steps):
        return
    if version > len(steps):
        raise QueueError(f"{path} was written by a newer hookward (version {version}, not {len(steps)})")
    if version:
        _copy(database, path.with_name(f"{path.name}.v{version}"))
    database.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        [version] = database.execute("PRAGMA user_version").fetchone()
        for step in steps[version:]:
            for statement in step:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(steps)}")
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def _copy(database: sqlite3.Connection, path: Path) -> None:
    """A whole copy at ``path``, on stable storage; one that is there already stays, for it is of the first try. Workers
    that start together find the same file: one makes the copy, the others wait for it.
    """
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            draft.unlink(missing_ok=True)
            return
        os.ftruncate(descriptor, 0)  # what a process has left that died
        with closing(sqlite3.connect(draft)) as copy:
            database.backup(copy)
        os.fsync(descriptor)
        draft.rename(path)
    finally:
        os.close(descriptor)


# -- What the store says to its database.

#: The counts of a lane, in the order of their columns.
COUNTED = ("live", "dead", "bytes", "accepted", "delivered", "died", "dropped")

USED = "SELECT coalesce(sum(bytes), 0) FROM lanes"
#: Bytes of the file that were used once, and are used again before it grows.
FREE = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
COUNT = """INSERT INTO lanes (lane, live, dead, bytes, accepted, delivered, died, dropped)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (lane) DO UPDATE SET live = live + excluded.live, dead = dead + excluded.dead,
bytes = bytes + excluded.bytes, accepted = accepted + excluded.accepted, delivered = delivered + excluded.delivered,
died = died + excluded.died, dropped = dropped + excluded.dropped"""
PAUSE = "INSERT INTO lanes (lane, paused) VALUES (?, ?) ON CONFLICT (lane) DO UPDATE SET paused = excluded.paused"
LANES = "SELECT lane FROM lanes"
COUNTS = "SELECT lane, paused, live, dead, bytes, accepted, delivered, died, dropped FROM lanes ORDER BY lane"

INSERT = """INSERT INTO deliveries (id, lane, condition, due, accepted, begun, attempts, sequence, same, cost, size,
facts, keys, head, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
#: For each further row of the same statement.
ONE_MORE = ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
IS_BEHIND = "SELECT 1 FROM deliveries WHERE lane = ? AND sequence = ? AND sequence <> '' AND condition < 3 LIMIT 1"
IS_BEHIND_OTHER = """SELECT 1 FROM deliveries WHERE lane = ? AND sequence = ? AND sequence <> '' AND condition < 2
AND number <> ? LIMIT 1"""
LET_NEXT = """UPDATE deliveries SET condition = 0 WHERE number = (SELECT min(number) FROM deliveries
WHERE lane = ?1 AND sequence = ?2 AND sequence <> '' AND condition = 2)
AND NOT EXISTS (SELECT 1 FROM deliveries WHERE lane = ?1 AND sequence = ?2 AND sequence <> '' AND condition < 2)"""

TAKE = """SELECT number, id, lane, accepted, begun, attempts, sequence, same, size, facts, keys, head, body
FROM deliveries WHERE lane = ? AND condition = 0 AND due <= ?
ORDER BY due, number LIMIT ?"""
SET_TAKEN = "UPDATE deliveries SET condition = 1 WHERE number IN"  # and a list of numbers, as for those below
GIVE_BACK = "UPDATE deliveries SET condition = 0 WHERE number = ? AND condition = 1"
TAKEN = "SELECT number, attempts FROM deliveries WHERE lane = ? AND condition = 1"

#: ``ROWS`` and ``SAME`` give these columns.
LANE, CONDITION, SEQUENCE, ATTEMPTS = 2, 5, 6, 7
ROWS = "SELECT number, id, lane, cost, size, condition, sequence, attempts FROM deliveries WHERE number IN"
SAME = """SELECT number, id, lane, cost, size, condition, sequence, attempts FROM deliveries
WHERE lane = ? AND same = ? AND same <> '' AND condition IN (0, 2)"""
TRY = """INSERT OR REPLACE INTO tries (number, attempt, at, status, word, detail, lasted, upstream)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
SETTLE = "UPDATE deliveries SET condition = ?, due = ?, attempts = ? WHERE number = ?"
DELETE = "DELETE FROM deliveries WHERE number IN"
DELETE_TRIES = "DELETE FROM tries WHERE number IN"
REPLAY = "UPDATE deliveries SET condition = ?, due = ?, begun = ? WHERE number = ?"

HAS_ID = "SELECT 1 FROM deliveries WHERE id = ?"
FIRST = "SELECT number, accepted, condition FROM deliveries ORDER BY number LIMIT ?"
#: Among the first of all: to look through all would take its time where very many are dead.
OLDEST = """SELECT min(accepted) FROM (SELECT lane, accepted, condition FROM deliveries ORDER BY number LIMIT 5000)
WHERE lane = ? AND condition < 3"""
NEXT_DUE = "SELECT min(due) FROM deliveries WHERE lane = ? AND condition = 0"
TRIES = "SELECT at, status, word, detail, lasted, upstream FROM tries WHERE number = ? ORDER BY attempt"

PAGE_CONDITION, PAGE_DUE = 13, 14
#: What is meant is put in for the braces: "?"s, and words of our own.
PAGE = """SELECT number, id, lane, accepted, begun, attempts, sequence, same, size, facts, keys, head,
{body}, condition, due FROM deliveries WHERE {where} ORDER BY number LIMIT ?"""


T = TypeVar("T")
#: Does several works at once, all or none, and gives the result of each.
Together = Callable[[sqlite3.Connection, "BatchLedger", Sequence[Any]], Sequence[Any]]

#: What comes within this time of the first shares its sync, where several come at once. A first one that has waited
#: for so long while the last sync was under way waits no more: under load all wait for the disk by then.
GATHER_S = 0.002
#: Jobs of one transaction: beyond that those that wait gain nothing.
MAX_BATCH = 256


class BatchLedger:
    """What jobs change in the counts of lanes, and what is to be done once it is on stable storage."""

    def __init__(self, used: int = 0) -> None:
        self.used = used  # bytes that are kept, the changes here included
        self.changes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.after: list[Callable[[], None]] = []

    def add(self, lane: str, **changes: int) -> None:
        """Count so much more of each in ``lane``."""
        self.changes[lane].update(changes)
        self.used += changes.get("bytes", 0)

    def merge(self, other: BatchLedger) -> None:
        """Take over what ``other`` has."""
        for lane, changes in other.changes.items():
            self.changes[lane].update(changes)
        self.after += other.after
        self.used = other.used


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    work: Callable[[sqlite3.Connection, BatchLedger], T]
    future: asyncio.Future[T]
    came: float  # monotonic seconds
    joint: tuple[Together, Any] | None = None
    result: T | None = None
    error: BaseException | None = None


class GroupCommit:
    """The thread of one database; ``open_`` opens it, anew after failures; ``begin`` and ``end`` frame commits."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        open_: Callable[[], sqlite3.Connection],
        begin: Callable[[sqlite3.Connection], BatchLedger],
        end: Callable[[sqlite3.Connection, BatchLedger], None],
    ) -> None:
        """Open the database. Blocks for a moment; raises QueueError."""
        self._loop = loop
        self._open, self._begin, self._end = open_, begin, end
        self._jobs: SimpleQueue[list[_Job[Any]] | None] = SimpleQueue()
        self._coming: list[_Job[Any]] = []  # in this turn of the loop
        self._database: sqlite3.Connection | None = open_()
        self._left: list[_Job[Any]] = []  # the thread's: of more than one transaction takes
        self.statistics = CommitStatistics()
        self._closed = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)
        self._thread.start()

    def run(
        self, work: Callable[[sqlite3.Connection, BatchLedger], T], joint: tuple[Together, object] | None = None
    ) -> asyncio.Future[T]:
        """Do ``work`` in the next transaction, and give its result, or a QueueError, once that is on stable storage.
        What is cancelled before it began is not done. ``joint`` does the same with others at once, and what it is to be
        told of this one.
        """
        job: _Job[T] = _Job(work, self._loop.create_future(), time.monotonic(), joint)
        if not self._coming:
            self._loop.call_soon(self._hand_over)
        self._coming.append(job)
        return job.future

    def _hand_over(self) -> None:
        """What came in one turn goes to the thread together: each waking of it costs as much as an insertion."""
        jobs, self._coming = self._coming, []
        if jobs:
            self._jobs.put(jobs)

    async def close(self) -> None:
        """Do what waits, and close the database."""
        self._hand_over()
        self._jobs.put(None)
        await self._closed

    # -- in the thread

    def _run(self) -> None:
        several = False
        while True:
            batch, ends = self._gather(several=several)
            several = len(batch) > 1
            if batch:
                self._commit(batch)
                self._loop.call_soon_threadsafe(_tell, batch)
            if ends:
                break
        if self._database is not None:
            self._database.close()
        self._loop.call_soon_threadsafe(self._closed.set_result, None)

    def _gather(self, *, several: bool) -> tuple[list[_Job[Any]], bool]:
        """The jobs of the next transaction, and whether none comes after them."""
        batch: list[_Job[Any]] = self._left
        self._left = []
        jobs = [] if batch else self._jobs.get()
        while jobs is not None:
            batch += jobs
            if len(batch) >= MAX_BATCH:
                batch, self._left = batch[:MAX_BATCH], batch[MAX_BATCH:]
                return batch, False
            left = batch[0].came + GATHER_S - time.monotonic() if several else 0.0
            try:
                jobs = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
            except Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: list[_Job[Any]]) -> None:
        begun = time.monotonic()
        try:
            if self._database is None:
                self._database = self._open()
            ledger = self._attempt(self._database, batch)
        except (sqlite3.Error, OSError, QueueError) as error:
            self._failed(batch, error)
            return
        self.statistics.committed(len(batch), time.monotonic() - begun)
        for after in ledger.after:
            after()

    def _attempt(self, database: sqlite3.Connection, batch: list[_Job[Any]]) -> BatchLedger:
        database.execute("BEGIN IMMEDIATE")
        try:
            ledger = self._begin(database)
            for job in self._do_together(database, [job for job in batch if not job.future.cancelled()], ledger):
                self._do(database, job, ledger)
            self._end(database, ledger)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return ledger

    def _do_together(self, database: sqlite3.Connection, jobs: list[_Job[Any]], ledger: BatchLedger) -> list[_Job[Any]]:
        """Do those that can be done at once, first of all, so that it can begin again without them; gives the rest."""
        joint = [(job, job.joint) for job in jobs if job.joint is not None]
        if len(joint) < 2:
            return jobs
        _, (together, _) = joint[0]
        own = BatchLedger(ledger.used)
        try:
            results = together(database, own, [told for _, (_, told) in joint])
        except Exception as error:  # one of them is at fault: which one is seen where each is done alone
            if _is_of_the_disk(error):
                raise
            database.execute("ROLLBACK")
            database.execute("BEGIN IMMEDIATE")
            ledger.used = self._begin(database).used
            return jobs
        ledger.merge(own)
        for (job, _), result in zip(joint, results, strict=True):
            job.result = result
        return [job for job in jobs if job.joint is None]

    def _do(self, database: sqlite3.Connection, job: _Job[Any], ledger: BatchLedger) -> None:
        own = BatchLedger(ledger.used)
        database.execute("SAVEPOINT job")
        try:
            job.result = job.work(database, own)
        except Exception as error:  # a bug in one job must not end the thread that all wait for
            if _is_of_the_disk(error):
                raise
            database.execute("ROLLBACK TO job")
            job.error = QueueError.of(error) if isinstance(error, sqlite3.Error) else error
        else:
            ledger.merge(own)
        database.execute("RELEASE job")

    def _failed(self, batch: list[_Job[Any]], error: Exception) -> None:
        """Nothing of it has happened. After a failure of the disk a new connection reads what the disk has."""
        self.statistics.failed()
        for job in batch:
            job.result, job.error = None, QueueError.of(error)
        # A lock of another process says nothing of the disk.
        is_lock = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        if self._database is not None and not is_lock:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def _tell(batch: list[_Job[Any]]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _is_of_the_disk(error: Exception) -> bool:
    """Whether no job can be done after it; else it is of this job alone."""
    alone = isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
    return isinstance(error, sqlite3.Error | OSError) and not alone
