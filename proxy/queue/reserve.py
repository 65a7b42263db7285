"""``Reserve``: how many bytes of the store are promised to bodies that are being written, by all processes of the host.

A large body is on the disk before its row is, and as many may be on their way as there are senders. So its bytes are
taken out of what is left before the first of them is written. Each process has a slot in a file for the sum of its own,
and a lock on it, which ends with the process: what a dead one had is nobody's. Slots are added to under the lock of the
database alone, so two processes never promise the same bytes.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

from proxy.queue.records import QueueError

NAME = "reserve"
#: Processes that may have the store open at once.
SLOTS = 256
_WIDTH = 8
_ALL = struct.Struct(f"<{SLOTS}q")
_NOTHING = bytes(_ALL.size)
#: A lock of the open file and not of the process, where there is one: no other file that is closed ends it.
_SET_LOCK = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)


class Reserve:
    """That of the store in ``folder``. Its slot is found when it is first needed."""

    def __init__(self, folder: Path) -> None:
        """Open or make it, and clear what dead processes had. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(folder / NAME, flags, 0o600)
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
        """ReservedBytes so much more; to be called in a transaction of the database. Raises QueueError."""
        with self._lock:
            if self._slot < 0:
                self._slot = self._free_slot()
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

    def _free_slot(self) -> int:
        for slot in range(SLOTS):
            if self._try_lock(slot):
                return slot
        raise QueueError("too many processes have the store open")

    def _write(self, value: int) -> None:
        try:
            os.pwrite(self._file, struct.pack("<q", value), self._slot * _WIDTH)
        except OSError as error:
            raise QueueError(f"{NAME}: {error.strerror}") from None

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
