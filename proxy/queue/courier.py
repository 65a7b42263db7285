"""``Courier``: sends what is kept. Of all processes that have a store open one does, and where it ends another goes on.

Theory of operation. The store says what is due, a ``Lane`` for each route what may go, an ``Attempt`` what came of it.
One loop fetches, as much as lanes want and a little ahead; whatever ends wakes the loop. What has come of attempts is
written in the background and in batches (``Settling``), so that the next delivery does not wait for the note of the
last one. Until it is written, nothing is lost, for what is TAKEN and not settled when the process ends is tried again.
So a delivery may arrive twice where a process ends between the two, and only there, or where an answer was lost on its
way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from proxy.core.delivery import DeliveryRule
from proxy.core.metric_families import QUEUE_ATTEMPTS
from proxy.core.policy import Policy, Route
from proxy.net.admission import Turnstile
from proxy.net.clock import Clock
from proxy.net.site import Site
from proxy.queue.attempt import Attempt, record_of
from proxy.queue.lane import Lane, LaneTurns
from proxy.queue.records import Condition, Counted, LaneCount, QueueError, QueueStore, Settlement, Taken, stray_notes

log = logging.getLogger(__name__)

#: The store is asked so often at least for what others have brought.
LOOK_MOST_S = 1.0
#: While another process is the courier, it is tried so often whether that has ended.
LOCK_S = 0.5
#: After a failure of the store.
AGAIN_S = 1.0
#: How often what is too old is looked for.
EXPIRE_EVERY_S = 600.0
#: At the end, attempts under way get this long; then they are cut, and tried again by the next process.
STOP_S = 5.0


async def count_lanes(store: QueueStore, clock: Clock) -> Counted:
    """Ask ``store`` what it holds. Raises QueueError."""
    at = clock.now()
    return Counted(at, {count.lane: count for count in await store.counts()})


class Settling:
    """What has come of attempts and is not written yet. ``written`` is called after each batch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: QueueStore, written: Callable[[], None]) -> None:
        self._loop = loop
        self._store = store
        self._written = written
        self._settlements: list[Settlement] = []
        self._task: asyncio.Task[None] | None = None
        self._ends = False

    def add(self, settlement: Settlement) -> None:
        """Have this written, too."""
        self._settlements.append(settlement)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def end(self) -> None:
        """Write what is left, once more. Raises QueueError."""
        self._ends = True
        if self._task is not None:
            await self._task
        await self._write()

    async def _run(self) -> None:
        try:
            while self._settlements:
                try:
                    await self._write()
                except QueueError as error:
                    log.warning("outcomes of deliveries cannot be written, so these may arrive again: %s", error)
                    if self._ends:
                        return
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._task = None

    async def _write(self) -> None:
        batch, self._settlements = self._settlements, []
        if not batch:
            return
        try:
            await self._store.settle(batch)
        except QueueError:
            self._settlements = batch + self._settlements
            raise
        self._written()


