"""The access log: one line per exchange, batched, and the thread that writes the lines to a file descriptor.

The records of one moment are rendered together and handed to the sink together: in a row that costs half of what it
costs between other work. ``log_formats`` has the forms; nothing is decided here.

Refusals may have fewer lines: one in so many, and beyond a number from one address one line a minute that sums them up.
A scan or a client with a wrong secret must not be able to fill a disk or hide what matters. Deliveries, and the
troubles of upstreams and our own, always have their line. What is remembered of addresses is bounded.

The sink has a thread of its own, so that no disk, pipe or terminal can stop the loop. ``O_NONBLOCK`` would not do: that
flag belongs to the open file, so it would also hit the shell or the journal that shares our stdout, and on a regular
file it does nothing. What is waiting is bounded; beyond the bound lines are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from queue import SimpleQueue

from proxy.config.guarded_files import open_for_writing
from proxy.config.host import whole_lines
from proxy.core.record import ExchangeRecord
from proxy.net.log_formats import MAX_VALUE, LineForm, LogNote, printable
from proxy.reasons import Ended, Reason
from proxy.values import mutable

log = logging.getLogger(__name__)

#: Lines are gathered this long at most while traffic is dense: one wake-up of the sink's thread for all of them.
GATHER_S = 0.02

#: So many records are rendered at once at most: some 0.3 ms.
GATHER_RECORDS = 64


class AccessLog:
    """Writes a line per exchange to a sink, batched."""

    def __init__(
        self,
        sink: LogSink | None,
        formatter: LineForm,
        loop: asyncio.AbstractEventLoop,
        *,
        sample: int = 1,
        per_minute: int = 0,
    ) -> None:
        """Without a ``sink`` no line is written. ``sample`` and ``per_minute`` as in ``RefusalDigest``."""
        self._sink = sink
        self._format = formatter
        self._loop = loop
        self._gathered: list[ExchangeRecord | str] = []  # a text is a line that is no exchange
        self._flushed_at = 0.0
        self._told = 0
        self._newest = 0.0
        self._digest: RefusalDigest | None = None
        if sample > 1 or per_minute:
            self._digest = RefusalDigest(loop, self._sum_up, sample=sample, per_minute=per_minute)

    @property
    def withheld(self) -> int:
        """How many refusals were given no line since the start."""
        return 0 if self._digest is None else self._digest.withheld

    @property
    def dropped(self) -> int:
        """How many lines the sink did not take since the start."""
        return 0 if self._sink is None else self._sink.dropped

    def write(self, record: ExchangeRecord) -> None:
        """Log an exchange that has ended. Never blocks."""
        if self._sink is None or (self._digest is not None and not self._digest.takes(record)):
            return
        self._gather(record)

    def _gather(self, entry: ExchangeRecord | str) -> None:
        if not self._gathered:
            self._schedule()
        self._gathered.append(entry)
        if len(self._gathered) >= GATHER_RECORDS:
            self.flush()

    def _sum_up(self, summary: Summary) -> None:
        reasons = summary.reasons.most_common()
        words = ", ".join(f"{count} {word}" for word, count in reasons)
        note = LogNote(
            summary.newest,
            "hookward.refusals",
            {
                "client.address": summary.address[:MAX_VALUE],
                "hookward.refusals.count": summary.withheld,
                "hookward.refusals.reasons": dict(reasons),
            },
            f"{summary.withheld} more refusals from={printable(summary.address)}: {words}",
        )
        self._gather(self._format.note(note))

    def _schedule(self) -> None:
        # A lone line goes out in this iteration of the loop; in dense traffic they wait for each other.
        if self._loop.time() - self._flushed_at > GATHER_S:
            self._loop.call_soon(self.flush)
        else:
            self._loop.call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Render what is gathered and hand it to the sink."""
        if not self._gathered or self._sink is None:
            return
        self._flushed_at = self._loop.time()
        gathered, self._gathered = self._gathered, []
        render = self._format
        lines = [entry if isinstance(entry, str) else render(entry) for entry in gathered]
        dropped = self._sink.dropped
        if dropped != self._told:
            self._told = dropped
            ends = [one.started + one.duration_s for one in gathered if not isinstance(one, str)]
            self._newest = max(ends, default=self._newest)
            text = f"{dropped} lines of this log were dropped since the start"
            note = LogNote(self._newest, "hookward.log_dropped", {"hookward.log.dropped": dropped}, text)
            lines.append(render.note(note))
        lines.append("")
        self._sink.write("\n".join(lines).encode("ascii", "replace"), len(lines) - 1)

    def reopen(self) -> None:
        """Write what is gathered to the old file, then open the path again (after a rotation)."""
        self.flush()
        if self._sink is not None:
            self._sink.reopen()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is gathered and stop, after at most ``timeout_s`` seconds."""
        if self._digest is not None:
            self._digest.flush()
        self.flush()
        if self._sink is not None:
            self._sink.close(timeout_s)


MINUTE_S = 60.0
#: Addresses that are told apart within a minute; those beyond are summed up together.
MAX_ADDRESSES = 1000
OTHERS = "others"

_NEVER_LESS = frozenset(
    {
        *(Reason.DELIVERED, Reason.ACCEPTED, Reason.FILTERED, Reason.DUPLICATE_DELIVERED),
        *(Reason.INTERNAL_ERROR, Reason.OVERLOADED, Reason.QUEUE_FULL, Reason.QUEUE_FAILED),
    }
)


@mutable
class Summary:
    """What one address was refused in one minute, beyond what has lines of its own."""

    address: str
    reasons: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    newest: float = 0.0  # seconds since the epoch

    @property
    def withheld(self) -> int:
        """How many refusals have no line."""
        return sum(self.reasons.values())


class RefusalDigest:
    """Says which refusals have a line. ``tell`` gets the summaries when their minute is over."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tell: Callable[[Summary], None], *, sample: int = 1, per_minute: int = 0
    ) -> None:
        """``sample``: one refusal in so many has a line. ``per_minute``: from one address; 0 is any number."""
        self._loop = loop
        self._tell = tell
        self._sample = sample
        self._per_minute = per_minute
        self._refusals = 0
        self._addresses: dict[str, Summary] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.withheld = 0

    def takes(self, record: ExchangeRecord) -> bool:
        """Whether the exchange has a line of its own."""
        reason = record.reason
        if reason.status is None or reason.ended_by is Ended.UPSTREAM or reason in _NEVER_LESS:
            return True
        if self._per_minute and not self._counts(record):
            self.withheld += 1
            return False
        self._refusals += 1
        if (self._refusals - 1) % self._sample:
            self.withheld += 1
            return False
        return True

    def _counts(self, record: ExchangeRecord) -> bool:
        summary = self._addresses.get(record.client)
        if summary is None:
            name = record.client if len(self._addresses) < MAX_ADDRESSES else OTHERS
            summary = self._addresses.setdefault(name, Summary(name))
            if self._timer is None:
                self._timer = self._loop.call_later(MINUTE_S, self.flush)
        summary.seen += 1
        if summary.seen <= self._per_minute:
            return True
        summary.reasons[record.reason.word] += 1
        summary.newest = record.started + record.duration_s
        return False

    def flush(self) -> None:
        """Tell what was withheld, and begin another minute."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        over, self._addresses = self._addresses, {}
        for summary in over.values():
            if summary.reasons:
                self._tell(summary)


#: Bytes that may wait for the sink: about five seconds of 2,000 lines each, then lines are dropped.
MAX_WAITING_BYTES = 4 * 1024 * 1024

#: Appending, so that a rotated or truncated file is never overwritten at an old offset. Readable by owner and group.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)
_MODE = 0o640

_REOPEN = (b"", -1)
_CLOSE = (b"", -2)


class LogSink:
    """Takes batches of lines on the loop and writes them on its own thread.

    ``path`` is the file that :meth:`reopen` opens again; None for a descriptor that others own (stdout, stderr). Where
    ``siblings`` write to the same pipe, no line is torn apart by one of theirs.
    """

    def __init__(
        self,
        fd: int,
        path: str | None = None,
        *,
        owners: tuple[int, ...] = (),
        siblings: bool = False,
        max_waiting: int = MAX_WAITING_BYTES,
    ) -> None:
        self._fd = fd
        self._owners = owners
        self._siblings = siblings
        self._path = path
        self._max_waiting = max_waiting
        self._queue: SimpleQueue[tuple[bytes, int]] = SimpleQueue()
        # Each counter has one writing thread, so none needs a lock: the difference of two is never too small.
        self._taken = 0
        self._done = 0
        self._dropped_here = 0
        self._dropped_there = 0
        self._line_is_cut = False
        self._thread = threading.Thread(target=self._run, name="hookward-log", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: str, owners: tuple[int, ...] = ()) -> LogSink:
        """Append to the file ``path``, made with mode 0640 if it is missing. In a folder that others may change it is
        a regular file of ours, of the folder's owner or of ``owners``. Raises OSError.
        """
        return cls(open_for_writing(path, _FLAGS, _MODE, owners=owners), path, owners=owners)

    @property
    def dropped(self) -> int:
        """How many lines were dropped since the start."""
        return self._dropped_here + self._dropped_there

    def write(self, data: bytes, lines: int) -> None:
        """Queue ``lines`` whole lines, or drop and count them where too much is waiting. Never blocks."""
        if self._taken - self._done + len(data) > self._max_waiting:
            self._dropped_here += lines
            return
        self._taken += len(data)
        self._queue.put((data, lines))

    def reopen(self) -> None:
        """Open the path again once what is queued is written. Where that fails the old file stays, and that is said."""
        self._queue.put(_REOPEN)

    def close(self, timeout_s: float) -> None:
        """Write what is queued, for at most ``timeout_s`` seconds; a sink that stalls is left behind."""
        self._queue.put(_CLOSE)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            data, lines = self._queue.get()
            if lines > 0:
                if not self._write_out(data):
                    self._dropped_there += lines
                self._done += len(data)
            elif (data, lines) == _REOPEN:
                self._open_again()
            else:
                break
        if self._path is not None:
            os.close(self._fd)

    def _write_out(self, data: bytes) -> bool:
        data = b"\n" + data if self._line_is_cut else data
        try:
            for piece in whole_lines(data, select.PIPE_BUF) if self._siblings else [data]:
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._fd, view) :]
                    self._line_is_cut = True
        except OSError:
            return False
        self._line_is_cut = False
        return True

    def _open_again(self) -> None:
        if self._path is None:
            return
        try:
            fresh = open_for_writing(self._path, _FLAGS, _MODE, owners=self._owners)
        except OSError as error:
            log.error("%s cannot be opened again (%s): the old file is written to", self._path, error.strerror)  # noqa: TRY400  # no bug of ours
            return
        os.close(self._fd)
        self._fd = fresh
        self._line_is_cut = False
