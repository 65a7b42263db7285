"""Asks upstreams now and then whether they are well, where their configuration says how.

One GET on a connection of its own, which is never kept for deliveries. Two bad answers in a row make an endpoint one
that is chosen last, one good answer makes it well again; after a single bad one nothing is sent there that can wait
(``hold``). The pool does the choosing. It never knows a route.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from proxy.core.policy import Endpoint, HealthCheck
from proxy.errors import ConfigError
from proxy.http1 import ResponseHead
from proxy.net.pool import UpstreamPool
from proxy.net.upstream import CLOSED, UpstreamConnection
from proxy.reasons import Reason

log = logging.getLogger(__name__)

#: One lost answer is an accident.
BAD_ANSWERS = 2
#: From here on a status says that something is wrong.
BAD_STATUS = 400
#: Of an answer so much is read; what is longer is cut off.
MAX_ANSWER_BYTES = 64 * 1024
#: While a delivery waits for one that is not ready, it is asked again this often.
AGAIN_S = 0.25


class _CheckAnswer:
    """Waits for the end of one answer (``upstream.AnswerSink``), within a bound, and closes the connection."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.status = 0  # 0 while there is none
        self.ended = asyncio.Event()
        self._connection = connection
        self._bytes = 0

    def upstream_answer(self, head: ResponseHead, content: list[bytes], *, ended: bool) -> None:
        """The answer has begun, and says what there is to say."""
        self.status = head.status
        self.upstream_content(content, ended=ended)

    def upstream_content(self, content: list[bytes], *, ended: bool) -> None:
        """Its content is read because an application that is cut off while it writes logs an error."""
        self._bytes += sum(map(len, content))
        if ended:
            self._connection.close()  # it may have been kept open all the same
        elif self._bytes > MAX_ANSWER_BYTES:
            self._connection.abort()
        else:
            return
        self.ended.set()

    def upstream_failed(self, reason: Reason, detail: str) -> None:
        """There is no more of it."""
        del reason, detail
        self.ended.set()

    def upstream_writable(self, *, writable: bool) -> None:
        """One head always fits."""


class HealthChecks:
    """The checks of one worker; ``use`` begins and ends them by difference."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: UpstreamPool) -> None:
        self._loop = loop
        self._pool = pool
        self._endpoints = pool.endpoints
        self._tasks: dict[tuple[Endpoint, HealthCheck], asyncio.Task[None]] = {}

    def use(self, endpoints: Iterable[Endpoint]) -> None:
        """Ask exactly those of ``endpoints`` that say how, but agents; one that is asked no longer counts as well."""
        wanted = {(endpoint, endpoint.health) for endpoint in endpoints if endpoint.health and not endpoint.agent}
        for gone in self._tasks.keys() - wanted:
            self._tasks.pop(gone).cancel()
            self._endpoints.checked(gone[0], well=True, failing=False, asked=False)
        for endpoint, check in wanted - self._tasks.keys():
            self._endpoints.checked(endpoint, well=True, failing=True)  # until it has said otherwise
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
            status = await ask(self._pool, endpoint, check)
            bad = 0 if 0 < status < BAD_STATUS else bad + 1
            if bad == BAD_ANSWERS:
                log.warning("%s is not well: %s", endpoint, f"it answers {status}" if status else "no answer")
            self._endpoints.checked(endpoint, well=bad < BAD_ANSWERS, failing=bad > 0)
            await self._pause(endpoint, check.interval_s)

    async def _pause(self, endpoint: Endpoint, interval_s: float) -> None:
        """Until it is time to ask again: earlier where a delivery waits for the answer."""
        least_s = min(AGAIN_S, interval_s)
        await asyncio.sleep(least_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s - least_s):
                await self._endpoints.doubted(endpoint)


async def ask(pool: UpstreamPool, endpoint: Endpoint, check: HealthCheck) -> int:
    """The status of an endpoint's answer; 0 where there is none in time."""
    connection: UpstreamConnection | None = None
    answer: _CheckAnswer | None = None
    try:
        async with asyncio.timeout(check.timeout_s):
            connection = await pool.open(endpoint)
            if connection.state is CLOSED:
                return 0
            answer = _CheckAnswer(connection)
            request = f"GET {check.path} HTTP/1.1\r\nHost: {endpoint.authority}\r\nConnection: close\r\n"
            head = f"{request}User-Agent: hookward-health\r\nAccept: */*\r\n\r\n".encode("ascii")
            connection.start(answer, b"GET", [head], complete=True)
            await answer.ended.wait()
    except (OSError, UnicodeError, ConfigError):
        pass  # what it has said so far counts
    finally:
        # A silent application may never notice that we have ended.
        if connection is not None and connection.state is not CLOSED:
            with contextlib.suppress(OSError):
                connection.abort()
    return 0 if answer is None else answer.status
