"""What is kept of a delivery, as values; and what is known of those that are kept.

A delivery that was told 2xx is in one of four conditions. WAITING: its time is in ``due``. TAKEN: a courier has it,
and it may have been sent. BEHIND: an earlier one of the same order is not done. DEAD: nothing more is tried by itself.
What was delivered is gone. This module knows no store and no clock; times are in seconds since the epoch.

What is made for each delivery is a named tuple: six of them are, and a frozen dataclass takes three times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import IntEnum
from typing import NamedTuple, Protocol

from proxy.values import frozen


class Condition(IntEnum):
    """Where a kept delivery stands; the numbers are those of the stores."""

    WAITING = 0
    TAKEN = 1
    BEHIND = 2
    DEAD = 3


LIVE = (Condition.WAITING, Condition.TAKEN, Condition.BEHIND)


class Spilled(Protocol):
    """A body in an open file."""

    size: int

    def link(self, path: str) -> bool:
        """Give the file the name ``path``; False where that cannot be done, and it must be copied."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """What is in it, in order."""
        ...


class QueueError(Exception):
    """The store did not do it. The text says why, for the log."""


class QueueFullError(QueueError):
    """It holds as much as it may."""


class Parcel(NamedTuple):
    """A delivery to be kept: all that is needed to send it, days later, by another process.

    ``head`` is the head for the upstream without credentials (``queue.sealed``), ``facts`` what people look for, as
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
    spill: Spilled | None = None  # the body, where it is on a disk already

    def __repr__(self) -> str:
        return f"Parcel(id={self.id!r}, lane={self.lane!r}, size={self.size})"

    @property
    def cost(self) -> int:
        """What it counts against ``max_bytes``."""
        return OVERHEAD_BYTES + len(self.head) + self.size


#: What a row costs beside what is in it: its other columns, and its places in the indexes.
OVERHEAD_BYTES = 1024


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
    """Which kept deliveries are meant: by id, by condition, by lane or by age; what is not said counts for any."""

    ids: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    lane: str | None = None
    since: float = 0.0
    content: bool = False  # with their bodies