class Courier:
    """The courier of one process. ``lock`` tries to become the only one; ``gone`` is told of each that has died."""

    def __init__(
        self,
        site: Site,
        store: QueueStore,
        *,
        lock: Callable[[], bool],
        max_age_s: float,
        gone: Callable[[Taken], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._site = site
        self._store = store
        self._lock = lock
        self._max_age_s = max_age_s
        self._gone = gone
        self._chance = chance
        self.is_active = False
        self.lanes: dict[str, Lane] = {}
        self._turns: dict[str, LaneTurns] = {}  # of lanes whose route's exchanges take turns as well
        self.counted = Counted()
        self._strays = StrayWatch()
        self._known_by: Policy | None = None
        self._keeping: dict[str, Route] = {}  # where lanes go, of that policy
        self._woken = asyncio.Event()
        self._out: dict[Attempt, Turnstile | None] = {}  # and what each has gone through
        self._settling = Settling(site.loop, store, self._settled)
        self._looked = self._expired = 0.0
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin, once the lock is had."""
        self._task = self._site.loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Send nothing more, wait a moment for what is out, and write what has come of it."""
        self._stopping = True
        self._woken.set()
        if self._task is None:
            return
        if not self.is_active:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self.is_active:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                while self._out:
                    self._woken.clear()
                    await self._woken.wait()
        for attempt in list(self._out):
            attempt.abandon()
        back = [taken.number for lane in self.lanes.values() for taken in lane.take_back()]
        with contextlib.suppress(QueueError):
            await self._settling.end()
            await self._store.give_back(back)
        self.is_active = False

    # -- told by others

    def arrived(self, lane: str) -> None:
        """The store has something new for ``lane``."""
        if lane in self.lanes:
            self.lanes[lane].may_have_more = True
            self._woken.set()
        else:
            self.look()  # which makes its lane

    def look(self) -> None:
        """Another process has changed something."""
        self._looked = -math.inf
        self._woken.set()

    def takes(self, route: Route) -> Lane | None:
        """The lane, where what is being kept for ``route`` may go at once, before the store is asked."""
        if not self.is_active or self._stopping:
            return None
        lane = self.lane_of(route)
        return lane if lane.is_idle else None

    def take(self, lane: Lane, taken: Taken) -> None:
        """Send this, which was kept a moment ago, with the others of its transaction."""
        lane.ready.append(taken)
        if not lane.is_called:
            lane.is_called = True
            self._site.loop.call_soon(self._send, lane)

    def lane_of(self, route: Route) -> Lane:
        """The lane of a route that keeps."""
        assert route.delivery is not None
        lane = self.lanes.get(route.name)
        if lane is None:
            lane = self.lanes[route.name] = Lane(route.name, route.delivery)
        lane.rule = route.delivery
        return lane

    # -- the loop

    async def _run(self) -> None:
        while not self._lock():
            await self._wait(LOCK_S)
        while not self._stopping:
            try:
                if not self.is_active:
                    if found := await self._store.recover(self._site.clock.wall()):
                        log.warning("%d deliveries were under way when a process ended: they are tried again", found)
                    await self._look()
                    self.is_active = True
                await self._round()
                await self._wait(self._wakes_in())
            except QueueError as error:
                log.warning("the queue cannot be read: %s", error)
                await self._wait(AGAIN_S)

    async def _round(self) -> None:
        clock = self._site.clock
        if clock.now() - self._looked >= LOOK_MOST_S:
            await self._look()
        wanted = {}
        now, wall = clock.now(), clock.wall()
        for name, lane in self.lanes.items():
            if self._use(lane) and (wants := lane.wants(now, wall)):
                wanted[name] = wants
                lane.fetching()
        if wanted:
            by_lane: dict[str, list[Taken]] = {name: [] for name in wanted}
            for taken in await self._store.take(wanted, wall):
                by_lane[taken.parcel.lane].append(taken)
            for name, found in by_lane.items():
                self.lanes[name].fetched(found, wanted[name])
        for lane in self.lanes.values():
            self._send(lane)

    async def _look(self) -> None:
        """Ask the store what there is: others bring something, pause and replay, too."""
        wall = self._site.clock.wall()
        self._looked = self._site.clock.now()
        if self._looked - self._expired >= EXPIRE_EVERY_S or not self._expired:
            self._expired = self._looked
            if found := await self._store.expire(wall - self._max_age_s):
                log.warning("%d kept deliveries were older than max_age, and are removed", found)
        self.counted = await count_lanes(self._store, self._site.clock)
        self._strays.look(self._site.policy, self.counted.lanes.values())
        for count in self.counted.lanes.values():
            if (route := self._route(count.lane)) is not None:
                self.lane_of(route).counted(count, wall)

    def _wakes_in(self) -> float:
        now, wall = self._site.clock.now(), self._site.clock.wall()
        times = [lane.wakes_in(now, wall) for lane in self.lanes.values()]
        soon = min((time for time in times if time is not None), default=LOOK_MOST_S)
        if any(lane.wants(now, wall) for lane in self.lanes.values()):
            return 0.0
        return min(soon, max(0.0, LOOK_MOST_S - (now - self._looked)))

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._woken.wait()
        self._woken.clear()

    # -- lanes

    def _route(self, lane: str) -> Route | None:
        policy = self._site.policy
        if policy is not self._known_by:
            self._known_by = policy
            self._keeping = destinations(policy)
        return self._keeping.get(lane)

    def _use(self, lane: Lane) -> bool:
        """Whether the lane has a route still; its rule may be another since a reload."""
        route = self._route(lane.name)
        if route is not None and route.delivery is not None:
            lane.rule = route.delivery
            lane.away = not self._site.pool.present(route.upstream)
        return route is not None

    def _send(self, lane: Lane) -> None:
        route = self._route(lane.name)
        turns = self._turns_of(lane, route)
        now, lane.in_line, lane.is_called = self._site.clock.now(), False, False
        while route is not None and not self._stopping and lane.may_send(now):
            if turns is not None and not turns.take():
                lane.in_line = True
                return
            self._send_one(lane, route, now, None if turns is None else turns.turnstile)
        if turns is not None:
            turns.give_up()

    def _send_one(self, lane: Lane, route: Route, now: float, turnstile: Turnstile | None) -> None:
        taken = lane.next(now)
        if not self._store.holds(taken.number):
            lane.out -= 1
            if turnstile is not None:
                turnstile.leave()
            return
        attempt = Attempt(self._site, route, taken, body=self._store.pieces(taken.parcel), told=self._told)
        self._out[attempt] = turnstile
        attempt.start()

    def _turns_of(self, lane: Lane, route: Route | None) -> LaneTurns | None:
        """Those of the lane, where its route's exchanges take turns: with its figures as of now."""
        turnstile = None if route is None else self._site.turnstiles.of(route)
        turns = self._turns.get(lane.name)
        if turns is not None and turns.turnstile is not turnstile:
            self._turns.pop(lane.name).give_up()
            turns = None
        if turnstile is not None and turns is None:
            wake = partial(self._site.loop.call_soon, self._send, lane)
            turns = self._turns[lane.name] = LaneTurns(turnstile, wake)
        return turns

    # -- what has come of attempts

    def _told(self, attempt: Attempt) -> None:
        turnstile = self._out.pop(attempt, None)
        if turnstile is not None:
            turnstile.leave()
        lane, last, site = self.lanes[attempt.taken.parcel.lane], attempt.last, self._site
        assert last is not None
        now, wall, chance = site.clock.now(), site.clock.wall(), self._chance()
        settlement = lane.ended(attempt.taken, last, now=now, wall=wall, chance=chance, asked_s=attempt.asked_s)
        self._settling.add(settlement)
        record = record_of(attempt, settlement)
        site.log.write(record)
        site.metrics.inc(QUEUE_ATTEMPTS, record.route, record.outcome)
        if settlement.condition is Condition.DEAD:
            self._gone(attempt.taken)
        if lane.ready:
            self._send(lane)
        # In the common case nothing waits for the loop: then it is left alone, which costs less than all else here.
        if lane.may_have_more or lane.ready or settlement.condition is not None or self._stopping:
            self._woken.set()

    def _settled(self) -> None:
        for lane in self.lanes.values():
            if lane.rule.strict and not lane.out:
                lane.may_have_more = True  # the next of an order may go
                self._woken.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._site.loop.call_exception_handler({"message": "the courier has failed", "exception": bug})


# -- Kept deliveries whose route keeps no more. Where there is a route of the name still, they are delivered to its
# upstream, by the rule that a route has which says nothing of its delivery. Where there is none, they stay as they are:
# until there is one again, until they are dropped, or until they are older than ``max_age``.


def destinations(policy: Policy) -> dict[str, Route]:
    """What may be delivered, by the names of lanes: of routes that keep, of copies, and of routes that keep no more."""
    direct = {route.name: replace(route, delivery=DeliveryRule()) for route in policy.routes}
    return direct | policy.lanes()


class StrayWatch:
    """Tells of them in the log, once with each load of the configuration."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._told: set[str] = set()

    def look(self, policy: Policy, counts: Iterable[LaneCount]) -> None:
        """Say what was not said yet."""
        if policy is not self._policy:
            self._policy = policy
            self._told.clear()
        for one in counts:
            for note in stray_notes([one], policy, None) if one.lane not in self._told else ():
                self._told.add(one.lane)
                log.warning("%s", note)
