"""Asks upstreams now and then whether they are well, where their configuration says how.

One GET on a connection of its own, which counts for nobody's keep-alive. Two bad answers in a row make an endpoint one
that is chosen last, one good answer makes it well again; the pool does the choosing. It never knows a route.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol

from proxy.core.policy import Endpoint, HealthCheck
from proxy.errors import ConfigError
from proxy.http1 import ResponseHead
from proxy.net.upstream import UpstreamConnection
from proxy.reasons import Reason

log = logging.getLogger(__name__)

#: One lost answer is an accident.
BAD_ANSWERS = 2
#: From here on a status says that something is wrong.
BAD_STATUS = 400


class Pool(Protocol):
    """What connects, and chooses."""

    async def open(self, endpoint: Endpoint) -> UpstreamConnection:
        """A connection of one's own. Raises OSError and what else a connection can fail with."""

    def well(self, endpoint: Endpoint, *, well: bool) -> None:
        """Say whether the endpoint is well."""


class _Answer:
    """Waits for the status of one answer (``upstream.AnswerSink``)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status: asyncio.Future[int] = loop.create_future()

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The answer has begun, and that is enough."""
        del content, ended
        self._say(head.status)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """What it says besides is nobody's."""

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """There is none."""
        del reason, detail
        self._say(0)

    def upstream_writable(self, *, writable: bool) -> None:
        """One head always fits."""

    def _say(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)


class HealthChecks:
    """The checks of one worker; ``use`` begins and ends them by difference."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._tasks: dict[tuple[Endpoint, HealthCheck], asyncio.Task[None]] = {}

    def use(self, endpoints: Iterable[Endpoint]) -> None:
        """Ask exactly those of ``endpoints`` that say how; one that is asked no longer counts as well."""
        wanted = {(endpoint, endpoint.health) for endpoint in endpoints if endpoint.health is not None}
        for gone in self._tasks.keys() - wanted:
            self._tasks.pop(gone).cancel()
            self._pool.well(gone[0], well=True)
        for endpoint, check in wanted - self._tasks.keys():
            self._tasks[endpoint, check] = self._loop.create_task(self._ask_for_ever(endpoint, check))

    async def close(self) -> None:
        """End all."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_for_ever(self, endpoint: Endpoint, check: HealthCheck) -> None:
        bad = 0
        while True:
            status = await self._ask(endpoint, check)
            bad = 0 if 0 < status < BAD_STATUS else bad + 1
            if bad == BAD_ANSWERS:
                log.warning("%s is not well: %s", endpoint, f"it answers {status}" if status else "no answer")
                self._pool.well(endpoint, well=False)
            elif bad == 0:
                self._pool.well(endpoint, well=True)
            await asyncio.sleep(check.interval_s)

    async def _ask(self, endpoint: Endpoint, check: HealthCheck) -> int:
        """The status of the answer; 0 where there is none in time."""
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(check.timeout_s):
                connection = await self._pool.open(endpoint)
                answer = _Answer(self._loop)
                request = f"GET {check.path} HTTP/1.1\r\nHost: {endpoint.authority}\r\nConnection: close\r\n"
                head = f"{request}User-Agent: hookward-health\r\nAccept: */*\r\n\r\n".encode("ascii")
                connection.start(answer, b"GET", [head], complete=True)
                return await answer.status
        except (OSError, UnicodeError, ConfigError):
            return 0
        finally:
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.abort()
