"""What the store in Redis says to it: scripts, the records that they take and give, and what a courier may claim.

Redis runs a script as one step, whole or not at all. The record of a delivery is an entry of the stream ``log``, whose
id is its number; it leaves the stream only when it is acknowledged (or dropped). Where it stands is in the hash
``d:NUMBER``, what was tried in the list ``t:NUMBER``, a large body in ``body:NUMBER``. What is TAKEN is pending in the
stream's consumer group, for the consumer that has it. A consumer is a courier; it lives as long as its key
``alive:NAME``, which it renews. ``owners`` says which courier a lane belongs to: while it lives no other takes from
that lane, so pace, concurrency and order are those of one. Numbers in ARGV stay texts, for Lua would round them. What
each script takes and gives is told in its file, in ``scripts``.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any

from proxy.net.large_bodies import SpillFile, SpillSpace
from proxy.queue.records import INLINE_BYTES, Condition, Kept, LaneCount, Parcel, QueueError, Taken, Try, split_keys

#: The version of all this. A newer one is refused.
VERSION = 1

_FOLDER = files("proxy.queue") / "scripts"
_COMMON = (_FOLDER / "common.lua").read_text()


def _script(name: str) -> str:
    return f"{_COMMON}\n{(_FOLDER / f'{name}.lua').read_text()}"


APPEND, HOLD, LET_GO, TAKE, SETTLE = map(_script, ("append", "hold", "let_go", "take", "settle"))
GIVE_BACK, RECOVER, BEAT, REPLAY = map(_script, ("give_back", "recover", "beat", "replay"))
DROP, EXPIRE, PAUSE, COUNTS, FIND = map(_script, ("drop", "expire", "pause", "counts", "find"))


@contextlib.contextmanager
def as_queue_error() -> Iterator[None]:
    """Another has written there: what is read inside and is none of ours raises QueueError."""
    try:
        yield
    except (ValueError, TypeError, AttributeError):
        raise QueueError("what is in Redis is no record of ours") from None


def fields_of(parcel: Parcel, upload: str) -> list[object]:
    """What APPEND takes of a parcel; ``upload`` is the key with its large body, or ""."""
    return [
        *(parcel.id, parcel.lane, repr(parcel.accepted), parcel.attempts, parcel.order, parcel.same, parcel.cost),
        *(parcel.size, json.dumps(dict(parcel.facts)), b"".join(parcel.keys), parcel.head),
        *(b"" if upload else b"".join(parcel.pieces()), upload),
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
        name.decode(),
        lane.decode(),
        float(accepted),
        head,
        body if with_body and int(size) <= INLINE_BYTES else None,
        int(size),
        json.loads(facts),
        order.decode(),
        same.decode(),
        split_keys(keys),
        int(attempts),
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


class FetchedBody(SpillFile):
    """A body that lies in a file without a name, until nothing refers to it any more."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(SpillSpace(sys.maxsize))

    def __del__(self) -> None:
        self.close()


def chunks(parcel: Parcel) -> Iterator[bytes]:
    """The body of ``parcel`` in pieces for Redis. Raises OSError."""
    gathered = bytearray()
    for piece in parcel.pieces():
        gathered += piece
        while len(gathered) >= CHUNK_BYTES:
            yield bytes(gathered[:CHUNK_BYTES])
            del gathered[:CHUNK_BYTES]
    if gathered:
        yield bytes(gathered)


# -- What the courier of one store has taken, and until when that is certain.
#
# A courier lives in Redis as long as it renews its key. One that did not (its process slept, its network was gone)
# counts as dead, and what it had is given to others: so it sends nothing any more from the moment at which that may
# have happened, by a clock that goes on while a process or a host sleeps, and goes on under another name.

#: How long a courier counts as alive after it was last heard of.
LEASE_S = 10.0
#: So much earlier it stops by itself: clocks run apart, and a request takes time to be sent.
MARGIN = 0.1
#: The names that are remembered, for what was sent under them and ends later.
MOST_NAMES = 8

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds on a clock that does not stop."""
    return time.clock_gettime(_CLOCK)


class CourierClaims:
    """Those of one process. Times are of ``steady``."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self.certain_until = 0.0
        self._held: set[int] = set()
        self._names: list[str] = []
        self.renew()

    @property
    def name(self) -> str:
        """What the courier is called in Redis now."""
        return self._names[-1]

    @property
    def names(self) -> str:
        """All that it was called, each between two spaces."""
        return f" {' '.join(self._names)} "

    def renew(self) -> None:
        """What was taken may be another's: go on under a new name."""
        self._held.clear()
        self.certain_until = 0.0
        self._names = [*self._names[1 - MOST_NAMES :], secrets.token_hex(8)]

    def heard(self, asked_at: float) -> None:
        """Redis has answered what it was asked then: it lives."""
        self.certain_until = asked_at + self.lease_s * (1.0 - MARGIN)

    def add(self, numbers: Iterable[int]) -> None:
        """These were taken."""
        self._held.update(numbers)

    def discard(self, numbers: Iterable[int]) -> None:
        """These are no longer of interest."""
        self._held.difference_update(numbers)

    def holds(self, number: int) -> bool:
        """Whether it is certain that no other has it. Where it is not, it is no longer ours."""
        if number in self._held and steady() < self.certain_until:
            return True
        self._held.discard(number)
        return False

    def knows(self, number: int) -> bool:
        """Whether it is here."""
        return number in self._held
