"""Copies of kept deliveries, masked: to take away (a curl line, raw HTTP, a HAR file, a test), and in a file that keeps
them over restarts.

The curl line is for a shell, so quoting is a border of security: what is not printable ASCII is written as octal
escapes that ``printf`` turns back, so no byte of a delivery reaches the shell, or a terminal that it is pasted into, as
anything but text. POSIX ``sh`` and curl 7.55 or newer read it. But for the masking a copy is byte for byte what came.

The file (SQLite) is bounded by the number of deliveries, their bytes and their age. What is written is what is shown:
details, masked, as JSON. So nothing in it can be replayed, and no secret is in it. All of it is one thread's work, and
a writer that is behind is given no more: what it did not take is counted. Several workers write to one file, and each
of them reads all of it.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sqlite3
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

from proxy.config.guarded_files import judge_place, make_folder, open_for_writing, write_private
from proxy.config.settings import ConsoleSettings
from proxy.console.kept import Json, KeptExchange, Masking, Maskings, content, detail, searched, sentence, shown_target
from proxy.core.search import Query
from proxy.http1 import Framing, RequestHead, ResponseHead, utc_text, write_request_head
from proxy.net.large_bodies import SWITCH_S

#: A word that begins with none of a program's own signs, and is ASCII that can be read.
_PLAIN = re.compile(rb"[\x20-\x7e]*")
#: One argument of a program has 128 KiB at most (execve(2)); ``printf`` is the shell's own, and has no bound.
_MAX_ARGUMENT = 64 * 1024


def export(kept: KeptExchange, masking: Masking, form: str) -> Json | None:
    """The delivery in a form of ``FORMS``; None where there is no such form."""
    head = kept.head
    if form not in FORMS or head is None:
        return None
    write, ending = FORMS[form]
    data = write(kept, head, masking)
    text = None
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8")
    return {"as": form, "name": f"{kept.id}.{ending}", "text": text, "base64": b64encode(data).decode("ascii")}


def as_raw(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """The request as it came; its content as one piece, however it was cut."""
    fields = masking.fields(head.fields)
    if head.framing is Framing.CHUNKED:
        fields = [pair for pair in fields if pair[0].lower() != b"transfer-encoding"]
        fields.append((b"Content-Length", b"%d" % len(kept.content)))
    return write_request_head(head.method, shown_target(kept, head, masking), fields) + masking.body(kept.content)


def as_curl(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """One command of a shell that sends the request."""
    body = masking.body(kept.content)
    url = b"%b://%b/" % (kept.record.scheme.encode("ascii"), head.host or b"localhost")
    method = [b"--head"] if head.method == b"HEAD" else [b"-X", quoted(head.method)]
    target = quoted(shown_target(kept, head, masking))
    words = [b"curl", b"--globoff", b"--path-as-is", *method, b"--request-target", target]
    given = {name for name, _ in head.fields}
    # What curl adds of itself is taken out where it did not come.
    words += [part for name in (b"User-Agent", b"Accept", b"Content-Type", b"Expect") if name.lower() not in given
              for part in (b"-H", b"'%b:'" % name)]  # fmt: skip
    for name, value in masking.fields(head.fields):
        if name.lower() != b"content-length":
            words += [b"-H", quoted(name + b": " + value if value else name + b";")]
    has_content = head.framing is not Framing.NONE
    line = b""
    if has_content and (len(body) > _MAX_ARGUMENT or _PLAIN.fullmatch(body) is None):
        line = b"printf '%b' | " % escaped(body)
        words += [b"--data-binary", b"@-"]
    elif has_content:
        words += [b"--data-raw", quoted(body)]
    return line + b" ".join([*words, quoted(url)]) + b"\n"


def quoted(word: bytes) -> bytes:
    """A word of a command line that a shell reads as exactly these bytes. There is no NUL in it."""
    if _PLAIN.fullmatch(word) is not None:
        return b"'" + word.replace(b"'", b"'\\''") + b"'"
    # The substitution would drop line ends from the end; heads have none, and bodies are piped.
    return b"\"$(printf '%b')\"" % escaped(word)


def escaped(data: bytes) -> bytes:
    """A format of ``printf`` that prints exactly these bytes; ASCII, and without a quotation mark."""
    return b"".join(_ESCAPES[byte] for byte in data)


_ESCAPES = [
    bytes([byte]) if 0x20 <= byte <= 0x7E and byte not in b"'\\%-\"$`!" else b"\\%03o" % byte for byte in range(256)
]


def as_har(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """An HTTP archive (HAR 1.2) of one entry."""
    record, answer = kept.record, kept.reply
    body = content(masking.body(kept.content), record.bytes_in, cut=kept.cut, fields=head)
    reply = content(masking.text(kept.answer_content), record.bytes_out, cut=kept.answer_cut, fields=answer)
    target = shown_target(kept, head, masking).decode("latin-1")
    entry = {
        "startedDateTime": datetime.fromtimestamp(record.started, UTC).isoformat(),
        "time": round(record.duration_s * 1000, 3),
        "request": {
            "method": record.method,
            "url": f"{record.scheme}://{record.host}{target}",
            "queryString": [],
            **_message(f"HTTP/1.{record.minor}", masking.fields(head.fields), len(kept.raw), record.bytes_in),
            "postData": _har_content(body, head),
        },
        "response": {
            "status": record.status,
            "statusText": "",
            "redirectURL": "",
            **_message("HTTP/1.1", [] if answer is None else masking.fields(answer.fields), -1, record.bytes_out),
            "content": {"size": record.bytes_out, **_har_content(reply, answer)},
        },
        "cache": {},
        "timings": {"send": 0, "wait": round(record.upstream_duration_s * 1000, 3), "receive": 0},
    }
    log = {"version": "1.2", "creator": {"name": "hookward", "version": "1"}, "entries": [entry]}
    return json.dumps({"log": log}, indent=1).encode("ascii")


def _message(version: str, fields: list[tuple[bytes, bytes]], head_bytes: int, body_bytes: int) -> Json:
    headers = [{"name": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in fields]
    sizes = {"headersSize": head_bytes, "bodySize": body_bytes}
    return {"httpVersion": version, "headers": headers, "cookies": [], **sizes}


def _har_content(shown: Json, head: RequestHead | ResponseHead | None) -> Json:
    kind = b"" if head is None else head.get(b"content-type") or b""
    encoding = {"encoding": "base64"} if shown["encoding"] == "base64" else {}
    return {"mimeType": kind.decode("latin-1"), "text": shown["text"], **encoding}


#: What writes each form, and how the name of such a file ends.
FORMS: dict[str, tuple[Callable[[KeptExchange, RequestHead, Masking], bytes], str]] = {
    "raw": (as_raw, "http"),
    "curl": (as_curl, "sh"),
    "har": (as_har, "har"),
}


# -- Keeps a delivery as a test: a file on the host (0600) and the ``[[test]]`` stanza that names it.
#
# The file has the delivery as it came, with its proof: else it would be no test. So it is written where the
# operator's own files are, and nothing of it goes to the page.

FOLDER = "tests"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WORD = re.compile(r"[a-z_]{1,40}")


def keep(kept: KeptExchange, how: Mapping[str, Any], state_dir: str | None) -> Json:
    """Write the file; gives its path and the stanza, or what is wrong and how to mend it."""
    word = "admitted" if kept.record.verdict == "admitted" else kept.record.reason.word
    name, expect = how.get("name", kept.id), how.get("expect", word)
    if state_dir is None:
        return {"what": "there is no folder for it", "mend": "set state_dir"}
    head = kept.head
    if not kept.is_whole or head is None:
        return {"what": "not all of this delivery was kept", "mend": "a larger keep_bytes keeps larger deliveries"}
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return {"what": "the name is none for a file", "mend": "write small letters, digits, dots and dashes"}
    if not isinstance(expect, str) or _WORD.fullmatch(expect) is None:
        return {"what": "expect is no word", "mend": 'write "admitted", or the word of a reason'}
    path = f"{state_dir}/{FOLDER}/{name}.http"
    raw = kept.raw
    if head.framing is Framing.CHUNKED:
        # A file has no chunks: its body is what the checks are asked of.
        raw = re.sub(rb"(?im)^transfer-encoding:.*\r\n", b"Content-Length: %d\r\n" % len(kept.content), raw)
    try:
        make_folder(f"{state_dir}/{FOLDER}")
        write_private(path, raw + kept.content)
    except OSError as error:
        return {"what": f"{path} cannot be written: {error.strerror}", "mend": "let the user of hookward write there"}
    at, written = utc_text(int(kept.record.started)), path.replace("\\", "\\\\").replace('"', '\\"')
    return {"file": path, "stanza": f'[[test]]\nfile = "{written}"\nexpect = "{expect}"\nat = {at}\n'}


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
