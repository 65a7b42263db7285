"""What ``hold`` cannot keep in memory: a temporary file that has no name.

The file is unlinked before the first byte is written and readable by us alone (0600), so a crash leaves nothing and
nobody else sees an unverified body. Writes go to the page cache; they are bounded by ``max_body``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from io import FileIO

#: Read back in pieces of this size: what a transport takes in one write.
PIECE_BYTES = 64 * 1024


class SpillFile:
    """An unlinked temporary file, made when the first byte comes."""

    __slots__ = ("_directory", "_file", "size")

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        self._file: FileIO | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises OSError where the disk is full."""
        if self._file is None:
            # Without a buffer: a full disk then shows here, and not in the middle of reading or closing.
            self._file = tempfile.TemporaryFile(buffering=0, prefix="hookward-", dir=self._directory)  # noqa: SIM115
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(data)

    def pieces(self) -> Iterator[bytes]:
        """What was written, in order and in pieces."""
        if self._file is None:
            return
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Give the disk back. Calling it twice does no harm."""
        if self._file is not None:
            self._file.close()
            self._file = None
