"""The tables of a store, version by version; and no statement on the way of a delivery looks through all there is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy.queue import database as sql
from proxy.queue.database import STEPS, VERSION, open_database
from proxy.queue.records import QueueError
from proxy.queue.sqlite_store import open_to_read

NEXT = (*STEPS, ("ALTER TABLE deliveries ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",))
BROKEN = (*NEXT, ("CREATE TABLE more (x)", "SELECT nothing FROM nowhere"))
ROW = """INSERT INTO deliveries (id, lane, condition, due, accepted, begun, attempts, sequence, same, cost, size, facts,
keys, head, body) VALUES ('a', 'hook', 0, 1, 1, 1, 0, '', '', 1, 0, '{}', x'', x'', x'')"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one delivery."""
    with closing(open_database(tmp_path / "queue.sqlite3")) as database:
        database.execute(ROW)
    return tmp_path / "queue.sqlite3"


def count(database: sqlite3.Connection) -> int:
    [number] = database.execute("SELECT count(*) FROM deliveries").fetchone()
    assert isinstance(number, int)
    return number


def test_an_older_one_is_migrated_and_kept(path: Path) -> None:
    with closing(open_database(path, steps=NEXT)) as database:
        assert database.execute("SELECT id, colour FROM deliveries").fetchall() == [("a", "blue")]
    copy = path.with_name(f"queue.sqlite3.v{VERSION}")
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(open_database(copy)) as database:
        assert count(database) == 1
    with closing(open_database(path, steps=NEXT)) as database:
        assert count(database) == 1, "and once"


def test_workers_that_start_together_make_one_copy(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from proxy.queue.database import STEPS, open_database;"
        "sys.stdin.read(1); open_database(Path(sys.argv[1]), steps=(*STEPS, ('CREATE TABLE more (x)',))).close()"
    )
    command = [sys.executable, "-c", code, str(path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"x")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * 4
    with closing(open_database(path.with_name(f"queue.sqlite3.v{VERSION}"))) as database:
        assert count(database) == 1


def test_a_newer_one_is_refused(path: Path) -> None:
    open_database(path, steps=NEXT).close()
    with pytest.raises(QueueError, match="newer hookward"):
        open_database(path)


def test_a_migration_that_breaks_changes_nothing(path: Path) -> None:
    with pytest.raises(QueueError):
        open_database(path, steps=BROKEN)
    with closing(open_database(path)) as database:
        assert count(database) == 1


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite3").write_bytes(b"something else\n" * 1000)
    with pytest.raises(QueueError, match="not a database"):
        open_database(tmp_path / "queue.sqlite3")


def test_who_reads_changes_nothing(path: Path) -> None:
    with closing(open_to_read(path)) as database, pytest.raises(sqlite3.OperationalError):
        database.execute("DELETE FROM deliveries")


def test_each_commit_waits_for_the_disk(path: Path) -> None:
    with closing(open_database(path)) as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA secure_delete").fetchone() == (2,), "FAST: no page is written to be empty"


ONE_BY_ONE = {
    "TAKE": ("hook", 0.0, 1),
    "GIVE_BACK": (1,),
    "TAKEN": ("hook",),
    "SAME": ("hook", "x"),
    "IS_BEHIND": ("hook", "x"),
    "IS_BEHIND_OTHER": ("hook", "x", 1),
    "LET_NEXT": ("hook", "x"),
    "SETTLE": (0, 0.0, 1, 1),
    "REPLAY": (0, 0.0, 0.0, 1),
    "HAS_ID": ("a",),
    "NEXT_DUE": ("hook",),
    "TRIES": (1,),
}
#: Those that end with a list of numbers.
FOR_MANY = ("SET_TAKEN", "ROWS", "DELETE", "DELETE_TRIES")


@pytest.mark.parametrize("name", [*ONE_BY_ONE, *FOR_MANY])
def test_it_goes_by_an_index(name: str, tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "queue.sqlite3")) as database:
        statement, values = getattr(sql, name), ONE_BY_ONE.get(name, (1, 2))
        numbers = " (?, ?)" if name in FOR_MANY else ""
        plan = database.execute(f"EXPLAIN QUERY PLAN {statement}{numbers}", values).fetchall()
    steps = [step for *_, step in plan]
    assert not [step for step in steps if step.startswith("SCAN") and "CONSTANT" not in step], steps
