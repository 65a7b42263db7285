"""A file that keeps deliveries over restarts (SQLite), bounded by their number, their bytes and their age.

What is written is what is shown: details, masked, as JSON. So nothing in it can be replayed, and no secret is in it.
All of it is one thread's work, and a writer that is behind is given no more: what it did not take is counted.
Several workers write to one file, and each of them reads all of it.
"""

from __future__ import annotations

import json
import os
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from proxy.config.guarded_files import judge_place, open_for_writing
from proxy.config.settings import ConsoleSettings
from proxy.console.kept import Json, KeptExchange, Maskings, detail, searched, sentence
from proxy.core.search import Query
from proxy.net.large_bodies import SWITCH_S

#: What waits for the thread; then what comes is not written.
MAX_WAITING = 2000
#: So many are written at once; and what is too old or too much is removed after so many, or a part of what is kept.
BATCH, TIDY_LEAST, TIDY_PART = 200, 20, 20
_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS deliveries (
        id TEXT PRIMARY KEY, ended REAL NOT NULL, size INTEGER NOT NULL,
        shown TEXT NOT NULL, searched TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_age ON deliveries (ended);
    PRAGMA user_version = {_VERSION};
"""


_PUT = "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?)"


class StoreFailedError(Exception):
    """The file cannot be used; the text says why."""


class DeliveryFile:
    """The file of ``settings``. ``now`` gives seconds since the epoch, ``note`` takes a trouble."""

    def __init__(
        self, settings: ConsoleSettings, maskings: Maskings, now: Callable[[], float], note: Callable[[str], None]
    ) -> None:
        """Raises StoreFailedError."""
        assert settings.store is not None
        self._path = settings.store
        self._bounds = settings
        self._maskings = maskings
        self._now = now
        self._note = note
        self._waiting: queue.Queue[KeptExchange | None] = queue.Queue(MAX_WAITING)
        self._told = False
        self.skipped = 0  # the thread was behind, or the disk did not take it
        _make(self._path)
        sys.setswitchinterval(SWITCH_S)  # traffic does not wait for the thread
        self._thread = threading.Thread(target=self._run, name="hookward-console-store", daemon=True)
        self._thread.start()

    def add(self, kept: KeptExchange) -> None:
        """Write one; never blocks."""
        try:
            self._waiting.put_nowait(kept)
        except queue.Full:
            self.skipped += 1

    def close(self) -> None:
        """Write what waits, and end."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=2.0)
        self._thread.join(5.0)

    # -- asked by the desk, in its thread

    def search(self, query: Query, limit: int, before: str) -> list[Json]:
        """The summaries that match, the newest first; ``before`` is an id that all of them are older than."""
        found: list[Json] = []
        with suppress(sqlite3.Error), closing(_connect(self._path)) as database:
            look = "SELECT shown, searched FROM deliveries WHERE id < ? ORDER BY id DESC"
            rows = database.execute(look, (before or "~",))
            for shown, words in rows:
                if query.matches(json.loads(words)):
                    found.append({n: value for n, value in json.loads(shown).items() if n not in _ONLY_DETAIL})
                    if len(found) >= limit:
                        break
        return found

    def find(self, name: str) -> Json | None:
        """All of one, by its id."""
        with suppress(sqlite3.Error), closing(_connect(self._path)) as database:
            row = database.execute("SELECT shown FROM deliveries WHERE id = ?", (name,)).fetchone()
            if row is not None:
                shown: Json = json.loads(row[0])
                cause: Json | None = {"word": shown["diagnosis"], "sentence": f"{shown['why']} {shown['mend']}"}
                cause = cause if shown["diagnosis"] else None
                return {**shown, "checks": [], "cause": cause, "agrees": True, "replays": []}
        return None

    # -- the thread

    def _run(self) -> None:
        tidy_after = since_tidy = max(self._bounds.keep // TIDY_PART, TIDY_LEAST)
        ends = False
        while not ends:
            batch, ends = self._batch()
            since_tidy += len(batch)
            try:
                with closing(_connect(self._path)) as database, database:
                    database.executemany(_PUT, [self._row(kept) for kept in batch])
                    if since_tidy >= tidy_after or ends:
                        self._tidy(database)
                        since_tidy = 0
            except (sqlite3.Error, OSError) as error:
                self.skipped += len(batch)
                if not self._told:
                    self._note(f"{self._path} does not take deliveries: {error}")
                self._told = True
            else:
                self._told = False

    def _batch(self) -> tuple[list[KeptExchange], bool]:
        """Wait for some; True where they are the last."""
        batch: list[KeptExchange] = []
        one = self._waiting.get()
        while one is not None:
            batch.append(one)
            if len(batch) >= BATCH or self._waiting.empty():
                return batch, False
            one = self._waiting.get()  # there is no other reader
        return batch, True

    def _row(self, kept: KeptExchange) -> tuple[str, float, int, str, str]:
        masking = self._maskings.of(kept.route)
        shown = json.dumps({**detail(kept, masking), "sentence": sentence(kept), "whole": False})
        words = json.dumps(searched(kept, masking, text=True))
        return kept.id, kept.at, len(shown) + len(words), shown, words

    def _tidy(self, database: sqlite3.Connection) -> None:
        """Remove what is too old, or more than there may be."""
        bounds = self._bounds
        database.execute("DELETE FROM deliveries WHERE ended < ?", (self._now() - bounds.max_age_s,))
        total = 0
        rows = database.execute("SELECT id, size FROM deliveries ORDER BY id DESC")
        for number, (name, size) in enumerate(rows, 1):
            total += size
            if number > bounds.keep or total > bounds.keep_bytes:
                database.execute("DELETE FROM deliveries WHERE id <= ?", (name,))
                break


_ONLY_DETAIL = frozenset(
    {"scheme", "handshake", "phase", "ended_by", "trace_id", "patience_s", "whole", "request", "answer", "sentence"}
)


def _make(path: str) -> None:
    """Make the file (0600) where it is not there yet, and see whether it is one of ours. StoreFailedError."""
    try:
        judge_place(path)
        os.close(open_for_writing(path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(_connect(path)) as database:
            [version] = database.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise StoreFailedError(f"it was written by a newer hookward (form {version})")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
    except (OSError, sqlite3.Error) as error:
        raise StoreFailedError(getattr(error, "strerror", None) or str(error)) from None


def _connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0)
    # What is lost with the power is a look at the past.
    database.execute("PRAGMA synchronous = NORMAL")
    return database
