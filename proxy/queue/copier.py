"""``Copier``: keeps the copies of deliveries that are sent themselves, beside them and never in their way.

Nothing waits for a copy and nothing is told of it: where the store is full, fails, or does not come after, the copy is
lost, counted and spoken of in the log. The courier delivers what is kept, of each copy in a lane of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from proxy.core.keeping import KeepingRelay
from proxy.core.metric_families import QUEUE_COPIES_LOST
from proxy.core.policy import Route
from proxy.net.site import Site
from proxy.net.spill import SharedSpill, SpillFile
from proxy.queue.records import Parcel, QueueError, Spilled
from proxy.queue.sealed import seal
from proxy.queue.store import QueueStore
from proxy.queue.telling import Telling, tell

log = logging.getLogger(__name__)

#: What copies that are on their way to the store may hold in all: beyond it the store does not come after.
MOST_BYTES = 32 << 20
#: And how many deliveries they may be of, each with an open file where it is large.
MOST_WAITING = 256
#: Lost ones are told so often at most.
QUIET_S = 10.0


class Copier:
    """Of one process. ``arrived`` is told the lane of each copy that is kept."""

    def __init__(self, site: Site, store: QueueStore, arrived: Callable[[str], None]) -> None:
        self._site = site
        self._store = store
        self._arrived = arrived
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._quiet_until = 0.0

    def copy(self, relay: KeepingRelay, spill: SpillFile | None) -> None:
        """Keep the copies of what ``relay`` sends itself."""
        copies = relay.copies()
        if not copies:
            return
        size = relay.gate.received
        if len(self._tasks) >= MOST_WAITING or (self._tasks and self._bytes + size > MOST_BYTES):
            self.lost([route.name for route, _ in copies], "the store cannot keep up")
            return
        try:
            shared = spill.share() if spill is not None and spill.size else None
        except OSError as error:
            self.lost([route.name for route, _ in copies], str(error.strerror))
            return
        self._bytes += size
        parcels = parcels_of(self._site, relay, copies, told_of(relay, shared), shared)
        task = self._site.loop.create_task(self._keep(parcels, shared, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lost(self, lanes: Sequence[str], why: str) -> None:
        """These were not kept."""
        for lane in lanes:
            self._site.metrics.inc(QUEUE_COPIES_LOST, lane)
        now = self._site.clock.now()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            log.error("copies are lost, the deliveries themselves go on: %s: %s", ", ".join(lanes), why)

    async def close(self) -> None:
        """Let what is being kept be kept."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, parcels: list[Parcel], shared: SharedSpill | None, size: int) -> None:
        try:
            await self._store.append(parcels)
        except QueueError as error:
            self.lost([parcel.lane for parcel in parcels], str(error) or "the store is full")
        else:
            for parcel in parcels:
                self._arrived(parcel.lane)
        finally:
            self._bytes -= size
            if shared is not None:
                shared.close()


def told_of(relay: KeepingRelay, spill: Spilled | None) -> Telling:
    """What the delivery of ``relay`` and its copies are told by."""
    return tell(relay, None if spill is not None else relay.body)


def parcel_of(
    site: Site,
    relay: KeepingRelay,
    route: Route,
    head: bytes,
    told: Telling,
    *,
    name: str,
    spill: Spilled | None,
    is_copy: bool = False,
) -> Parcel:
    """What is kept under ``name`` of ``relay``'s delivery, for ``route`` or one of its copies; ``head`` is sealed."""
    return Parcel(
        id=name,
        lane=route.name,
        accepted=site.clock.wall(),
        head=head,
        body=None if spill is not None else relay.body,
        size=relay.gate.received,
        facts=told.facts,
        order=told.order,
        same=told.same,
        keys=() if is_copy else relay.keys.every,
        attempts=0 if is_copy else relay.attempts,
        spill=spill,
    )


def name_of(site: Site, relay: KeepingRelay) -> str:
    """The name to keep it under. The id of a trusted proxy may come twice."""
    return site.new_request_id() if relay.arrival.trusted else relay.record.request_id


def parcels_of(
    site: Site, relay: KeepingRelay, copies: Sequence[tuple[Route, bytes]], told: Telling, spill: Spilled | None
) -> list[Parcel]:
    """The parcels of ``copies``. One without a secret of its own never has the token of the route."""
    name, found = name_of(site, relay), []
    for number, (route, head) in enumerate(copies, 1):
        own = route.delivery is not None and route.delivery.resign
        sealed = seal(head, route, leaves_token=own)
        copy = f"{name}-copy{number}"
        found.append(parcel_of(site, relay, route, sealed, told, name=copy, spill=spill, is_copy=True))
    return found
