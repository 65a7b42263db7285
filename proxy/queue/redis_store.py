"""The store of several hosts: a Redis, which all of them write to and deliver from. It needs the package redis.

Each call is a script (``queue.redis_records``), which Redis runs whole or not at all, and answers once its own log is
synced, where it is set up so: ``is_durable`` says whether it is. Whether a call that got no answer happened is not
known; the caller is told that it did not, so a sender may send again what is kept already. All keys share one hash tag,
so that a cluster keeps them on one node, where scripts can reach them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy.net.duplicates_redis import asked, connect
from proxy.queue import redis_records as wire
from proxy.queue.records import (
    INLINE_BYTES,
    Choice,
    CommitStatistics,
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
from proxy.queue.redis_records import LEASE_S, CourierClaims, FetchedBody, as_queue_error, as_text, steady

log = logging.getLogger(__name__)

#: One call. A Redis that takes longer is as good as none: the sender is told 503.
CALL_S = 5.0
#: An upload that was not finished is gone after so many seconds.
UPLOAD_S = 3600
PAGE = 100
PREFIX = "{hookward}:queue:"
#: What Redis must be set to, or what it has acknowledged may be lost.
_NEEDED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
_REFUSED = {
    b"newer": "a newer version of hookward has written to this Redis",
    b"twice": "there is a delivery of that id",
    b"body": "the body did not reach Redis whole",
}


class QueueRedis(QueueStore):
    """The store at ``url``, which may hold a password and is not shown. At most ``max_bytes`` are kept."""

    def __init__(self, url: str, *, max_bytes: int, lease_s: float = LEASE_S) -> None:
        """Connects when it is first asked. Raises QueueError where the URL is none."""
        self.max_bytes = max_bytes
        self.statistics = CommitStatistics()
        self.is_durable = False  # until Redis has said so
        # What got no answer may have happened: nothing is tried again.
        self.redis = connect(url, CALL_S, QueueError, retry=Retry(NoBackoff(), 0))
        self._claims = CourierClaims(lease_s)
        self._beating: asyncio.Task[None] | None = None
        self._said: str | None = None

    # -- for what is kept

    async def append(self, parcels: Sequence[Parcel]) -> None:
        await self._append(parcels, "")

    async def append_taken(self, parcel: Parcel) -> Taken | None:
        takes = parcel.size <= INLINE_BYTES and steady() < self._claims.certain_until
        number = await self._append([parcel], self._claims.name if takes else "")
        return None if number is None else Taken(number, parcel, parcel.attempts, parcel.accepted)

    async def _append(self, parcels: Sequence[Parcel], courier: str) -> int | None:
        """Gives the number of the one that the courier has taken."""
        large = [parcel for parcel in parcels if parcel.size > INLINE_BYTES]
        hold = await self._hold(large) if large else ""
        answer: Any = None
        try:
            arguments: list[object] = [self.max_bytes, courier, wire.VERSION, hold]
            for parcel in parcels:
                upload = await self._upload(parcel) if parcel.size > INLINE_BYTES else ""
                arguments += wire.fields_of(parcel, upload)
            answer = await self._write(wire.APPEND, arguments)
        finally:
            if hold and not isinstance(answer, list):
                with contextlib.suppress(QueueError):  # it ends by itself, in time
                    await self._script(wire.LET_GO, [hold])
        numbers, has_taken = _accepted(answer)
        if not has_taken:
            return None
        if courier == self._claims.name:
            self._claims.add([int(numbers[0])])
        return int(numbers[0])

    async def _hold(self, large: Sequence[Parcel]) -> str:
        """Hold room for large bodies before they are sent, for as long as that may take; gives the name of it."""
        name, calls = secrets.token_hex(16), sum(2 + parcel.size // wire.CHUNK_BYTES for parcel in large)
        most_ms = round((calls + 2) * CALL_S * 1000)
        _accepted(await self._write(wire.HOLD, [self.max_bytes, name, sum(one.cost for one in large), most_ms]))
        return name

    async def _upload(self, parcel: Parcel) -> str:
        """Put a large body into a key of its own, which is gone in time where nothing comes of it; gives the key."""
        key = f"{PREFIX}new:{secrets.token_hex(16)}"
        try:
            for number, chunk in enumerate(wire.chunks(parcel)):
                await self._call(self.redis.append(key, chunk) if number else self.redis.set(key, chunk, ex=UPLOAD_S))
        except OSError as error:
            raise QueueError.of(error) from None
        return key

    # -- for the courier

    async def take(self, wanted: Mapping[str, int], now: float) -> list[Taken]:
        if self._beating is None:
            await self._beat(is_new=True)
            self._beating = asyncio.get_running_loop().create_task(self._keep_beating())
        name = self._claims.name
        answer = await self._write(wire.TAKE, [name, repr(now), *itertools.chain(*wanted.items())])
        if answer == b"lost" or name != self._claims.name:
            await self._lost()
            return []
        with as_queue_error():
            taken = [wire.read_taken(row) for row in answer]
        self._claims.add(one.number for one in taken)
        try:
            return [one._replace(parcel=await self._with_body(one.number, one.parcel)) for one in taken]
        except QueueError:
            self._claims.discard(one.number for one in taken)
            raise

    async def _with_body(self, number: int, parcel: Parcel) -> Parcel:
        """A large one goes through a file, so that what waits here takes no memory."""
        if parcel.size <= INLINE_BYTES:
            return parcel
        try:
            body = FetchedBody()
            while body.size < parcel.size:
                end = body.size + wire.CHUNK_BYTES - 1
                chunk = await self._call(self.redis.getrange(f"{PREFIX}body:{number}", body.size, end))
                if not chunk:
                    break  # the first piece says so
                await asyncio.to_thread(body.write, chunk)
        except OSError as error:
            raise QueueError.of(error) from None
        return parcel._replace(spill=body)

    def pieces(self, parcel: Parcel) -> Iterator[bytes]:
        if parcel.body is None and (parcel.spill is None or parcel.spill.size != parcel.size):
            raise QueueError("Redis does not have its body")
        yield from parcel.pieces()

    def holds(self, number: int) -> bool:
        return self._claims.holds(number)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        arguments: list[object] = [self._claims.names]
        for one in settlements:
            condition = "" if one.condition is None else int(one.condition)
            arguments += [one.number, condition, repr(one.due), wire.text_of(one.last)]
        await self._write(wire.SETTLE, arguments)
        self._claims.discard(one.number for one in settlements)

    async def give_back(self, numbers: Sequence[int]) -> None:
        await self._write(wire.GIVE_BACK, [self._claims.names, *numbers])
        self._claims.discard(numbers)

    async def recover(self, now: float) -> int:
        found = await self._recover(self._claims.names, now)
        await self._ask_durable()
        return found

    async def _recover(self, dead: str, now: float) -> int:
        return int(await self._write(wire.RECOVER, [dead, repr(now), wire.text_of(Try(now, 0, "interrupted"))]))

    # -- alive

    async def _beat(self, *, is_new: bool = False) -> None:
        asked_at, claims = steady(), self._claims
        arguments = [claims.name, round(claims.lease_s * 1000), int(is_new)]
        if await self._script(wire.BEAT, arguments):
            claims.heard(asked_at)
        else:
            await self._lost()

    async def _lost(self) -> None:
        log.warning("this courier was not heard of for too long: what it had is left to others")
        self._claims.renew()
        await self._beat(is_new=True)

    async def _keep_beating(self) -> None:
        """Renew the lease, and look for couriers that did not."""
        while True:
            await asyncio.sleep(self._claims.lease_s / 4)
            with contextlib.suppress(QueueError):
                await self._beat()
                [seconds, micros] = await self._call(self.redis.time())
                if found := await self._recover("", seconds + micros / 1e6):
                    log.warning("%d deliveries were under way at a process that died: they are tried again", found)
                await self._sweep()
                await self._ask_durable()

    async def _sweep(self) -> None:
        """Put back what Redis says is ours, and is not here: its answer was lost, or it was not sent in time."""
        name, most_ms = self._claims.name, round(2 * CALL_S * 1000)
        pending = self.redis.xpending_range(f"{PREFIX}log", "couriers", "-", "+", PAGE, name, most_ms)
        numbers = [int(entry["message_id"].split(b"-")[0]) for entry in await self._call(pending)]
        lost = [number for number in numbers if not self._claims.knows(number)]
        if lost:
            await self.give_back(lost)

    async def _ask_durable(self) -> None:
        try:
            found = cast("dict[Any, Any]", await self._call(self.redis.config_get(*_NEEDED)))
        except QueueError:
            found = {}
        said = {as_text(name): as_text(value) for name, value in found.items()}
        wrong = [f"{name} {value}" for name, value in _NEEDED.items() if said.get(name) != value]
        self.is_durable = not wrong
        problem = ", ".join(wrong)
        if problem != self._said and problem:
            log.warning("Redis may lose deliveries whose senders were told 2xx: set in redis.conf: %s", problem)
        self._said = problem

    # -- for people

    async def counts(self) -> list[LaneCount]:
        rows = await self._script(wire.COUNTS, [])
        with as_queue_error():
            return [wire.read_lane_count(row) for row in rows]

    async def find(self, choice: Choice) -> AsyncIterator[Kept]:
        meant = [int(choice.content), "".join(str(int(one)) for one in choice.conditions), *choice.ids]
        after = 0
        while True:
            last, rows = await self._script(wire.FIND, [after, PAGE, *meant])
            for row, tries in rows:
                with as_queue_error():
                    kept = wire.read_kept(row, tries, with_body=choice.content)
                if choice.content:
                    kept = replace(kept, parcel=await self._with_body(kept.number, kept.parcel))
                yield kept
            after = int(last)
            if not after:
                return

    async def replay(self, numbers: Sequence[int], now: float) -> int:
        return int(await self._write(wire.REPLAY, [repr(now), *numbers]))

    async def drop(self, numbers: Sequence[int]) -> int:
        return int(await self._write(wire.DROP, list(numbers)))

    async def pause(self, lane: str, *, paused: bool) -> None:
        await self._write(wire.PAUSE, [lane, int(paused)])

    async def expire(self, before: float) -> int:
        found = 0
        while removed := int(await self._write(wire.EXPIRE, [repr(before), PAGE])):
            found += removed
        return found

    async def close(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            with contextlib.suppress(QueueError):  # then others need not wait for the end of the lease
                await self._call(self.redis.delete(f"{PREFIX}alive:{self._claims.name}"))
        with contextlib.suppress(RedisError, OSError):
            await self.redis.aclose(close_connection_pool=True)

    # -- calls

    async def _write(self, script: str, arguments: Sequence[object]) -> Any:
        begun = steady()
        try:
            answer = await self._script(script, arguments)
        except QueueError:
            self.statistics.failed()
            raise
        self.statistics.committed(1, steady() - begun)
        return answer

    async def _script(self, script: str, arguments: Sequence[object]) -> Any:
        return await self._call(self.redis.register_script(script)(keys=[PREFIX], args=cast("Any", arguments)))

    async def _call(self, answer: object) -> Any:
        return await asked(answer, CALL_S, lambda what: QueueError(f"Redis: {what}"))


def _accepted(answer: Any) -> Any:
    """What a script has answered; what it has refused raises QueueError."""
    if answer == b"full":
        raise QueueFullError("max_bytes is reached")
    if isinstance(answer, bytes):
        raise QueueError(_REFUSED.get(answer, "Redis has answered something else"))
    return answer


# -- How hosts tell each other's couriers that something has changed: by a channel. What is lost costs a second: then a
# courier looks by itself.

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
