"""What bodies take that are too large for memory or for the loop: a temporary file without a name, and a thread.

Any client may send what will turn out to be forged, so both are bounded. A file is unlinked before the first byte is
written and readable by us alone (0600), so a crash leaves nothing and no other user sees an unverified body. Writes go
to the page cache; each file is bounded by ``max_body``, and all of a worker by a :class:`SpillSpace`: the disk is the
host's (or, where temporary files lie in a tmpfs, its memory).

``Apart`` has verdicts made that take too long for the loop, where a large body must be parsed, or hashed in one call.
``MAX_RUNNING`` threads work at them, for one group of addresses one at a time; groups take turns, listed addresses come
first, and others leave them a thread. What waits is bounded by the budgets that its bodies are counted in. It knows
nothing of what it calls.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import FileIO

from proxy.core.budget import ANYBODY, GROUP_SHARE, Group, Party
from proxy.reasons import Reason

#: Read back in pieces of this size: what a transport takes in one write.
PIECE_BYTES = 64 * 1024
#: Where files without a folder of their own lie: what the first of these names, else the first folder that takes one.
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_FOLDERS = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - no name is used twice, and none is known before
_NAMELESS = getattr(os, "O_TMPFILE", 0) | os.O_RDWR | os.O_CLOEXEC  # Linux; a folder cannot be opened without
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SpillSpace:
    """The bytes that all files together may hold; unlisted addresses leave a share to listed ones, and one group of
    addresses may have several files only within its own share.
    """

    __slots__ = ("_groups", "limit", "strangers", "used")

    def __init__(self, limit: int, strangers: int | None = None) -> None:
        self._groups: dict[Group, int] = {}
        self.used = 0
        self.use(limit, strangers)

    def use(self, limit: int, strangers: int | None = None) -> None:
        """Other bounds, of a reload; ``strangers`` is what all that is not listed may hold."""
        self.limit = limit
        self.strangers = limit if strangers is None else strangers

    def take(self, size: int, party: Party, own: int) -> None:
        """Count ``size`` bytes more for a file of ``own`` bytes. OSError (ENOSPC) where there is no room for them."""
        group = 0 if party.group is None else self._groups.get(party.group, 0)
        full = self.used + size > (self.limit if party.listed else self.strangers)
        if full or (group > own and group + size > self.limit // GROUP_SHARE):
            raise OSError(errno.ENOSPC, "the temporary files hold as much as they may")
        self.used += size
        if party.group is not None:
            self._groups[party.group] = group + size

    def give(self, size: int, party: Party) -> None:
        """A file of ``size`` bytes is gone."""
        self.used -= size
        if party.group is not None and size:
            left = self._groups[party.group] - size
            if left:
                self._groups[party.group] = left
            else:
                del self._groups[party.group]


class SpillFile:
    """An unlinked temporary file, made when the first byte comes."""

    __slots__ = ("_directory", "_file", "_linkable", "_space", "party", "size")

    def __init__(self, space: SpillSpace, directory: str | None = None) -> None:
        """``directory`` is where it can be given a name (``link``), where it may have to be kept."""
        self._space = space
        self.party = ANYBODY  # whose bytes they are; to be told before the first
        self._directory = directory
        self._file: FileIO | None = None
        self._linkable = False
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises OSError where the disk, or its share of it, is full."""
        self._space.take(len(data), self.party, self.size)
        self.size += len(data)
        if self._file is None:
            self._file = self._open()
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def link(self, path: str) -> bool:
        """Give it the name ``path``; False where it can have none there. Raises OSError where there is such a name."""
        if self._file is None or not self._linkable:
            return False
        _link(self._file.fileno(), path)
        return True

    def share(self) -> SharedSpill:
        """What is in it, for one that outlives it and reads beside it; all of it must be written."""
        assert self._file is not None
        return SharedSpill(FileIO(os.dup(self._file.fileno()), "r"), self.size, linkable=self._linkable)

    def _open(self) -> FileIO:
        """The file, without a buffer: a full disk then shows here, and not in the middle of reading or closing."""
        if self._directory is None:
            return FileIO(_temporary(), "r+")
        descriptor = _nameless(self._directory)
        self._linkable = descriptor is not None
        return FileIO(_unlinked(self._directory) if descriptor is None else descriptor, "r+")

    def pieces(self) -> Iterator[bytes]:
        """What was written, in order and in pieces."""
        if self._file is None:
            return
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Give the disk back. Calling it twice does no harm."""
        self._space.give(self.size, self.party)
        self.size = 0
        if self._file is not None:
            self._file.close()
            self._file = None


class SharedSpill:
    """The content of a :class:`SpillFile`, held open for another reader, which may be another thread."""

    __slots__ = ("_file", "_linkable", "size")

    def __init__(self, file: FileIO, size: int, *, linkable: bool) -> None:
        self._file = file
        self._linkable = linkable
        self.size = size

    def link(self, path: str) -> bool:
        """Give it the name ``path``; False where it can have none there. Raises OSError where there is such a name."""
        if self._linkable:
            _link(self._file.fileno(), path)
        return self._linkable

    def pieces(self) -> Iterator[bytes]:
        """What is in it, in order and in pieces."""
        at = 0
        # The position is shared with the other reader, so it is not used.
        while piece := os.pread(self._file.fileno(), PIECE_BYTES, at):
            at += len(piece)
            yield piece

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


def _temporary() -> int:
    """A file in a folder for temporary ones. (``tempfile`` would import compression and copying at every start.)"""
    named = [os.environ[name] for name in _VARIABLES if os.environ.get(name)]
    error = OSError(errno.ENOENT, "no folder for temporary files")
    for folder in (*named, *_FOLDERS):
        try:
            descriptor = _nameless(folder)
            return _unlinked(folder) if descriptor is None else descriptor
        except OSError as refused:
            error = refused
    raise error


def _nameless(folder: str) -> int | None:
    """A file that never had a name there, or None: not every file system has such files."""
    try:
        return os.open(folder, _NAMELESS, 0o600)
    except OSError:
        return None


def _unlinked(folder: str) -> int:
    """A file that lost its name at once. Raises OSError."""
    path = f"{folder}/hookward-{os.urandom(8).hex()}"
    descriptor = os.open(path, _NEW, 0o600)
    os.unlink(path)  # noqa: PTH108 - as for all paths here, text in
    return descriptor


def _link(descriptor: int, path: str) -> None:
    """The kernel's own link to what is open, followed (linkat(2); Python calls it by a folder alone): no copy."""
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


