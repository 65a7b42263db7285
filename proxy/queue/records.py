"""What is kept of a delivery, as values, what is known of those that are kept, and what a store of them promises.

A delivery that was told 2xx is in one of four conditions. WAITING: its time is in ``due``. TAKEN: a courier has it,
and it may have been sent. BEHIND: an earlier one of the same order is not done. DEAD: nothing more is tried by itself.
What was delivered is gone. This module knows no clock; times are in seconds since the epoch.

What is made for each delivery is a named tuple: six of them are, and a frozen dataclass takes three times as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from proxy.core.delivery import KEY_BYTES
from proxy.net.large_bodies import SharedSpill, SpillFile
from proxy.values import frozen

#: Bodies up to this size are stored with the record: one sync for all. Larger ones have a place of their own.
INLINE_BYTES = 64 * 1024
#: What a record costs beside what is in it: its other columns, and its places in the indexes.
OVERHEAD_BYTES = 1024


class Condition(IntEnum):
    """Where a kept delivery stands; the numbers are those of the stores."""

    WAITING = 0
    TAKEN = 1
    BEHIND = 2
    DEAD = 3


class QueueError(Exception):
    """The store did not do it. The text says why, for the log."""

    @classmethod
    def of(cls, error: Exception) -> QueueError:
        """``error``, of the disk or the database, as one of the queue."""
        if isinstance(error, OSError):
            return cls(error.strerror or type(error).__name__)
        return error if isinstance(error, QueueError) else cls(str(error))


class QueueFullError(QueueError):
    """It holds as much as it may."""


class Parcel(NamedTuple):
    """A delivery to be kept: all that is needed to send it, days later, by another process.

    ``head`` is the head for the upstream without credentials (``queue.parcels``), ``facts`` what people look for, as
    texts. ``body`` is the content, or None where it is elsewhere: in ``spill``, or with the store.
    """

    id: str
    lane: str  # the route, or one of its copies: what is delivered side by side
    accepted: float
    head: bytes
    body: bytes | None
    size: int  # of the body
    facts: Mapping[str, str] = {}
    order: str = ""  # of equal ones, one goes after the other
    same: str = ""  # of equal ones that wait, the last counts
    keys: tuple[bytes, ...] = ()  # by which duplicates of it are told
    attempts: int = 0  # made before it was kept
    spill: SpillFile | SharedSpill | None = None  # the body, where it is on a disk already

    def __repr__(self) -> str:
        return f"Parcel(id={self.id!r}, lane={self.lane!r}, size={self.size})"

    def pieces(self) -> Iterator[bytes]:
        """The content, in order, where it is not with the store."""
        if self.body is None:
            return iter(()) if self.spill is None else self.spill.pieces()
        return iter((self.body,) if self.body else ())

    @property
    def cost(self) -> int:
        """What it counts against ``max_bytes``."""
        return OVERHEAD_BYTES + len(self.head) + self.size


def split_keys(joined: bytes) -> tuple[bytes, ...]:
    """The keys of a parcel, which stores keep one after the other."""
    return tuple(joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES))


class Taken(NamedTuple):
    """A parcel that a courier has; ``number`` is its place in the order of the store."""

    number: int
    parcel: Parcel
    attempts: int  # before this one
    begun: float  # since when it is tried: when it was accepted, or replayed


class Try(NamedTuple):
    """One attempt that has ended."""

    at: float
    status: int  # 0: none
    word: str  # a reason, "delivered", or "interrupted"
    detail: str = ""
    lasted_s: float = 0.0
    upstream: str = ""  # which one had it, or was to have it; "" where none was reached


class Settlement(NamedTuple):
    """What becomes of a taken one after a ``Try``: ``due`` again, or dead; where it was delivered, it goes."""

    number: int
    condition: Condition | None  # None: delivered
    last: Try
    due: float = 0.0


@frozen
class Kept:
    """One kept delivery, for people."""

    number: int
    parcel: Parcel
    condition: Condition
    due: float
    attempts: int
    tries: tuple[Try, ...] = ()


@frozen
class LaneCount:
    """What a lane holds, and what has become of what it held."""

    lane: str
    live: int = 0
    dead: int = 0
    bytes: int = 0
    accepted: int = 0
    delivered: int = 0
    died: int = 0
    dropped: int = 0  # by people, by age, or by a later one that counts in its place
    paused: bool = False
    oldest: float | None = None  # when the oldest live one was accepted
    next_due: float | None = None


@frozen
class Counted:
    """What each lane held when the store was asked, at ``at`` of this process's own clock."""

    at: float = 0.0
    lanes: Mapping[str, LaneCount] = field(default_factory=dict)


