"""Records of kept deliveries as the scripts of Redis take and give them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from proxy.queue.records import Condition, Kept, LaneCount, Parcel, QueueError, Taken, Try

#: Bodies up to this size are in the entry of the stream. Larger ones have a key, and are sent in pieces.
INLINE_BYTES = 64 * 1024
KEY_BYTES = 16


@contextlib.contextmanager
def as_queue_error() -> Iterator[None]:
    """Another has written there: what is read inside and is none of ours raises QueueError."""
    try:
        yield
    except (ValueError, TypeError, AttributeError):  # another has written there
        raise QueueError("what is in Redis is no record of ours") from None


def fields_of(parcel: Parcel, upload: str) -> list[object]:
    """What APPEND takes of a parcel; ``upload`` is the key with its large body, or ""."""
    body = b"" if upload else parcel.body
    if body is None:
        body = b"" if parcel.spill is None else b"".join(parcel.spill.pieces())
    return [
        *(parcel.id, parcel.lane, repr(parcel.accepted), parcel.attempts, parcel.order, parcel.same, parcel.cost),
        *(parcel.size, json.dumps(dict(parcel.facts)), b"".join(parcel.keys), parcel.head, body, upload),
    ]


def text_of(last: Try) -> str:
    """A try as the scripts keep it."""
    return json.dumps(last)


def as_text(value: object) -> str:
    """What Redis has told, as a text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _parcel(row: Sequence[bytes], *, with_body: bool) -> Parcel:
    _, name, lane, accepted, _, attempts, order, same, size, _, _, facts, keys, head, body = row
    return Parcel(
        id=name.decode(),
        lane=lane.decode(),
        accepted=float(accepted),
        head=head,
        body=body if with_body and int(size) <= INLINE_BYTES else None,
        size=int(size),
        facts=json.loads(facts),
        order=order.decode(),
        same=same.decode(),
        keys=tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)),
        attempts=int(attempts),
    )


def read_taken(row: Sequence[bytes]) -> Taken:
    """A row of TAKE."""
    return Taken(int(row[0]), _parcel(row, with_body=True), int(row[5]), float(row[4]))


def read_kept(row: Sequence[bytes], tries: Sequence[bytes], *, with_body: bool) -> Kept:
    """A row of FIND."""
    history = tuple(Try(*json.loads(one)) for one in tries)
    parcel = _parcel(row, with_body=with_body)
    return Kept(int(row[0]), parcel, Condition(int(row[9])), float(row[10]), int(row[5]), history)


def read_lane_count(row: Sequence[Any]) -> LaneCount:
    """A row of COUNTS."""
    lane, flat, live, due = row
    counted = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    paused = bool(counted.pop("paused", 0))
    oldest = float(live[1]) if live else None
    return LaneCount(lane.decode(), **counted, paused=paused, oldest=oldest, next_due=float(due[1]) if due else None)


# -- Large bodies on their way to Redis and from it: in pieces, so that none of them is whole in memory.

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
