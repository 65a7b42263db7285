"""The tables of a store in SQLite, how a file of an older version becomes one of today, and what is said to it.

A new file is made by the same steps as an old one is changed by, so every start of a new store tries all of them. A
migration is one transaction; before it, the file is copied beside itself.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from proxy.queue.records import QueueError

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


def open_to_read(path: Path) -> sqlite3.Connection:
    """Another connection, which changes nothing. Raises QueueError."""
    try:
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
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
