"""Where lines go: a file descriptor, written by one thread so that no disk, pipe or terminal can stop the loop.

A thread and not ``O_NONBLOCK``: that flag belongs to the open file, so it would also hit the shell or the journal that
shares our stdout, and on a regular file it does nothing. What is waiting is bounded; beyond the bound lines are
dropped and counted. This module never knows what a line says.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from queue import SimpleQueue

from proxy.config.guarded_files import open_for_writing

log = logging.getLogger(__name__)

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


def whole_lines(data: bytes, size: int) -> list[bytes]:
    """``data`` cut at ends of lines into pieces of at most ``size`` bytes, where a line is no longer than that.

    POSIX: a write of at most PIPE_BUF bytes to a pipe is not mixed with those of others.
    """
    pieces, at = [], 0
    while len(data) - at > size:
        end = data.rfind(b"\n", at, at + size) + 1 or data.find(b"\n", at) + 1 or len(data)
        pieces.append(data[at:end])
        at = end
    return [*pieces, data[at:]]
