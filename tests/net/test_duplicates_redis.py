"""The store in Redis: against one that runs, one that is stopped, and one that never answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from proxy.core.delivery import Found
from proxy.net import duplicates_redis
from proxy.net.duplicates import SharedStore, StoreError
from proxy.net.duplicates_redis import RedisStore
from tests.net.conftest import Run
from tests.net.duplicate_stores import Move, agree, check_flight_only, check_learning, keys, moves
from tests.net.duplicate_workers import machine
from tests.redis_server import RedisServer, needs_redis, running_redis

pytestmark = needs_redis


@pytest.fixture(scope="module", autouse=True)
def redis() -> Iterator[RedisServer]:
    with TemporaryDirectory(prefix="hookward-redis-") as folder, running_redis(Path(folder)) as server:
        SHARED.append(server)
        yield server


SHARED: list[RedisServer] = []


def shared_store(_: int) -> SharedStore:
    return RedisStore(SHARED[-1].url)


TestSeveralWorkers = machine(shared_store, 40).TestCase


def test_it_says_what_one_process_would(redis: RedisServer) -> None:
    runs: list[int] = []

    @settings(max_examples=40)
    @given(moves())
    def play(plan: list[Move]) -> None:
        runs.append(1)

        async def main() -> None:
            stores = [RedisStore(redis.url) for _ in range(2)]
            await agree(stores, plan, f"agree{len(runs)}")
            for store in stores:
                await store.close()

        asyncio.run(main())

    play()


async def test_flight_and_learning(run: Run[None], redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    store = RedisStore(redis.url)
    await check_flight_only(store)
    await check_learning(store)
    await store.close()


async def test_claims_and_memories_end_by_themselves(run: Run[None], redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    store = RedisStore(redis.url)
    one, other = keys(1, 1, "ends"), keys(2, 2, "ends")
    await store.claim(one, "died", hold_s=0.05, past=True)
    await store.delivered(other, "a", 200, 0.05)
    async with asyncio.timeout(5.0):
        while (await store.claim(one, "b", hold_s=9.0, past=True)).found is not Found.NEW:
            pass
        while (await store.claim(other, "b", hold_s=9.0, past=True)).found is not Found.NEW:
            pass
    assert redis.command("DBSIZE") == b":4\r\n"
    await store.released(one, "b")
    await store.released(other, "b")
    assert redis.command("DBSIZE") == b":0\r\n"
    await store.close()


def test_many_at_once_share_few_connections(
    run: Run[None], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates_redis, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(duplicates_redis, "CALL_S", 20.0)  # fifty stand in line

    async def main() -> None:
        store = RedisStore(redis.url)
        calls = [store.claim(keys(7, 7, "many"), str(number), hold_s=9.0, past=True) for number in range(50)]
        claims = await asyncio.gather(*calls)
        assert [claim.found for claim in claims].count(Found.NEW) == 1
        await store.close()

    run(main())


async def test_one_that_comes_back(run: Run[None], tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        store = RedisStore(server.url)
        await store.claim(keys(1, 1), "a", hold_s=9.0, past=True)
        server.stop()
        for call in (
            lambda: store.claim(keys(1, 1), "b", hold_s=9.0, past=True),
            lambda: store.delivered(keys(1, 1), "a", 200, 9.0),
            lambda: store.released(keys(1, 1), "a"),
        ):
            with pytest.raises(StoreError):
                await call()
        server.start()
        assert (await store.claim(keys(1, 1), "b", hold_s=9.0, past=True)).found is Found.NEW, "it forgot"
        await store.close()


def test_one_that_never_answers_costs_no_more_than_its_time(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates_redis, "CALL_S", 0.1)

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "silent.sock"))
            silent.listen()
            store = RedisStore(f"unix://{tmp_path}/silent.sock")
            with pytest.raises(StoreError):
                await store.claim(keys(1, 1), "a", hold_s=9.0, past=True)
            await store.close()

    run(main())


async def test_no_password_in_what_is_said(run: Run[None], tmp_path: Path) -> None:
    with running_redis(tmp_path, "--requirepass", "hunter2") as server:
        for url in (server.url, f"{server.url}?password=wrong-one"):
            store = RedisStore(url)
            with pytest.raises(StoreError) as caught:
                await store.claim(keys(1, 1), "a", hold_s=9.0, past=True)
            assert "hunter2" not in str(caught.value)
            assert "wrong-one" not in str(caught.value) + repr(store)
            await store.close()
        store = RedisStore(f"{server.url}?password=hunter2")
        assert (await store.claim(keys(1, 1), "a", hold_s=9.0, past=True)).found is Found.NEW
        await store.close()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:port"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(StoreError, match="not the URL"):
        RedisStore(url)
