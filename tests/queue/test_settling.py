"""What has come of attempts is written in batches, again after a failure, and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from proxy.queue import courier
from proxy.queue.courier import Settling
from proxy.queue.records import QueueError, Settlement, Try


def delivered(number: int) -> Settlement:
    return Settlement(number, None, Try(0.0, 200, "delivered"))


class SlowStore:
    """Writes when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.failures = 0
        self.open = asyncio.Event()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise QueueError("no")
        self.batches.append([one.number for one in settlements])


async def staged() -> tuple[SlowStore, Settling, list[None]]:
    store, written = SlowStore(), list[None]()
    return store, Settling(asyncio.get_running_loop(), store, lambda: written.append(None)), written


async def test_what_comes_meanwhile_shares_the_next_write() -> None:
    store, one, written = await staged()
    one.add(delivered(1))
    await asyncio.sleep(0)
    one.add(delivered(2))
    one.add(delivered(3))
    store.open.set()
    await one.end()
    assert (store.batches, len(written)) == ([[1], [2, 3]], 2)


def test_what_cannot_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "AGAIN_S", 0.0)

    async def run() -> None:
        store, one, written = await staged()
        store.failures = 2
        store.open.set()
        one.add(delivered(1))
        async with asyncio.timeout(20):
            while not written:  # noqa: ASYNC110 - it tells nobody else
                await asyncio.sleep(0)
        assert store.batches == [[1]]
        store.failures = 2
        one.add(delivered(2))
        with pytest.raises(QueueError):
            await one.end()

    asyncio.run(run())