MAX_RUNNING = 2
#: A thread that computes lets the loop go on after so long; Python's own 5 ms would be felt by every exchange.
SWITCH_S = 0.0005

Verdict = str | Reason | None


@dataclass(slots=True, eq=False, repr=False)
class Job:
    """One verdict that is to come."""

    party: Party
    work: Callable[[], Verdict]
    done: Callable[[Verdict], None]
    failed: Callable[[Exception], None]
    started: bool = False


class Apart:
    """The threads of one worker, made with the first job."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: dict[bool, OrderedDict[Group | None, OrderedDict[Job, None]]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        self._running: set[Job] = set()
        self.waiting = 0
        self.executor: ThreadPoolExecutor | None = None

    def submit(
        self,
        party: Party,
        work: Callable[[], Verdict],
        done: Callable[[Verdict], None],
        failed: Callable[[Exception], None],
    ) -> Job:
        """Have ``work`` done, and later ``done`` called with what it gives, or ``failed`` with what it raises."""
        job = Job(party, work, done, failed)
        self._lines[party.listed].setdefault(party.group, OrderedDict())[job] = None
        self.waiting += 1
        self._start()
        return job

    def abandon(self, job: Job, ended: Callable[[], None]) -> None:
        """``job`` is no longer awaited. ``ended`` is called when it reads its body no longer: at once, or later."""
        if job.started:
            job.done = lambda _verdict: ended()
            job.failed = lambda _bug: ended()
            return
        line = self._lines[job.party.listed]
        del line[job.party.group][job]
        if not line[job.party.group]:
            del line[job.party.group]
        self.waiting -= 1
        ended()

    def close(self) -> None:
        """End the threads; takes as long as their jobs at most."""
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        while len(self._running) < MAX_RUNNING:
            job = self._next(listed=True) or self._next(listed=False)
            if job is None:
                return
            self.waiting -= 1
            job.started = True
            self._running.add(job)
            if self.executor is None:
                sys.setswitchinterval(SWITCH_S)
                self.executor = ThreadPoolExecutor(max_workers=MAX_RUNNING, thread_name_prefix="hookward-verdict")
            future = self.executor.submit(job.work)
            future.add_done_callback(partial(self._tell, job))

    def _next(self, *, listed: bool) -> Job | None:
        busy = {job.party.group for job in self._running}
        if not listed and sum(not job.party.listed for job in self._running) >= MAX_RUNNING - 1:
            return None
        line = self._lines[listed]
        for group, jobs in line.items():
            if group is None or group not in busy:
                job, _ = jobs.popitem(last=False)
                line.move_to_end(group)
                if not jobs:
                    del line[group]
                return job
        return None

    def _tell(self, job: Job, future: Future[Verdict]) -> None:
        """In the thread: the loop goes on from here."""
        self._loop.call_soon_threadsafe(self._ended, job, future)

    def _ended(self, job: Job, future: Future[Verdict]) -> None:
        self._running.discard(job)
        try:
            bug = future.exception()
            if bug is None:
                job.done(future.result())
            else:
                job.failed(bug if isinstance(bug, Exception) else RuntimeError(repr(bug)))
        finally:
            self._start()
