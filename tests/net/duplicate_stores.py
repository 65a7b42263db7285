"""What every store of duplicates must do, and a world of workers that share one.

``agree`` plays one list of moves against a store and against the table of one process. ``Workers`` are desks with one
store each: exchanges come to any of them, and what reaches the upstream is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from proxy.core.delivery import DuplicateRule, DuplicateTable, Found, Keys, keys_of
from proxy.net.clock import Clock
from proxy.net.duplicates import Duplicates, SharedStore, Ticket
from proxy.reasons import Reason

RULE = DuplicateRule(remembers=True, window_s=600.0, patience_s=9.0, hold_s=92.0)
MakeStore = Callable[[], SharedStore]


def keys(delivery: int, signature: int, scope: str = "") -> Keys:
    return keys_of(RULE, f"route{scope}", b"/", str(delivery), [bytes([signature])])


@dataclass(frozen=True)
class Move:
    what: str  # "claim", "delivered" or "released"
    delivery: int
    signature: int
    owner: int
    store: int


def moves() -> st.SearchStrategy[list[Move]]:
    small = st.integers(0, 2)
    words = st.sampled_from(["claim", "claim", "delivered", "released"])
    return st.lists(st.builds(Move, words, small, small, small, st.integers(0, 1)), max_size=30)


async def agree(stores: list[SharedStore], plan: list[Move], scope: str) -> None:
    """Two processes and their store say what one process by itself would."""
    table = DuplicateTable(1000)
    for move in plan:
        one, owner, store = keys(move.delivery, move.signature, scope), str(move.owner), stores[move.store]
        if move.what == "claim":
            expected = table.claim(one, owner, 0.0, hold_s=RULE.hold_s, past=True)
            found = await store.claim(one, owner, hold_s=RULE.hold_s, past=True)
            assert (found.found, found.status) == (expected.found, expected.status), move
            assert found.found is not Found.IN_FLIGHT or found.owner == expected.owner
        elif move.what == "delivered":
            table.delivered(one, owner, 200 + move.signature, 0.0, RULE.keep_s)
            await store.delivered(one, owner, 200 + move.signature, RULE.keep_s)
        else:
            table.released(one, owner)
            await store.released(one, owner)


async def check_flight_only(store: SharedStore) -> None:
    """Where what was delivered does not count, it counts for those who wait."""
    one = keys(7, 7, "flight")
    assert (await store.claim(one, "a", hold_s=9.0, past=False)).found is Found.NEW
    assert (await store.claim(one, "b", hold_s=9.0, past=False)).found is Found.IN_FLIGHT
    await store.delivered(one, "a", 202, 9.0)
    assert (await store.claim(one, "b", hold_s=9.0, past=True)).status == 202
    assert (await store.claim(one, "c", hold_s=9.0, past=False)).found is Found.NEW
    assert (await store.claim(one, "d", hold_s=9.0, past=True)).found is Found.IN_FLIGHT


async def check_learning(store: SharedStore) -> None:
    """A new signature of a known id is known from then on; a new id of a known signature is not."""
    first = keys(20, 20, "learn")
    await store.delivered(first, "a", 204, 60.0)
    again = keys(20, 21, "learn")
    assert (await store.claim(again, "b", hold_s=9.0, past=True)).status == 204
    assert (await store.claim(keys(22, 21, "learn"), "c", hold_s=9.0, past=True)).status == 204
    assert (await store.claim(keys(22, 23, "learn"), "d", hold_s=9.0, past=True)).found is Found.NEW


@dataclass
class Attempt:
    """An exchange that wants to deliver; ``answer`` is what came of its claim, None while it waits."""

    delivery: int
    signature: int
    ticket: Ticket | None = None
    answer: tuple[Reason, int] | str | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, reason: Reason | None, status: int) -> None:
        self.answer = "granted" if reason is None else (reason, status)
        self.answered.set()


class Worker:
    """One process's desk."""

    _count = 0

    def __init__(self, store: SharedStore | None, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.clock = Clock(loop)
        self.desk = Duplicates(loop, self.clock)
        self.desk.store = store
        self.name = name

    def come(
        self, delivery: int, signature: int, *, patience_s: float = 0.0, rule: DuplicateRule = RULE, scope: str = ""
    ) -> Attempt:
        """A verified delivery."""
        attempt = Attempt(delivery, signature)
        Worker._count += 1
        one = keys_of(rule, f"route{scope}", b"/", str(delivery), [bytes([signature])])
        attempt.ticket = Ticket(
            self.desk, rule, one, attempt.told, owner=f"{self.name}{Worker._count}", until=self.clock.now() + patience_s
        )
        attempt.ticket.ask()
        return attempt

    async def settled(self) -> None:
        while self.desk._tasks:
            await asyncio.wait(self.desk._tasks)
        await asyncio.sleep(0)


async def answered(attempt: Attempt) -> tuple[Reason, int] | str | None:
    async with asyncio.timeout(10.0):
        await attempt.answered.wait()
    return attempt.answer
