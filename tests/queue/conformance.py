"""What every store of kept deliveries promises, as checks that take a store: each is called with one that is empty."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.queue.records import (
    Choice,
    Condition,
    Kept,
    LaneCount,
    Parcel,
    QueueError,
    QueueFullError,
    QueueStore,
    Settlement,
    Taken,
    Try,
)

NOW = 1_700_000_000.0
FAILED = Try(NOW, 503, "upstream_unreachable", "", 0.5, "http://127.0.0.1:8000")
OK = Try(NOW, 200, "delivered")
Check = Callable[[QueueStore], Awaitable[None]]
#: What ``conforming`` stores are opened with.
MAX_BYTES = 4 << 20


def parcel(
    name: str, lane: str = "hook", *, at: float = NOW, body: bytes = b"body", order: str = "", same: str = ""
) -> Parcel:
    facts = {"event": "push", "path": "/hook"}
    return Parcel(name, lane, at, b"POST /hook HTTP/1.1\r\nHost: h\r\n\r\n", body, len(body), facts, order, same)


async def take(store: QueueStore, most: int = 10, *, lane: str = "hook", now: float = NOW) -> list[Taken]:
    return await store.take({lane: most}, now)


async def names(store: QueueStore, choice: Choice = Choice()) -> list[str]:  # noqa: B008 - it never changes
    return [kept.parcel.id async for kept in store.find(choice)]


async def only(store: QueueStore, name: str) -> Kept:
    [kept] = [kept async for kept in store.find(Choice(ids=(name,)))]
    return kept


async def count(store: QueueStore, lane: str = "hook") -> LaneCount:
    return next((one for one in await store.counts() if one.lane == lane), LaneCount(lane))


def delivered(taken: Taken) -> Settlement:
    return Settlement(taken.number, None, OK)


def failed(taken: Taken, due: float) -> Settlement:
    return Settlement(taken.number, Condition.WAITING, FAILED, due)


def died(taken: Taken) -> Settlement:
    return Settlement(taken.number, Condition.DEAD, FAILED)


async def keeps_what_it_is_given(store: QueueStore) -> None:
    body = bytes(range(256)) * 10
    await store.append([parcel("a", body=body)])
    [one] = await take(store)
    assert b"".join(store.pieces(one.parcel)) == body
    assert (one.parcel.id, one.parcel.lane, one.parcel.accepted, one.parcel.size) == ("a", "hook", NOW, len(body))
    assert one.parcel.head == parcel("a").head
    assert one.parcel.facts == {"event": "push", "path": "/hook"}
    assert (one.attempts, one.begun) == (0, NOW)


async def keeps_large_bodies(store: QueueStore) -> None:
    body = b"0123456789abcdef" * 50_000
    await store.append([parcel("large", body=body)])
    [one] = await take(store)
    assert b"".join(store.pieces(one.parcel)) == body
    await store.settle([delivered(one)])
    assert await names(store) == []


async def keeps_the_keys(store: QueueStore) -> None:
    keys = (b"a" * 16, b"b" * 16)
    await store.append([Parcel("a", "hook", NOW, b"h", b"", 0, keys=keys)])
    assert (await take(store))[0].parcel.keys == keys


async def gives_each_to_one_courier(store: QueueStore) -> None:
    await store.append([parcel(f"d{n}") for n in range(5)])
    first, second = await take(store, 3), await take(store, 3)
    assert [one.parcel.id for one in first + second] == ["d0", "d1", "d2", "d3", "d4"]
    assert await take(store) == []


async def gives_what_is_due_the_longest_due_first(store: QueueStore) -> None:
    await store.append([parcel("late", at=NOW + 5), parcel("early", at=NOW - 5), parcel("now")])
    assert [one.parcel.id for one in await take(store)] == ["early", "now"]
    assert [one.parcel.id for one in await take(store, now=NOW + 5)] == ["late"]


async def keeps_lanes_apart(store: QueueStore) -> None:
    await store.append([parcel("a", "one"), parcel("b", "two")])
    assert [one.parcel.id for one in await store.take({"one": 5}, NOW)] == ["a"]
    assert [one.parcel.id for one in await store.take({"one": 5, "two": 5}, NOW)] == ["b"]


async def tries_again_when_due(store: QueueStore) -> None:
    await store.append([parcel("a")])
    [one] = await take(store)
    await store.settle([failed(one, NOW + 60)])
    assert await take(store, now=NOW + 59) == []
    [again] = await take(store, now=NOW + 60)
    assert again.attempts == 1
    kept = await only(store, "a")
    assert kept.tries == (FAILED,)


async def forgets_what_was_delivered(store: QueueStore) -> None:
    await store.append([parcel("a"), parcel("b")])
    one, _ = await take(store)
    await store.settle([delivered(one)])
    assert await names(store) == ["b"]
    found = await count(store)
    assert (found.live, found.accepted, found.delivered, found.bytes) == (1, 2, 1, parcel("b").cost)


async def keeps_the_dead_with_their_history(store: QueueStore) -> None:
    await store.append([parcel("a")])
    [one] = await take(store)
    await store.settle([failed(one, NOW)])
    [one] = await take(store)
    await store.settle([died(one)])
    assert await take(store, now=NOW + 1e6) == []
    kept = await only(store, "a")
    assert (kept.condition, kept.attempts, kept.tries) == (Condition.DEAD, 2, (FAILED, FAILED))
    found = await count(store)
    assert (found.live, found.dead, found.died) == (0, 1, 1)


async def replays_the_dead(store: QueueStore) -> None:
    await store.append([parcel("a")])
    [one] = await take(store)
    await store.settle([died(one)])
    assert await store.replay([one.number], NOW + 1000) == 1
    assert await store.replay([one.number + 99], NOW) == 0
    [again] = await take(store, now=NOW + 1000)
    assert (again.attempts, again.begun) == (1, NOW + 1000)
    assert await store.replay([one.number], NOW) == 0, "it is under way"
    found = await count(store)
    assert (found.live, found.dead) == (1, 0)


async def drops_what_is_not_under_way(store: QueueStore) -> None:
    await store.append([parcel("a"), parcel("b"), parcel("c", body=b"x" * 100_000)])
    [one] = await take(store, 1)
    numbers = [kept.number async for kept in store.find(Choice())]
    assert await store.drop(numbers) == 2
    assert await names(store) == ["a"]
    await store.settle([delivered(one)])
    found = await count(store)
    assert (found.live, found.dropped, found.bytes) == (0, 2, 0)


async def puts_back_what_was_under_way(store: QueueStore) -> None:
    await store.append([parcel("a"), parcel("b")])
    await take(store, 1)
    assert await store.recover(NOW + 1) == 1
    assert await store.recover(NOW + 1) == 0
    assert sorted((one.parcel.id, one.attempts) for one in await take(store, now=NOW + 1)) == [("a", 1), ("b", 0)]
    assert (await only(store, "a")).tries[0].word == "interrupted"


async def takes_back_what_was_not_sent(store: QueueStore) -> None:
    await store.append([parcel("a")])
    [one] = await take(store)
    await store.give_back([one.number])
    assert [(again.parcel.id, again.attempts) for again in await take(store)] == [("a", 0)]


async def fill(store: QueueStore) -> int:
    """Append until there is no room; gives how many there were."""
    for number in range(1000):
        try:
            await store.append([parcel(f"d{number}", body=b"x" * 50_000)])
        except QueueFullError:
            return number
    raise AssertionError("it takes without end")


async def is_full_and_drops_nothing(store: QueueStore) -> None:
    kept = await fill(store)
    assert len(await names(store)) == kept > 10
    with pytest.raises(QueueFullError):
        await store.append([parcel("small"), parcel("large", body=b"x" * 60_000)])
    assert "small" not in await names(store), "all or none"
    [one] = await take(store, 1)
    await store.settle([delivered(one)])
    await store.append([parcel("fits", body=b"x" * 50_000)])


async def promises_no_byte_twice(store: QueueStore) -> None:
    """Of large bodies that come side by side as many are taken as there is room for, and what is refused leaves none
    of it taken.
    """
    body = b"x" * 1_000_000
    for again in "ab":
        each = [store.append([parcel(f"{again}{number}", body=body)]) for number in range(12)]
        found = await asyncio.gather(*each, return_exceptions=True)
        refused = [one for one in found if one is not None]
        assert all(isinstance(one, QueueFullError) for one in refused), refused
        assert len(refused) == 12 - MAX_BYTES // parcel("a", body=body).cost
        for taken in await take(store):
            await store.settle([delivered(taken)])
    await fill(store)


async def keeps_an_order(store: QueueStore) -> None:
    await store.append([parcel(f"d{n}", order="k") for n in range(3)] + [parcel("other", order="l")])
    first, other = await take(store)
    assert (first.parcel.id, other.parcel.id) == ("d0", "other")
    await store.settle([failed(first, NOW + 10)])
    assert await take(store, now=NOW + 9) == [], "what fails holds up those behind it"
    [first] = await take(store, now=NOW + 10)
    await store.settle([delivered(first)])
    [second] = await take(store, now=NOW + 10)
    assert second.parcel.id == "d1"
    await store.settle([died(second)])
    [third] = await take(store, now=NOW + 10)
    assert third.parcel.id == "d2", "what is dead holds up nothing"
    await store.replay([second.number], NOW + 20)
    assert await take(store, now=NOW + 20) == [], "one at a time"
    await store.settle([delivered(third)])
    assert [one.parcel.id for one in await take(store, now=NOW + 20)] == ["d1"]


async def lets_the_next_go_where_the_first_is_dropped(store: QueueStore) -> None:
    await store.append([parcel("a", order="k"), parcel("b", order="k")])
    await store.drop([(await only(store, "a")).number])
    assert [one.parcel.id for one in await take(store)] == ["b"]


async def counts_only_the_last_of_the_same(store: QueueStore) -> None:
    await store.append([parcel("a", same="main"), parcel("x", same="dev")])
    [first] = await take(store, 1)
    await store.append([parcel("b", same="main", body=b"x" * 100_000)])
    await store.append([parcel("c", same="main")])
    assert await names(store) == ["a", "x", "c"], "what is under way stays"
    await store.settle([delivered(first)])
    found = await count(store)
    assert (found.live, found.dropped) == (2, 1)


async def pauses(store: QueueStore) -> None:
    await store.append([parcel("a")])
    await store.pause("hook", paused=True)
    assert (await count(store)).paused
    await store.pause("hook", paused=False)
    assert not (await count(store)).paused


async def expires(store: QueueStore) -> None:
    await store.append([parcel("old", at=NOW - 1000), parcel("new")])
    assert await store.expire(NOW - 500) == 1
    assert await names(store) == ["new"]


async def finds(store: QueueStore) -> None:
    await store.append([parcel(f"d{n}", at=NOW + n) for n in range(3)] + [parcel("e", "other")])
    assert await names(store, Choice(ids=("d1", "nothing"))) == ["d1"]
    assert await names(store, Choice(conditions=(Condition.DEAD,))) == []
    [kept] = [kept async for kept in store.find(Choice(ids=("d0",), content=True))]
    assert b"".join(store.pieces(kept.parcel)) == b"body"


async def finds_many(store: QueueStore) -> None:
    await store.append([parcel(f"d{n:04}", body=b"") for n in range(1201)])
    assert await names(store) == [f"d{n:04}" for n in range(1201)]


async def tells_ages(store: QueueStore) -> None:
    await store.append([parcel("a", at=NOW - 100), parcel("b", at=NOW - 50)])
    found = await count(store)
    assert (found.oldest, found.next_due) == (NOW - 100, NOW - 100)
    [one] = await take(store, 1)
    await store.settle([failed(one, NOW + 60)])
    found = await count(store)
    assert (found.oldest, found.next_due) == (NOW - 100, NOW - 50)


async def counts_each_id_once(store: QueueStore) -> None:
    await store.append([parcel("a")])
    large = parcel("b", body=b"x" * 100_000)
    await store.append([large])
    for again in (parcel("a"), large):
        with pytest.raises(QueueError):
            await store.append([again])
    assert await names(store) == ["a", "b"]
    assert [len(b"".join(store.pieces(one.parcel))) for one in await take(store)] == [4, 100_000]


CHECKS: tuple[Check, ...] = (
    *(keeps_what_it_is_given, keeps_large_bodies, keeps_the_keys, gives_each_to_one_courier),
    *(gives_what_is_due_the_longest_due_first, keeps_lanes_apart, tries_again_when_due, forgets_what_was_delivered),
    *(keeps_the_dead_with_their_history, replays_the_dead, drops_what_is_not_under_way, puts_back_what_was_under_way),
    *(
        takes_back_what_was_not_sent,
        is_full_and_drops_nothing,
        promises_no_byte_twice,
        keeps_an_order,
        counts_only_the_last_of_the_same,
    ),
    *(lets_the_next_go_where_the_first_is_dropped, pauses, expires, finds, finds_many, tells_ages, counts_each_id_once),
)
