"""``DeliveryKeeper``: what exchanges know of the queue. It makes a parcel of what is to be kept, and has it stored.

There is one in each process that serves a route which keeps; with it go a courier, which may be the one that delivers,
and, where another process delivers, a look at the store each second: what it holds, and what is paused. A ``Copier``
keeps the copies of deliveries that are sent themselves, beside them and never in their way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from proxy.config.settings import QueueSettings
from proxy.core import metric_families as of
from proxy.core.delivery import Deliver
from proxy.core.keeping import KeepingRelay
from proxy.core.metrics import Metrics
from proxy.core.policy import Route
from proxy.net.large_bodies import SharedSpill, SpillFile
from proxy.net.site import DeliveryQueue, Site
from proxy.queue.courier import Courier, count_lanes
from proxy.queue.lane import PROBING, Lane
from proxy.queue.opening import OpenStore, open_store
from proxy.queue.parcels import copies_of, parcel_of
from proxy.queue.records import (
    CommitStatistics,
    Counted,
    LaneCount,
    Parcel,
    QueueError,
    QueueFullError,
    QueueStore,
    Taken,
)
from proxy.reasons import Reason

log = logging.getLogger(__name__)

Told = Callable[[Reason | None, str], None]

#: How often the store is asked what it holds.
LOOK_S = 1.0
#: A probe that has told nothing for so long, because its sender hung up, is followed by another one.
PROBE_S = 10.0
#: For so long a failure of the store says that the next one fails. A balancer that believes it sends nothing more, and
#: without a delivery it is not known that the store takes one again.
FAILED_S = 10.0
#: Failures of the store, and lost copies, are told so often at most.
QUIET_S = 10.0
#: What copies that are on their way to the store may hold in all: beyond it the store does not come after.
MOST_BYTES = 32 << 20
#: And how many deliveries they may be of, each with an open file where it is large.
MOST_WAITING = 256


class Copier:
    """Of one process. ``arrived`` is told the lane of each copy that is kept.

    Nothing waits for a copy and nothing is told of it: where the store is full, fails, or does not come after, the copy
    is lost, counted and spoken of in the log.
    """

    def __init__(self, site: Site, store: QueueStore, arrived: Callable[[str], None]) -> None:
        self._site = site
        self._store = store
        self._arrived = arrived
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._quiet_until = 0.0

    def copy(self, relay: KeepingRelay, spill: SpillFile | None) -> None:
        """Keep the copies of what ``relay`` sends itself."""
        copies, size = relay.copies(), relay.gate.received
        if not copies:
            return
        lanes = [route.name for route, _ in copies]
        if len(self._tasks) >= MOST_WAITING or (self._tasks and self._bytes + size > MOST_BYTES):
            self.lost(lanes, "the store cannot keep up")
            return
        try:
            shared = spill.share() if spill is not None and spill.size else None
        except OSError as error:
            self.lost(lanes, str(error.strerror))
            return
        self._bytes += size
        parcels = copies_of(parcel_of(self._site, relay, shared), copies)
        task = self._site.loop.create_task(self._keep(parcels, shared, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lost(self, lanes: Sequence[str], why: str) -> None:
        """These were not kept."""
        for lane in lanes:
            self._site.metrics.inc(of.QUEUE_COPIES_LOST, lane)
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


class DeliveryKeeper(DeliveryQueue):
    """The queue of one process."""

    def __init__(self, site: Site, opened: OpenStore, courier: Courier) -> None:
        self.folder = opened.bodies
        self.store = opened.store
        self.courier = courier
        self.ring = opened.ring  # has the courier look at the store, in whichever process it is
        self._counted = Counted()
        self._kept_at: dict[str, float] = {}  # the last of each lane
        self._failed: tuple[str, float] | None = None  # why the store did not take the last one, and when
        self._site = site
        self._opened = opened
        self._copier = Copier(site, opened.store, self._arrived)
        self._storing: set[asyncio.Future[Taken | None]] = set()
        self._probing: dict[str, float] = {}  # since when
        self._quiet_until = 0.0
        self._looking = site.loop.create_task(self._look())

    @property
    def counted(self) -> Counted:
        """What each lane holds. The courier of this process knows it, where it delivers."""
        return self.courier.counted if self.courier.is_active else self._counted

    @property
    def failure(self) -> str:
        if self._failed is None or self._site.clock.now() - self._failed[1] > FAILED_S:
            return ""
        return self._failed[0]

    # -- for exchanges

    def keep(self, relay: KeepingRelay, spill: SpillFile | None, told: Told) -> None:
        spill = spill if spill is not None and spill.size > 0 else None
        route = relay.admit.route
        parcel = parcel_of(self._site, relay, spill, relay.kept_head)
        # What was to be sent itself has its copies already.
        copies = relay.copies() if route.copies and relay.rule.deliver is Deliver.QUEUE else ()
        also = copies_of(parcel, copies)
        self._kept_at[route.name] = self._site.clock.now()
        lane = None if also else self.courier.takes(route)
        if lane is not None:
            lane.coming += 1
        begun = self._append(parcel, also, takes=lane is not None)
        storing = begun if isinstance(begun, asyncio.Future) else asyncio.ensure_future(begun)
        self._storing.add(storing)
        storing.add_done_callback(partial(self._stored, parcel, lane, told))

    def copy(self, relay: KeepingRelay, spill: SpillFile | None) -> None:
        self._copier.copy(relay, spill)

    def holds(self, route: Route) -> bool:
        assert route.delivery is not None
        counted, name = self.counted, route.name
        count = counted.lanes.get(name, LaneCount(name))
        # Of what was kept since they were asked for the counts say nothing.
        if count.paused or (route.delivery.strict and (count.live or self._kept_at.get(name, -1.0) >= counted.at)):
            return True
        breaker = self.courier.lane_of(route).breaker
        now = self._site.clock.now()
        if not breaker.most(1, now):
            return True
        if breaker.state is not PROBING or now - self._probing.get(route.name, -PROBE_S) < PROBE_S:
            return breaker.state is PROBING
        self._probing[route.name] = now
        return False

    def tried(self, route: Route, *, well: bool) -> None:
        assert route.delivery is not None
        self._probing.pop(route.name, None)
        breaker = self.courier.lane_of(route).breaker
        if well:
            breaker.succeeded(route.delivery.concurrency)
        else:
            breaker.failed(self._site.clock.now())

    def measure(self) -> None:
        metrics = self._site.metrics
        measure_lanes(metrics, self.counted.lanes.values(), self._site.clock.wall())
        measure_commits(metrics, self.store.statistics)
        metrics.set(of.QUEUE_LIMIT, self.store.max_bytes)
        metrics.set(of.QUEUE_DURABLE, float(self.store.is_durable))

    # -- for the process

    async def close(self) -> None:
        """Let what is being kept be kept, what is out end, and close the store."""
        self._looking.cancel()
        await asyncio.gather(self._looking, *self._storing, return_exceptions=True)
        await self._copier.close()
        await self.courier.stop()
        await self._opened.close()

    # -- inside

    def _append(self, parcel: Parcel, also: list[Parcel], *, takes: bool) -> Awaitable[Any]:
        """Gives what the courier ``takes`` at once."""
        if also:
            return self._append_all(parcel, also)
        return self.store.append_taken(parcel) if takes else self.store.append([parcel])

    async def _append_all(self, parcel: Parcel, also: list[Parcel]) -> None:
        """With its copies, in one; and without them, where there is no room for all."""
        try:
            await self.store.append([parcel, *also])
        except QueueError as error:
            await self.store.append([parcel])
            self._copier.lost([one.lane for one in also], str(error) or "the store is full")
        else:
            for one in also:
                self._arrived(one.lane)

    def _stored(self, parcel: Parcel, lane: Lane | None, told: Told, storing: asyncio.Future[Taken | None]) -> None:
        self._storing.discard(storing)
        if lane is not None:
            lane.coming -= 1
        if storing.cancelled():  # the loop ends
            return
        error = storing.exception()
        if error is not None:
            told(*self._why_not(error))
            return
        self._failed = None
        self._kept_at[parcel.lane] = self._site.clock.now()
        told(None, "")
        taken = storing.result()
        if lane is not None and taken is not None:
            self.courier.take(lane, taken)
        else:
            self._arrived(parcel.lane)

    def _why_not(self, error: BaseException) -> tuple[Reason, str]:
        if isinstance(error, QueueFullError):
            self._failed = "full", self._site.clock.now()
            return Reason.QUEUE_FULL, ""
        if isinstance(error, QueueError):
            self._complain(error)
            return Reason.QUEUE_FAILED, "store"
        # A bug of ours must not leave a sender without an answer.
        self._site.loop.call_exception_handler({"message": "a delivery could not be kept", "exception": error})
        return Reason.QUEUE_FAILED, "internal_error"

    def _arrived(self, lane: str) -> None:
        if self.courier.is_active:
            self.courier.arrived(lane)
        else:
            self.ring()

    def _complain(self, error: QueueError) -> None:
        now = self._site.clock.now()
        self._failed = str(error), now
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            log.error("deliveries cannot be kept, their senders are told 503: %s", error)

    async def _look(self) -> None:
        while True:
            if not self.courier.is_active:
                with contextlib.suppress(QueueError):
                    self._counted = await count_lanes(self.store, self._site.clock)
            await asyncio.sleep(LOOK_S)


def open_keeper(site: Site, settings: QueueSettings) -> DeliveryKeeper:
    """The queue of ``settings`` for the worker of ``site``. Blocks for a moment. Raises QueueError."""
    opened = open_store(settings, site.loop)

    def lock() -> bool:
        if not opened.lock():
            return False
        opened.answer(site.loop, courier.look)
        return True

    def gone(taken: Taken) -> None:
        """A dead letter was not delivered: another try of its provider is no duplicate."""
        site.duplicates.forget(taken.parcel.keys)

    courier = Courier(site, opened.store, lock=lock, max_age_s=settings.max_age_s, gone=gone)
    keeper = DeliveryKeeper(site, opened, courier)
    courier.start()
    return keeper


def measure_lanes(metrics: Metrics, counts: Iterable[LaneCount], now: float) -> None:
    """What each lane holds. ``now`` is in seconds since the epoch."""
    counts = list(counts)
    states: dict[tuple[str, ...], float] = {(count.lane, "waiting"): count.live for count in counts}
    metrics.replace(of.QUEUE_DELIVERIES, states | {(count.lane, "dead"): count.dead for count in counts})
    oldest = {count.lane: now if count.oldest is None else count.oldest for count in counts}
    metrics.replace(of.QUEUE_OLDEST, {(lane,): max(0.0, now - since) for lane, since in oldest.items()})
    metrics.replace(of.QUEUE_PAUSED, {(count.lane,): float(count.paused) for count in counts})
    metrics.set(of.QUEUE_BYTES, sum(count.bytes for count in counts))


def measure_commits(metrics: Metrics, statistics: CommitStatistics) -> None:
    """What the writing thread has done since it was looked at last."""
    metrics.set(of.QUEUE_FAILURES, statistics.failures)
    for waiting, family in ((statistics.durations, of.QUEUE_COMMIT), (statistics.sizes, of.QUEUE_BATCH)):
        for _ in range(len(waiting)):
            metrics.observe(family, waiting.popleft())
