"""Duplicates of deliveries, as exchanges meet them: one ticket for each delivery that has proved itself.

A ticket claims the keys of its delivery and tells its exchange what came of it: go on, or why not. One that finds the
same delivery in flight waits for its outcome, as long as its own provider waits for an answer. The table of this
process is asked first, always, and answers without a task or a turn of the loop; a store that several processes share
is asked only for what is new here. Where that store fails, the route's exchanges go by this process's memory alone, or
are refused (``admits_blind``): this module knows no SQL and no Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Protocol

from proxy.core.delivery import Claim, DuplicateRule, DuplicateTable, Found, Keys, recorded
from proxy.net.clock import NEVER, Clock
from proxy.reasons import Reason

log = logging.getLogger(__name__)

#: Entries of the table where nothing else is said; about 250 bytes each.
MAX_ENTRIES = 100_000
#: What another process has in flight is asked for again after this long, doubling up to the second figure.
POLL_FIRST_S = 0.02
POLL_MOST_S = 0.25
#: One call of a store, all of it: its turn among others, connecting, waiting for a lock. A delivery waits for it, so it
#: is short; a store that is slower is as good as down.
CALL_S = 1.0
#: A store that failed is left alone this long, and then asked by one delivery: its time-out must not be added to all.
BREAK_S = 1.0
#: A store that is slow fails again and again: so long after it was said, it is not said again.
QUIET_S = 60.0
#: What could not be told to the store is told again after these times.
RETRIES_S = (0.2, 1.0, 5.0)
#: At the end of the process, how long outcomes may take to reach the store.
CLOSE_S = 2.0


class StoreError(Exception):
    """The store cannot be asked. The message has no secret in it."""


class SharedStore(Protocol):
    """What several processes know together. Times are seconds from now; every call may raise StoreError."""

    async def claim(self, keys: Keys, owner: str, *, hold_s: float, past: bool) -> Claim:
        """As ``DuplicateTable.claim``; ``owner`` and ``learned`` of the answer need not be set."""

    async def delivered(self, keys: Keys, owner: str, status: int, keep_s: float) -> None:
        """As ``DuplicateTable.delivered``."""

    async def released(self, keys: Keys, owner: str) -> None:
        """As ``DuplicateTable.released``."""

    async def close(self) -> None:
        """Give up its connections; never raises."""


class Stage(Enum):
    """Where a ticket stands."""

    ASKING = "asking"  # this process's, not yet known to be ours among all
    WAITING = "waiting"  # another exchange of this process has it
    HELD = "held"
    OVER = "over"


ASKING = Stage.ASKING
WAITING = Stage.WAITING
HELD = Stage.HELD
OVER = Stage.OVER


class Duplicates:
    """What one worker knows of its deliveries, and the store it shares with others, if any."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, *, max_entries: int = MAX_ENTRIES) -> None:
        self.loop = loop
        self.clock = clock
        self.table = DuplicateTable(max_entries)
        self.store: SharedStore | None = None
        self.admits_blind = True
        self.failures = 0
        self._broken_at = self._broken_until = NEVER  # since when, and until when it is left alone; NEVER: it works
        self._told = False  # that it fails
        self._quiet_until = 0.0
        self._untold = 0  # failures since the last time
        self._waiting: dict[str, list[Ticket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- for tickets

    def wait(self, owner: str, ticket: Ticket) -> None:
        """Look again when ``owner`` knows its outcome."""
        self._waiting.setdefault(owner, []).append(ticket)

    def leave(self, owner: str, ticket: Ticket) -> None:
        """Wait no longer."""
        waiting = self._waiting.get(owner, [])
        if ticket in waiting:
            waiting.remove(ticket)
        if not waiting:
            self._waiting.pop(owner, None)

    def wake(self, owner: str) -> None:
        """``owner`` knows its outcome."""
        for ticket in self._waiting.pop(owner, ()):
            # In a turn of its own: each may claim, deliver, fail and so wake the next.
            self.loop.call_soon(ticket.look_again)

    def run(self, work: Coroutine[object, object, None]) -> None:
        """Do ``work`` beside everything else."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, keys: Keys, owner: str, *, hold_s: float, past: bool) -> Claim | None:
        """What the store says; None where it cannot be asked."""
        assert self.store is not None
        begun = self.clock.now()
        if self._broken_until is not NEVER:
            if begun < self._broken_until:
                self.failures += 1
                return None
            self._broken_until = begun + BREAK_S  # for all others, until this one knows
        try:
            claim = await self.store.claim(keys, owner, hold_s=hold_s, past=past)
        except StoreError as error:
            self._failed(error)
            return None
        self._answered(begun)
        return claim

    async def tell(self, call: Callable[[], Awaitable[None]]) -> None:
        """Make ``call``, a few times if need be."""
        for pause_s in RETRIES_S:
            begun = self.clock.now()
            try:
                await call()
            except StoreError as error:
                self._failed(error)
                await asyncio.sleep(pause_s)
            else:
                self._answered(begun)
                return

    def _failed(self, error: StoreError) -> None:
        now = self._broken_at = self.clock.now()
        self._broken_until = now + BREAK_S
        self.failures += 1
        self._untold += 1
        if self._told or now < self._quiet_until:
            return
        so = "go by this process's own memory" if self.admits_blind else "are refused"
        times = f"{self._untold} times, {error}" if self._untold > 1 else error
        log.warning("the store of duplicates fails (%s): until it answers, deliveries %s", times, so)
        self._told, self._untold, self._quiet_until = True, 0, now + QUIET_S

    def _answered(self, begun: float) -> None:
        """A call that had begun before another failed says nothing new."""
        if self._broken_until is NEVER or begun < self._broken_at:
            return
        self._broken_at = self._broken_until = NEVER
        if self._told:
            self._told = False
            log.info("the store of duplicates answers again")

    def forget(self, keys: tuple[bytes, ...]) -> None:
        """What was taken for delivered is not, in the end: it may come again."""
        store = self.store
        self.table.forget(keys)
        if store is not None and keys:
            self.run(self.tell(lambda: store.delivered(Keys(keys, keys), "", 200, 0.0)))

    # -- for the worker

    async def close(self) -> None:
        """Let the outcomes reach the store, and close it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.store is not None:
            await self.store.close()


class Ticket:
    """One delivery among its duplicates. ``ask`` once; then ``delivered`` where the upstream took it; ``release``
    always, at the end: it does nothing where the outcome is known already.
    """

    __slots__ = ("_desk", "_first", "_keys", "_owner", "_rule", "_stage", "_timer", "_told", "_until")

    def __init__(
        self,
        desk: Duplicates,
        rule: DuplicateRule,
        keys: Keys,
        told: Callable[[Reason | None, int], None],
        *,
        owner: str,
        until: float,
    ) -> None:
        """``owner`` is a name that no other exchange has, anywhere; ``until`` is the clock's time to wait until.
        ``told`` is called once, at once or later: with None where the delivery is ours to make, else with the reason
        and the status to answer.
        """
        self._desk = desk
        self._rule = rule
        self._keys = keys
        self._owner = owner
        self._until = until
        self._told = told
        self._stage = ASKING
        self._first = ""  # whose outcome we wait for
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_held(self) -> bool:
        """Whether the delivery is ours to make."""
        return self._stage is HELD

    def ask(self) -> None:
        """Claim the delivery."""
        self._look(past=self._rule.remembers)

    def delivered(self, status: int, *, may_be_forgotten: bool = False) -> None:
        """The upstream took it; or ``may_be_forgotten``: it is kept, and another process may learn that it is not
        delivered in the end. Then only what all share remembers it.
        """
        if self._stage is not HELD:
            return
        self._stage = OVER
        desk, rule, status = self._desk, self._rule, recorded(status)
        if may_be_forgotten and desk.store is not None:
            desk.table.released(self._keys, self._owner)
        else:
            desk.table.delivered(self._keys, self._owner, status, desk.clock.now(), rule.keep_s)
        self._tell_delivered(self._keys, status)
        desk.wake(self._owner)

    def release(self) -> None:
        """The exchange is over. What was not delivered may come again."""
        stage, self._stage = self._stage, OVER
        self._stop_timer()
        if stage is WAITING:
            self._desk.leave(self._first, self)
        elif stage is not OVER:
            self._give_back()
            if stage is HELD:
                self._tell_released()

    def look_again(self) -> None:
        """The exchange that we waited for is over: now what it delivered counts, whatever the rule."""
        if self._stage is WAITING:
            self._look(past=True)

    # -- inside

    def _look(self, *, past: bool) -> None:
        desk = self._desk
        now = desk.clock.now()
        claim = desk.table.claim(self._keys, self._owner, now, hold_s=self._rule.hold_s, past=past)
        if claim.found is Found.NEW:
            self._stage = ASKING
            if desk.store is None:
                self._granted()
            else:
                desk.run(self._ask_store(past=past))
        elif claim.found is Found.DELIVERED:
            if claim.learned:
                self._tell_delivered(Keys(self._keys.proven, self._keys.proven), claim.status)
            self._refused(Reason.DUPLICATE_DELIVERED, claim.status)
        elif now >= self._until:
            self._refused(Reason.DUPLICATE_IN_FLIGHT)
        else:
            self._wait_for(claim.owner, now)

    def _wait_for(self, owner: str, now: float) -> None:
        self._stage = WAITING
        self._first = owner
        self._desk.wait(owner, self)
        if self._timer is None:
            self._timer = self._desk.loop.call_later(self._until - now, self._waited_enough)

    def _waited_enough(self) -> None:
        if self._stage is WAITING:
            self._desk.leave(self._first, self)
            self._refused(Reason.DUPLICATE_IN_FLIGHT)

    async def _ask_store(self, *, past: bool) -> None:
        try:
            await self._converse(past=past)
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not leave a client without an answer
            desk = self._desk
            desk.loop.call_exception_handler({"message": "internal error about a duplicate", "exception": bug})
            self.release()
            self._told(Reason.INTERNAL_ERROR, 500)

    async def _converse(self, *, past: bool) -> None:
        desk = self._desk
        pause_s = POLL_FIRST_S
        while self._stage is ASKING:
            claim = await desk.ask(self._keys, self._owner, hold_s=self._rule.hold_s, past=past)
            if self._stage is not ASKING:
                if claim is not None and claim.found is Found.NEW:
                    self._tell_released()
            elif claim is None:
                self._unknown()
            elif claim.found is Found.NEW:
                self._granted()
            elif claim.found is Found.DELIVERED:
                self._lost(Reason.DUPLICATE_DELIVERED, claim.status)
            elif desk.clock.now() + pause_s > self._until:
                self._lost(Reason.DUPLICATE_IN_FLIGHT)
            else:
                past = True
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, POLL_MOST_S)

    def _unknown(self) -> None:
        if self._desk.admits_blind:
            self._granted()
        else:
            self._lost(Reason.OVERLOADED)

    def _granted(self) -> None:
        self._stage = HELD
        self._stop_timer()
        self._told(None, 0)

    def _lost(self, reason: Reason, status: int = 0) -> None:
        self._give_back()
        self._refused(reason, status)

    def _refused(self, reason: Reason, status: int = 0) -> None:
        self._stage = OVER
        self._stop_timer()
        self._told(reason, status or reason.status or 0)

    def _give_back(self) -> None:
        self._desk.table.released(self._keys, self._owner)
        self._desk.wake(self._owner)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell_delivered(self, keys: Keys, status: int) -> None:
        store, owner, keep_s = self._desk.store, self._owner, self._rule.keep_s
        if store is not None:
            self._desk.run(self._desk.tell(lambda: store.delivered(keys, owner, status, keep_s)))

    def _tell_released(self) -> None:
        store, keys, owner = self._desk.store, self._keys, self._owner
        if store is not None:
            self._desk.run(self._desk.tell(lambda: store.released(keys, owner)))