@frozen
class Choice:
    """Which kept deliveries are meant: by id, or by condition; what is not said counts for any."""

    ids: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    content: bool = False  # with their bodies


@dataclass(slots=True)
class CommitStatistics:
    """What a store has written; its thread counts and others read, so each figure is written at once."""

    commits: int = 0
    jobs: int = 0
    failures: int = 0
    failing: bool = False  # the last commit failed
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))  # seconds, not yet shown
    sizes: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))

    def committed(self, jobs: int, lasted_s: float) -> None:
        """So many changes are on stable storage."""
        self.commits += 1
        self.jobs += jobs
        self.failing = False
        self.durations.append(lasted_s)
        self.sizes.append(jobs)

    def failed(self) -> None:
        """A commit was not done."""
        self.failures += 1
        self.failing = True


class QueueStore(Protocol):
    """What a store of kept deliveries promises, whatever it is made of (``tests/queue/conformance.py`` holds it to it).

    What ``append`` has returned from is on stable storage, whole, and is given to a courier until it is settled. All
    that a store knows survives the death of every process at any moment; a power failure loses nothing that was
    appended. Every call but ``close`` may raise QueueError: then nothing of it has happened, but for what was TAKEN,
    which may be taken again later.
    """

    max_bytes: int
    is_durable: bool  # whether what it has acknowledged survives a power failure, as far as it can be asked
    statistics: CommitStatistics

    def append(self, parcels: Sequence[Parcel]) -> Awaitable[object]:
        """Keep ``parcels``, all or none. Raises QueueFullError where there is no room."""

    def append_taken(self, parcel: Parcel) -> Awaitable[Taken | None]:
        """``append`` and ``take`` in one, for a courier of this process that has nothing else to do; None where the
        store cannot do both at once: then it waits to be taken.
        """

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        """Give the courier up to so many of each lane that are due, the longest due first."""

    def pieces(self, parcel: Parcel) -> Iterator[bytes]:
        """The body of a taken one, in order and in pieces. May raise QueueError, but only as one is asked for."""

    def holds(self, number: int) -> bool:
        """Whether a taken one is still this courier's: to be asked just before it is sent."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """What has become of taken ones."""

    async def give_back(self, numbers: Sequence[int]) -> None:
        """Taken ones that were not sent."""

    async def recover(self, now: float) -> int:
        """Put back what a courier had that is no more, as one attempt that was interrupted; gives how many."""

    async def counts(self) -> list[LaneCount]:
        """Each lane that holds anything, or ever did."""

    def find(self, choice: Choice) -> AsyncIterator[Kept]:
        """Those that are meant, the oldest first."""

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        """Try these again now, with a new life; gives how many there are still."""

    async def drop(self, numbers: Sequence[int]) -> int:
        """Remove these for good, but for what is TAKEN; gives how many."""

    async def pause(self, lane: str, *, paused: bool) -> None:
        """Whether nothing of a lane is taken."""

    async def expire(self, before: float) -> int:
        """Remove what was accepted before that, but for what is TAKEN; gives how many."""

    async def close(self) -> None:
        """Give everything back."""
