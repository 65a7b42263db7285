"""The folder of a store on this host: ours alone, with the database, the large bodies, and who delivers from it.

A body has its name only once it is whole and on stable storage, and its folder is synced before a row speaks of it. So
a row never speaks of what is not there; a file of which no row speaks is what a crash left, and is removed in time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from proxy.net.large_bodies import PIECE_BYTES
from proxy.queue.database import CHECKPOINT_PAGES
from proxy.queue.records import Parcel, QueueError

DATABASE = "queue.sqlite3"
BODIES = "bodies"
LOCK = "courier.lock"
#: What the log of the database grows to.
LOG_BYTES = CHECKPOINT_PAGES * 4096
#: A body of which no row speaks after so many seconds has none coming.
ORPHAN_S = 3600.0

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class QueueFolder:
    """The folder at ``path``; made where it is not there. Raises QueueError where it is not for us alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / DATABASE
        self._log = path / f"{DATABASE}-wal"
        self.bodies = path / BODIES
        try:
            _make_private(path)
            _make_private(self.bodies)
            _check_file(self.database)
            _sync_above(path)
        except OSError as error:
            raise QueueError(f"{error.filename or path}: {error.strerror}") from None
        self._lock = -1

    def spare(self) -> int:
        """Bytes that are free on the disk beyond what delivering needs: taking and settling are written as well, into a
        log that grows to ``LOG_BYTES`` before the database takes it in, and grows itself by as much.
        """
        disk = os.statvfs(self.path)
        if not disk.f_blocks:  # a file system that does not say
            return sys.maxsize
        try:
            log = self._log.stat().st_size
        except FileNotFoundError:
            log = 0
        return disk.f_bavail * disk.f_frsize - max(LOG_BYTES, log) - max(0, LOG_BYTES - log)

    # -- bodies

    def keep(self, parcel: Parcel) -> None:
        """Put the body of ``parcel`` on stable storage, under its id. Raises OSError, and then there is none."""
        path = self._body(parcel.id)
        if path.exists():
            raise FileExistsError(errno.EEXIST, "there is a body of that id")
        try:
            if parcel.spill is None or not parcel.spill.link(str(path)):
                _write(path, parcel)
            _sync(path, os.O_RDONLY)
            _sync(self.bodies, os.O_DIRECTORY)
        except BaseException:
            self.forget(parcel.id)
            raise

    def pieces(self, name: str) -> Iterator[bytes]:
        """The body of that id, in pieces. Raises QueueError where it cannot be read."""
        try:
            descriptor = os.open(self._body(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise QueueError(f"the body of {name}: {error.strerror}") from None

    def forget(self, name: str) -> None:
        """Remove the body of that id, where there is one."""
        with suppress(OSError):
            self._body(name).unlink(missing_ok=True)

    def orphans(self, now: float) -> list[str]:
        """The ids of bodies that are old enough to have a row."""
        found = []
        with os.scandir(self.bodies) as entries:
            for entry in entries:
                with suppress(OSError):
                    if now - entry.stat(follow_symlinks=False).st_mtime > ORPHAN_S:
                        found.append(entry.name)
        return found

    def _body(self, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise QueueError("no id of a body")
        return self.bodies / name

    # -- the courier's lock

    def lock(self) -> bool:
        """Become the one that delivers; False where another process is. It ends with the process."""
        if self._lock >= 0:
            return True
        descriptor = os.open(self.path / LOCK, _SHARED, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                return False
            raise
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        """Let another process deliver."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _write(path: Path, parcel: Parcel) -> None:
    """Write the body under another name, and give it its own once it is there."""
    draft = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(draft, _NEW, 0o600), "wb") as file:
            for piece in parcel.pieces():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def _make_private(path: Path) -> None:
    """A folder that is ours, and only for us. Raises OSError."""
    with suppress(FileExistsError):
        path.mkdir(0o700, parents=True)
    if stat.S_IMODE(look_at_ours(path).st_mode) & 0o077:
        path.chmod(0o700)


def look_at_ours(path: Path) -> os.stat_result:
    """What a folder is, where it is ours and no link to one. Raises OSError."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is a link or a file, and must be a folder", str(path))
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    return status


def _sync_above(path: Path) -> None:
    """Put the names of the folder, and of those above it, on stable storage. What we cannot sync we have not made."""
    with suppress(OSError):
        for folder in path.absolute().parents:
            _sync(folder, os.O_DIRECTORY)


def _check_file(path: Path) -> None:
    """A regular file of ours with one name, made where there is none: SQLite gives its other files the mode of it."""
    descriptor = os.open(path, _SHARED | os.O_NONBLOCK, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it is no file of ours alone", str(path))
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    _sync(path.parent, os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- How many bytes of the store are promised to bodies that are being written, by all processes of the host.
#
# A large body is on the disk before its row is, and as many may be on their way as there are senders. So its bytes are
# taken out of what is left before the first of them is written. Each process has a slot in a file for the sum of its
# own, and a lock on it, which ends with the process: what a dead one had is free again. Slots are added to under the
# lock of the database alone, so two processes never promise the same bytes.

RESERVE = "reserve"
#: Processes that may have the store open at once.
SLOTS = 256
_WIDTH = 8
_ALL = struct.Struct(f"<{SLOTS}q")
_NOTHING = bytes(_ALL.size)
#: A lock of the open file and not of the process, where there is one: no other file that is closed ends it.
_SET_LOCK = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)


class Reserve:
    """What is promised of the store in ``folder``. The slot of this process is found when it is first needed."""

    def __init__(self, folder: Path) -> None:
        """Open or make it, and clear what dead processes had. Raises OSError."""
        self._file = os.open(folder / RESERVE, _SHARED, 0o600)
        self._slot = -1
        self._own = 0
        self._lock = threading.Lock()
        try:
            if os.fstat(self._file).st_size < _ALL.size:
                os.ftruncate(self._file, _ALL.size)
            self.clear()
        except OSError:
            os.close(self._file)
            raise

    def total(self) -> int:
        """What is promised, by all."""
        read = os.pread(self._file, _ALL.size, 0)
        if read == _NOTHING:  # nearly always, and each transaction asks
            return 0
        return sum(max(0, one) for one in _ALL.unpack(read.ljust(_ALL.size, b"\0")))

    def add(self, size: int) -> None:
        """Promise so much more; to be called in a transaction of the database. Raises QueueError."""
        with self._lock:
            if self._slot < 0:
                self._slot = next((slot for slot in range(SLOTS) if self._try_lock(slot)), -1)
                if self._slot < 0:
                    raise QueueError("too many processes have the store open")
            self._write(self._own + size)
            self._own += size

    def give_back(self, size: int) -> None:
        """So much is no longer promised."""
        with self._lock, suppress(QueueError):  # the next change of the slot writes it
            self._own -= size
            self._write(self._own)

    def clear(self) -> None:
        """Forget what processes had that are no more."""
        for slot, value in enumerate(_ALL.unpack(os.pread(self._file, _ALL.size, 0))):
            if value and slot != self._slot and self._try_lock(slot):
                os.pwrite(self._file, bytes(_WIDTH), slot * _WIDTH)
                self._set_lock(slot, fcntl.F_UNLCK)

    def close(self) -> None:
        """Give everything back."""
        if self._own:
            self.give_back(self._own)
        os.close(self._file)

    def _write(self, value: int) -> None:
        try:
            os.pwrite(self._file, struct.pack("<q", value), self._slot * _WIDTH)
        except OSError as error:
            raise QueueError(f"{RESERVE}: {error.strerror}") from None

    def _try_lock(self, slot: int) -> bool:
        try:
            self._set_lock(slot, fcntl.F_WRLCK)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _set_lock(self, slot: int, kind: int) -> None:
        fcntl.fcntl(self._file, _SET_LOCK, struct.pack("hhqqi0q", kind, os.SEEK_SET, slot * _WIDTH, _WIDTH, 0))


class ReservedBytes:
    """So many bytes for one delivery, until it has its row, or none comes of it."""

    __slots__ = ("_reserve", "size")

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self.size = 0

    def begin(self, size: int) -> None:
        """It holds from now on (``Reserve.add``)."""
        self._reserve.add(size)
        self.size = size

    def end(self) -> None:
        """It is over. Calling it twice does no harm."""
        size, self.size = self.size, 0
        if size:
            self._reserve.give_back(size)
