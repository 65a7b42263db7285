"""What ``hold`` cannot keep in memory: a temporary file that has no name.

The file is unlinked before the first byte is written and readable by us alone (0600), so a crash leaves nothing and no
other user sees an unverified body. Writes go to the page cache; each file is bounded by ``max_body``, and all of a
worker by a :class:`SpillSpace`: any client may send what will turn out to be forged, and the disk is the host's (or,
where temporary files lie in a tmpfs, its memory).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from io import FileIO

from proxy.core.budget import ANYBODY, GROUP_SHARE, Group, Party

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
