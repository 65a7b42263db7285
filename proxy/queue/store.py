"""What a store of kept deliveries promises, whatever it is made of. ``tests/queue/conformance.py`` holds each to it.

What ``append`` has returned from is on stable storage, whole, and is given to a courier until it is settled. All that
a store knows survives the death of every process at any moment; a power failure loses nothing that was appended.
Every call but ``close`` may raise QueueError: then nothing of it has happened, but for what was TAKEN, which may be
taken again later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from typing import Protocol

from proxy.net.clock import Clock
from proxy.queue.group_commit import CommitStatistics
from proxy.queue.records import Choice, Counted, Kept, LaneCount, Parcel, Settlement, Taken


class QueueStore(Protocol):
    """A store of kept deliveries."""

    max_bytes: int

    @property
    def is_durable(self) -> bool:
        """Whether what it has acknowledged survives a power failure, as far as it can be asked."""
        ...

    @property
    def statistics(self) -> CommitStatistics:
        """How its transactions fare."""
        ...

    def append(self, parcels: Sequence[Parcel]) -> Awaitable[object]:
        """Keep ``parcels``, all or none. Raises QueueFullError where there is no room."""
        ...

    def append_taken(self, parcel: Parcel) -> Awaitable[Taken | None]:
        """``append`` and ``take`` in one, for a courier of this process that has nothing else to do; None where the
        store cannot do both at once: then it waits to be taken.
        """
        ...

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        """Give the courier up to so many of each lane that are due, the longest due first."""
        ...

    def pieces(self, parcel: Parcel) -> Iterator[bytes]:
        """The body of a taken one, in order and in pieces. May raise QueueError, but only as one is asked for."""
        ...

    def holds(self, number: int) -> bool:
        """Whether a taken one is still this courier's: to be asked just before it is sent."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """What has become of taken ones."""

    async def give_back(self, numbers: Sequence[int]) -> None:
        """Taken ones that were not sent."""

    async def recover(self, now: float) -> int:
        """Put back what a courier had that is no more, as one attempt that was interrupted; gives how many."""
        ...

    async def counts(self, now: float) -> list[LaneCount]:
        """Each lane that holds anything, or ever did."""
        ...

    def find(self, choice: Choice) -> AsyncIterator[Kept]:
        """Those that are meant, the oldest first."""
        ...

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        """Try these again now, with a new life; gives how many there are still."""
        ...

    async def drop(self, numbers: Sequence[int]) -> int:
        """Remove these for good, but for what is TAKEN; gives how many."""
        ...

    async def pause(self, lane: str, *, paused: bool) -> None:
        """Whether nothing of a lane is taken."""

    async def expire(self, before: float) -> int:
        """Remove what was accepted before that, but for what is TAKEN; gives how many."""
        ...

    async def close(self) -> None:
        """Give everything back."""


async def count_lanes(store: QueueStore, clock: Clock) -> Counted:
    """Ask ``store`` what it holds. Raises QueueError."""
    at = clock.now()
    return Counted(at, {count.lane: count for count in await store.counts(clock.wall())})
