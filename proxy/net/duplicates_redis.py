"""A store of duplicates in Redis (or what speaks like it), shared by any number of hosts: it needs the package redis.

A claim is ``SET … PX``, made by a script, because all keys of a delivery are claimed or none: Redis runs a script as
one step, which is what ``NX`` gives to a single key. A claim holds the name of its exchange, and only that exchange can
release it; it expires by itself where its process died. Times run on Redis's own clock. All keys share one hash tag, so
that a cluster keeps them on one node, where scripts can reach them. Keys are digests; nothing in them can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from proxy.core.delivery import NEW, Claim, Found, Keys
from proxy.net.duplicates import CALL_S, SharedStore, StoreError

MAX_CONNECTIONS = 32
_PREFIX = b"{hookward}:"
_FLIGHT, _DONE = b"f", b"d"

# KEYS: all of the delivery. ARGV: our value, how long it holds in ms, whether what was delivered counts, how many of
# the keys are proven. Gives false where it is ours now, else the value that is there.
_CLAIM = """
local flying = false
for _, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held and string.sub(held, 1, 1) == 'd' then
    if ARGV[3] == '1' then
      local left = redis.call('PTTL', key)
      for number = 1, tonumber(ARGV[4]) do
        local known = redis.call('GET', KEYS[number])
        local learns = not known or string.sub(known, 1, 1) ~= 'd'
        if learns and left > 0 then redis.call('SET', KEYS[number], held, 'PX', left) end
      end
      return held
    end
  elseif held and held ~= ARGV[1] then
    flying = flying or held
  end
end
if flying then return flying end
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'PX', ARGV[2]) end
return false
"""
# KEYS: all of the delivery. ARGV: our value.
_RELEASE = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
return false
"""
# KEYS: all of the delivery. ARGV: the value, how long it is kept in ms.
_DELIVER = """
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'PX', ARGV[2]) end
return false
"""


class RedisStore(SharedStore):
    """The store at ``url`` (``redis://``, ``rediss://`` or ``unix://``), which may hold a password and is not shown."""

    def __init__(self, url: str) -> None:
        """Connects when it is first asked. Raises StoreError where the URL is none."""
        self._redis = connect(url, CALL_S, StoreError)
        self._claim = self._redis.register_script(_CLAIM)
        self._release = self._redis.register_script(_RELEASE)
        self._deliver = self._redis.register_script(_DELIVER)

    async def claim(self, keys: Keys, owner: str, *, hold_s: float, past: bool) -> Claim:
        names, value = _names(keys), _FLIGHT + owner.encode("ascii")
        arguments: list[bytes | int] = [value, _milliseconds(hold_s), int(past), len(keys.proven)]
        held = await _call(self._claim(keys=names, args=arguments))
        if not isinstance(held, bytes):
            return NEW
        if held.startswith(_DONE):
            return Claim(Found.DELIVERED, int(held[1:]))
        return Claim(Found.IN_FLIGHT, owner=held[1:].decode("ascii", "replace"))

    async def delivered(self, keys: Keys, owner: str, status: int, keep_s: float) -> None:
        del owner  # whichever it is
        await _call(self._deliver(keys=_names(keys), args=[b"%b%d" % (_DONE, status), _milliseconds(keep_s)]))

    async def released(self, keys: Keys, owner: str) -> None:
        await _call(self._release(keys=_names(keys), args=[_FLIGHT + owner.encode("ascii")]))

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


async def _call(answer: object) -> object:
    return await asked(answer, CALL_S, StoreError)


def connect(url: str, call_s: float, failed: Callable[[str], Exception], **more: Any) -> Redis:
    """A client of the Redis at ``url``, for calls of ``call_s`` seconds; where it is none, the error of ``failed``."""
    limits = {"timeout": call_s, "socket_timeout": call_s, "socket_connect_timeout": call_s}
    try:
        pool = BlockingConnectionPool.from_url(url, max_connections=MAX_CONNECTIONS, **limits, **more)
    except ValueError:
        raise failed("this is not the URL of a Redis") from None
    return Redis.from_pool(pool)


async def asked(answer: object, call_s: float, failed: Callable[[str], Exception]) -> Any:
    """What a Redis answers within ``call_s`` seconds; ``failed`` makes the error where there is nothing."""
    try:
        async with asyncio.timeout(call_s):
            return await cast("Awaitable[object]", answer)
    except (RedisError, OSError, TimeoutError) as error:
        # By its class alone: what Redis and the resolver say may quote the URL.
        raise failed(type(error).__name__) from None


def _names(keys: Keys) -> list[bytes]:
    return [_PREFIX + key.hex().encode("ascii") for key in keys.every]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
