"""Large bodies on their way to Redis and from it: in pieces, so that none of them is whole in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from proxy.queue.records import Parcel

#: What one command carries.
CHUNK_BYTES = 1024 * 1024
#: What a transport takes in one write.
_PIECE_BYTES = 64 * 1024


class FetchedBody:
    """A body that lies in a file without a name, until nothing refers to it any more (``records.Spilled``)."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.size = 0
        self._file = -1
        descriptor, name = tempfile.mkstemp()
        self._file = descriptor
        os.unlink(name)  # noqa: PTH108 - as it was given

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises OSError."""
        os.pwrite(self._file, data, self.size)
        self.size += len(data)

    def link(self, path: str) -> bool:
        """It gets no name."""
        del path
        return False

    def pieces(self) -> Iterator[bytes]:
        """What is in it, in order."""
        at = 0
        while piece := os.pread(self._file, _PIECE_BYTES, at):
            at += len(piece)
            yield piece

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def chunks(parcel: Parcel) -> Iterator[bytes]:
    """The body of ``parcel`` in pieces for Redis. Raises OSError."""
    if parcel.body is not None:
        for at in range(0, len(parcel.body), CHUNK_BYTES):
            yield parcel.body[at : at + CHUNK_BYTES]
    elif parcel.spill is not None:
        gathered = bytearray()
        for piece in parcel.spill.pieces():
            gathered += piece
            if len(gathered) >= CHUNK_BYTES:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)
