"""The store of several hosts with a real Redis: held to what every store promises, and to what several hosts need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("redis")

from proxy.queue.records import Choice, Condition, QueueError, QueueFullError, Settlement, Taken
from proxy.queue.redis_records import FetchedBody, chunks
from proxy.queue.redis_store import PREFIX, QueueRedis, RedisBell
from tests.queue import conformance
from tests.queue.conformance import FAILED, MAX_BYTES, NOW, OK, count, names, only, parcel, take
from tests.redis_server import RedisServer, needs_redis, running_redis

pytestmark = needs_redis
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    shared.command("FLUSHALL")
    return shared


def run(server: RedisServer, check: Callable[[QueueRedis], Awaitable[None]], lease_s: float = 10.0) -> None:
    async def inside() -> None:
        store = QueueRedis(server.url, max_bytes=MAX_BYTES, lease_s=lease_s)
        try:
            await check(store)
        finally:
            await store.close()

    asyncio.run(inside())


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_it_does_what_every_store_does(redis: RedisServer, check: conformance.Check) -> None:
    run(redis, check)


def on_two(
    server: RedisServer, check: Callable[[QueueRedis, QueueRedis], Awaitable[None]], lease_s: float = 0.4
) -> None:
    """Two stores as of two hosts."""

    async def inside(one: QueueRedis) -> None:
        other = QueueRedis(server.url, max_bytes=MAX_BYTES, lease_s=lease_s)
        try:
            await check(one, other)
        finally:
            await other.close()

    run(server, inside, lease_s)


async def sleep_beyond_the_lease(store: QueueRedis) -> None:
    """As SIGSTOP does: it renews nothing, and its key goes."""
    assert store._beating is not None
    store._beating.cancel()
    async with asyncio.timeout(15):
        while await store.redis.exists(f"{PREFIX}alive:{store._claims.name}"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)


async def taken_in_time(store: QueueRedis) -> list[Taken]:
    async with asyncio.timeout(15):
        while True:
            if found := await take(store, now=10 * NOW):
                return found
            await asyncio.sleep(0.02)


def test_a_lane_is_that_of_one_courier(redis: RedisServer) -> None:
    async def check(one: QueueRedis, other: QueueRedis) -> None:
        await one.append([parcel("a"), parcel("b"), parcel("c", "other")])
        assert [taken.parcel.id for taken in await take(one, 1)] == ["a"]
        assert await take(other) == []
        assert [taken.parcel.id for taken in await take(other, lane="other")] == ["c"]
        assert await other.append_taken(parcel("d")) is None, "it waits for the one whose lane it is"
        assert [taken.parcel.id for taken in await take(one)] == ["b", "d"]
        taken = await one.append_taken(parcel("e"))
        assert taken is not None
        assert one.holds(taken.number)
        assert not other.holds(taken.number)

    on_two(redis, check, 10.0)


def test_what_a_dead_courier_had_is_given_to_another(redis: RedisServer) -> None:
    async def check(one: QueueRedis, other: QueueRedis) -> None:
        await one.append([parcel("a"), parcel("b", "other")])
        await take(one)
        await take(other, lane="other")  # it lives, and looks for those that do not
        await sleep_beyond_the_lease(one)
        [again] = await taken_in_time(other)
        assert (again.parcel.id, again.attempts) == ("a", 1)
        assert (await only(other, "a")).tries[0].word == "interrupted"

    on_two(redis, check)


def test_a_sleeper_that_wakes_finds_its_claims_lost(redis: RedisServer) -> None:
    async def check(one: QueueRedis, other: QueueRedis) -> None:
        await one.append([parcel("sent"), parcel("failed"), parcel("waits")])
        mine = await take(one)
        assert all(one.holds(taken.number) for taken in mine)
        await take(other, lane="other")
        await sleep_beyond_the_lease(one)
        assert not any(one.holds(taken.number) for taken in mine), "it sends nothing more, and asked nobody"
        assert len(await taken_in_time(other)) == 3
        sent, failed, _ = mine
        await one.settle([Settlement(sent.number, None, OK), Settlement(failed.number, Condition.DEAD, FAILED)])
        await one.give_back([taken.number for taken in mine])
        assert await names(one) == ["failed", "waits"], "what has arrived is gone, and the rest is the other's"
        assert (await count(one)).dead == 0
        assert await take(one) == []

    on_two(redis, check)


def test_a_courier_that_ends_well_leaves_its_lanes_at_once(redis: RedisServer) -> None:
    async def check(one: QueueRedis, other: QueueRedis) -> None:
        await one.append([parcel("a")])
        await one.give_back([taken.number for taken in await take(one)])
        await one.close()
        [taken] = await take(other)
        assert (taken.parcel.id, taken.attempts) == ("a", 0)

    on_two(redis, check, 600.0)


def test_what_redis_gave_and_did_not_come_is_put_back(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(store: QueueRedis) -> None:
        await store.append([parcel("a")])
        [taken] = await take(store)
        store._claims.discard([taken.number])  # the answer was lost
        assert [again.parcel.id for again in await taken_in_time(store)] == ["a"]

    monkeypatch.setattr("proxy.queue.redis_store.CALL_S", 0.2)
    run(redis, check, 0.8)


def test_many_hosts_share_what_there_is(redis: RedisServer) -> None:
    async def check(one: QueueRedis, other: QueueRedis) -> None:
        await asyncio.gather(
            *(store.append([parcel(f"{n}{store is one}")]) for n in range(50) for store in (one, other))
        )
        assert len(await names(one)) == len(await take(other, 200)) == 100
        assert (await count(one)).live == 100

    on_two(redis, check, 10.0)


def test_nothing_is_left_of_what_was_delivered(redis: RedisServer) -> None:
    async def check(store: QueueRedis) -> None:
        large = b"x" * 3_000_000
        await store.append([parcel("a", order="k", same="s"), parcel("b", order="k"), parcel("c", body=large)])
        while taken := await take(store):
            assert all(b"".join(store.pieces(one.parcel)) in {b"body", large} for one in taken)
            await store.settle([Settlement(one.number, None, OK) for one in taken])
        left = {key.decode().removeprefix(PREFIX) for key in await store.redis.keys("*")}
        assert {key for key in left if not key.startswith("alive:")} == {
            *("log", "number", "used", "version", "lanes", "owners", "count:hook")
        }
        assert await store.redis.xlen(f"{PREFIX}log") == 0
        assert await store.redis.get(f"{PREFIX}used") == b"0"

    run(redis, check)


def test_a_spilled_body_goes_in_pieces(redis: RedisServer) -> None:
    async def check(store: QueueRedis) -> None:
        body = FetchedBody()
        for n in range(30):
            body.write(bytes([n]) * 100_000)
        kept = parcel("a")._replace(body=None, size=body.size, spill=body)
        assert sum(map(len, chunks(kept))) == body.size
        await store.append([kept])
        [taken] = await take(store)
        assert b"".join(store.pieces(taken.parcel)) == b"".join(body.pieces())
        assert await store.redis.keys(f"{PREFIX}new:*") == []
        await store.redis.delete(f"{PREFIX}body:{taken.number}")
        [lost] = [kept async for kept in store.find(Choice(content=True))]
        pieces = store.pieces(lost.parcel)
        with pytest.raises(QueueError):
            next(pieces)

    run(redis, check)


@pytest.mark.parametrize("size", [4, 100_000])
def test_every_failure_of_redis_is_one_of_the_queue(tmp_path: Path, size: int) -> None:
    async def check(store: QueueRedis) -> None:
        await store.append([parcel("a")])
        [taken] = await take(store)
        server.kill()
        for call in (
            *(store.append([parcel("b", body=b"x" * size)]), store.append_taken(parcel("c", body=b"x" * size))),
            *(
                take(store),
                store.settle([Settlement(taken.number, None, OK)]),
                store.give_back([1]),
                store.recover(NOW),
            ),
            *(store.counts(), names(store), store.replay([1], NOW), store.drop([1]), store.expire(NOW)),
            store.pause("hook", paused=True),
        ):
            with pytest.raises(QueueError):
                await call
        assert store.statistics.failing
        server.start()
        await store.append([parcel("d")])
        assert not store.statistics.failing

    with running_redis(tmp_path) as server:
        run(server, check)


@pytest.mark.parametrize(
    ("commands", "told"),
    [
        (["CONFIG SET maxmemory 1"], "OutOfMemoryError"),
        (["SET {hookward}:queue:version 2"], "a newer version"),
        (["SET {hookward}:queue:ids text"], "Redis: "),
        (["CONFIG SET min-replicas-to-write 3"], "Redis: "),
    ],
)
def test_a_redis_that_takes_nothing(tmp_path: Path, commands: list[str], told: str) -> None:
    async def check(store: QueueRedis) -> None:
        for size in (4, 100_000):
            with pytest.raises(QueueError, match=told if size == 4 else None):
                await store.append([parcel("a", body=b"x" * size)])
        assert (await store.redis.exists(f"{PREFIX}number")) == 0

    with running_redis(tmp_path) as server:
        for command in commands:
            server.command(command)
        run(server, check)


def test_what_others_wrote_there_is_an_error_of_the_queue(redis: RedisServer) -> None:
    async def check(store: QueueRedis) -> None:
        await store.append([parcel("a")])
        await store.redis.hset(f"{PREFIX}d:1", "begun", "yesterday")
        await store.redis.rpush(f"{PREFIX}t:1", "{")
        with pytest.raises(QueueError):
            await take(store)
        with pytest.raises(QueueError):
            await names(store)
        await store.redis.hset(f"{PREFIX}count:hook", "live", "many")
        with pytest.raises(QueueError):
            await store.counts()

    run(redis, check)


@pytest.mark.parametrize(("arguments", "durable"), [((), False), (DURABLE, True)])
def test_it_says_whether_redis_keeps_what_it_acknowledges(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: tuple[str, ...], durable: bool
) -> None:
    async def check(store: QueueRedis) -> None:
        assert not store.is_durable, "nothing is claimed before it is known"
        await store.recover(NOW)
        await store.recover(NOW)
        assert store.is_durable is durable
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == (0 if durable else 1)
        assert durable or "appendonly yes, appendfsync always" in said[0]

    with running_redis(tmp_path, *arguments) as server:
        run(server, check)


@pytest.mark.timeout(240)  # some 500 syncs, on a disk that may be busy
def test_nothing_acknowledged_is_lost_when_redis_is_killed(tmp_path: Path) -> None:
    async def check(store: QueueRedis) -> None:
        told: set[str] = set()
        unsure: set[str] = set()
        gone: set[str] = set()

        async def send(sender: str, killed: asyncio.Event) -> None:
            n = 0
            while not killed.is_set():
                n += 1
                name = f"{sender}-{n}"
                unsure.add(name)
                try:
                    await store.append([parcel(name, body=b"x" * (n % 7 * 20_000))])
                except QueueFullError:
                    raise
                except QueueError:
                    continue
                unsure.discard(name)
                told.add(name)
                with suppress(QueueError):
                    taken = await take(store, 1)
                    gone.update(one.parcel.id for one in taken)  # a settlement that got no answer may have happened
                    await store.settle([Settlement(one.number, None, OK) for one in taken])

        for life in range(4):
            before, killed = len(told), asyncio.Event()
            async with asyncio.TaskGroup() as senders:
                for sender in range(8):
                    senders.create_task(send(f"{life}-{sender}", killed))
                while len(told) < before + 60:  # noqa: ASYNC110 - they are many
                    await asyncio.sleep(0.001)
                server.kill()
                killed.set()
            server.start()
        kept = set(await names(store))
        assert told - gone <= kept
        assert kept <= told | unsure

    with running_redis(tmp_path, *DURABLE) as server:
        run(server, check)


def test_the_bell_is_heard_by_others(redis: RedisServer) -> None:
    async def check(one: QueueRedis, other: QueueRedis) -> None:
        heard = asyncio.Event()
        bell, others = RedisBell(one), RedisBell(other)
        others.answer(asyncio.get_running_loop(), heard.set)
        async with asyncio.timeout(15):
            while not heard.is_set():
                bell.ring()
                await asyncio.sleep(0.02)
        await bell.close()
        await others.close()

    on_two(redis, check)


def test_a_url_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(QueueError) as caught:
        QueueRedis("https://user:hunter2@host", max_bytes=1)
    assert "hunter2" not in str(caught.value)
