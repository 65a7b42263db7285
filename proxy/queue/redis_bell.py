"""How hosts that share a store in Redis tell each other's couriers that something has changed: by a channel.

What is lost costs a second: then a courier looks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from proxy.queue.redis_store import PREFIX, QueueRedis

CHANNEL = f"{PREFIX}bell"
AGAIN_S = 1.0


class RedisBell:
    """The bell of ``store``."""

    def __init__(self, store: QueueRedis) -> None:
        self._redis = store.redis
        self._tasks: set[asyncio.Task[None]] = set()

    def ring(self) -> None:
        """Tell the couriers, where there are any."""
        self._begin(asyncio.get_running_loop(), self._publish())

    def answer(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """As a courier: ``rung`` is called whenever another rings."""
        self._begin(loop, self._listen(rung))

    async def close(self) -> None:
        """Let what rings be heard, and listen no more."""
        for task in self._tasks:
            if task.get_name() == self._listen.__name__:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, loop: asyncio.AbstractEventLoop, work: Any) -> None:
        task = loop.create_task(work, name=work.__name__)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.publish(CHANNEL, b"")

    async def _listen(self, rung: Callable[[], None]) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    while True:
                        if await channel.get_message(timeout=AGAIN_S) is not None:
                            rung()
            await asyncio.sleep(AGAIN_S)
