"""What it costs to look for duplicates: ``python -m bench.micro.duplicates`` prints microseconds for each delivery.

*claim* is what stands before a delivery: the time until it is known to be new. *whole* is claim and outcome, as every
delivery has both; the outcome is told to a store beside everything else, so that nobody waits for it. A delivery has
two keys, of its id and its signature. The Redis is one of this host, on a unix socket, and is left out where no
``redis-server`` is installed. Seconds to run; compare runs on the same quiet machine only.
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.micro.timing import few
from proxy.core.delivery import DuplicateRule, DuplicateTable, Keys, keys_of
from proxy.net.clock import Clock
from proxy.net.duplicates import Duplicates, SharedStore, StoreError, Ticket
from proxy.net.duplicates_redis import RedisStore
from proxy.net.duplicates_sqlite import SqliteStore
from proxy.reasons import Reason

COUNT, ROUNDS = few(3000, 20), few(5)
RULE = DuplicateRule(remembers=True, window_s=86400.0, patience_s=9.0, hold_s=92.0)


def keys(number: int) -> Keys:
    return keys_of(RULE, "github", b"/", f"72d3162e-{number}", [number.to_bytes(32)])


def told(name: str, claims: list[float], wholes: list[float]) -> None:
    worst = sorted(claims)[-max(1, len(claims) // 1000)]
    print(
        f"{name:<22} claim {statistics.median(claims) * 1e6:7.1f}   whole {statistics.median(wholes) * 1e6:7.1f}"
        f"   claim p99.9 {worst * 1e6:8.1f}"
    )


def measure_keys() -> None:
    begun = time.perf_counter()
    for number in range(COUNT):
        keys(number)
    print(f"{'two keys':<22}       {(time.perf_counter() - begun) / COUNT * 1e6:7.1f}")


def measure_table() -> None:
    table = DuplicateTable(100_000)
    claims, wholes = [], []
    ready = [keys(number) for number in range(COUNT * ROUNDS)]
    for number, one in enumerate(ready):
        begun = time.perf_counter()
        table.claim(one, "o", float(number), hold_s=92.0, past=True)
        claimed = time.perf_counter()
        table.delivered(one, "o", 200, float(number), 86400.0)
        wholes.append(time.perf_counter() - begun)
        claims.append(claimed - begun)
    told("memory", claims, wholes)


def told_of_claim(reason: Reason | None, status: int) -> None:
    """Go on."""
    assert reason is None, status


async def measure_tickets() -> None:
    loop = asyncio.get_running_loop()
    desk = Duplicates(loop, Clock(loop))
    claims, wholes = [], []
    ready = [keys(number) for number in range(COUNT * ROUNDS)]
    for number, one in enumerate(ready):
        begun = time.perf_counter()
        ticket = Ticket(desk, RULE, one, told_of_claim, owner=str(number), until=1e9)
        ticket.ask()
        claimed = time.perf_counter()
        ticket.delivered(200)
        ticket.release()
        wholes.append(time.perf_counter() - begun)
        claims.append(claimed - begun)
    told("memory, by its ticket", claims, wholes)


async def measure_store(name: str, store: SharedStore) -> None:
    claims, wholes = [], []
    base = int.from_bytes(os.urandom(6))
    for number in range(COUNT * ROUNDS):
        one = keys(base + number)
        begun = time.perf_counter()
        await store.claim(one, "o", hold_s=92.0, past=True)
        claimed = time.perf_counter()
        await store.delivered(one, "o", 200, 86400.0)
        wholes.append(time.perf_counter() - begun)
        claims.append(claimed - begun)
    await store.close()
    told(name, claims, wholes)


async def measure_sqlite(folder: str) -> None:
    path = str(Path(folder) / "duplicates.sqlite3")
    await measure_store(
        "sqlite, on its thread", SqliteStore(path, asyncio.get_running_loop(), time.monotonic, max_entries=100_000)
    )


@contextmanager
def redis(folder: str) -> Iterator[str | None]:
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    path = f"{folder}/redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


async def measure_redis(url: str) -> None:
    store = RedisStore(url)
    for _ in range(100):
        try:
            await store.released(Keys((), ()), "")
            break
        except StoreError:
            await asyncio.sleep(0.05)
    await measure_store("redis, same host", store)


def size_of(make: Callable[[int], Keys]) -> int:
    """Bytes of memory for each key."""
    count = few(20_000, 100)
    table = DuplicateTable(count * 2)
    tracemalloc.start()
    for number in range(count):
        table.delivered(make(number), "o", 200, float(number), 86400.0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used // len(table)


def main() -> None:
    print("microseconds, median")
    measure_keys()
    measure_table()
    uvloop.run(measure_tickets())
    with tempfile.TemporaryDirectory(prefix="hookward-bench-") as folder:
        uvloop.run(measure_sqlite(folder))
        with redis(folder) as url:
            if url is not None:
                uvloop.run(measure_redis(url))
    print(f"memory: {size_of(keys)} bytes for each key")


if __name__ == "__main__":
    main()
