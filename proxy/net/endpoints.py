"""What one worker knows of its upstreams' endpoints: the choice among several of them, and the checks of their health.

The healthy endpoint with the fewest exchanges under way for its weight is chosen, and of equal ones the one whose turn
it is. An endpoint that refuses connections is left alone for a moment that doubles, unless it is the only one. Nothing
is connected here: the pool does that, and says what came of it.

Where the configuration says how, an endpoint is asked now and then whether it is well: one GET on a connection of its
own, which is never kept for deliveries. Two bad answers in a row make an endpoint one that is chosen last, one good
answer makes it well again; after a single bad one nothing is sent there that can wait (``hold``). No route is known
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Protocol

from proxy.core.policy import Endpoint, HealthCheck
from proxy.errors import ConfigError
from proxy.http1 import ResponseHead
from proxy.net.clock import Clock
from proxy.net.upstream import CLOSED, UpstreamConnection
from proxy.reasons import Reason
from proxy.values import mutable

log = logging.getLogger(__name__)

#: An endpoint that refused is left alone this long at first, doubling up to the second figure.
EJECT_FIRST_S = 1.0
EJECT_MOST_S = 30.0


@mutable
class EndpointState:
    """What is known of one endpoint."""

    idle: deque[UpstreamConnection] = field(default_factory=deque)  # the warmest is on the right
    outstanding: int = 0  # connections that are lent to an exchange
    dialing: int = 0
    failures: int = 0
    ejected_until: float = 0.0
    unwell: bool = False  # by its own answers to health checks
    asked: bool = False  # by health checks
    failing: bool = False  # the last check, or what was tried after it
    doubt: asyncio.Event = field(default_factory=asyncio.Event)  # there is a reason to check at once
    keeps: bool = True  # its connections, once they are idle
    turn: float = 0.0  # grows by 1/weight with each exchange

    def is_well(self, now: float) -> bool:
        """Whether it is neither ejected nor unwell."""
        return self.ejected_until <= now and not self.unwell


class Endpoints:
    """The endpoints of one worker. Each has a state from the first moment it is asked for."""

    __slots__ = ("_clock", "_states", "_turn", "_used")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[Endpoint, EndpointState] = {}
        self._turn = 0.0  # of the endpoint chosen last: one that comes back is behind by one at most
        self._used: frozenset[Endpoint] | None = None  # None: any

    def __getitem__(self, endpoint: Endpoint) -> EndpointState:
        state = self._states.get(endpoint)
        if state is None:
            # What agents have connected is theirs to end: see ``forget``.
            used = self._is_used(endpoint) or endpoint.agent != ""
            state = self._states[endpoint] = EndpointState(keeps=used and not endpoint.send_proxy)
        return state

    def __iter__(self) -> Iterator[EndpointState]:
        return iter(self._states.values())

    def _is_used(self, endpoint: Endpoint) -> bool:
        return self._used is None or endpoint in self._used

    def use(self, endpoints: Iterable[Endpoint]) -> None:
        """Forget every endpoint but these: its idle connections are closed, those in use when they become idle."""
        self._used = frozenset(endpoints)
        for endpoint, state in list(self._states.items()):
            if endpoint.agent:
                continue
            state.keeps = endpoint in self._used and not endpoint.send_proxy
            if endpoint not in self._used:
                self.forget(endpoint)

    def forget(self, endpoint: Endpoint) -> None:
        """Close its idle connections, and keep nothing of it unless one is in use."""
        state = self._states.get(endpoint)
        if state is None:
            return
        while state.idle:
            state.idle[-1].close()
        if not state.outstanding and not state.dialing:
            self._states.pop(endpoint, None)

    # -- the choice

    def order(self, endpoints: tuple[Endpoint, ...]) -> list[Endpoint]:
        """Healthy ones first, then by what is under way for their weight, then by turns."""
        if len(endpoints) == 1:
            return list(endpoints)
        now = self._clock.now()

        def rank(endpoint: Endpoint) -> tuple[bool, float, float]:
            state = self[endpoint]
            busy = (state.outstanding + state.dialing) / endpoint.weight
            return not state.is_well(now), busy, max(state.turn, self._turn - 1) + 1 / endpoint.weight

        return sorted(endpoints, key=rank)

    def charge(self, chosen: Endpoint, endpoints: tuple[Endpoint, ...]) -> None:
        """It was this one's turn among ``endpoints``. ``chosen`` may be of another route, with another weight."""
        if len(endpoints) == 1:
            return
        state = self[chosen]
        weight = next((one.weight for one in endpoints if one == chosen), 1)
        begun = max(state.turn, self._turn - 1)
        self._turn = max(begun, self._turn)
        state.turn = begun + 1 / weight

    def ready(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Those whose health check, where they have one, does not fail. The others are asked again soon."""
        found = []
        for endpoint in endpoints:
            state = self[endpoint]
            if state.failing:
                state.doubt.set()
            else:
                found.append(endpoint)
        return tuple(found)

    def reachable(self, endpoints: tuple[Endpoint, ...]) -> bool:
        """Whether at least one of ``endpoints`` is well now."""
        now = self._clock.now()
        return any(self[endpoint].is_well(now) for endpoint in endpoints)

    def conditions(self) -> dict[str, bool]:
        """Whether each endpoint that is in use is well now, once it was needed; agents are told of elsewhere."""
        now = self._clock.now()
        # What is known of the others waits for the end of their connections and checks.
        each = [(one, state) for one, state in self._states.items() if self._is_used(one) and not one.agent]
        return {str(endpoint): state.is_well(now) for endpoint, state in each}

    # -- what is found out

    def refused(self, endpoint: Endpoint, error: Exception) -> None:
        """It could not be connected to: leave it alone for a while."""
        state = self[endpoint]
        if not state.failures:
            log.warning("%s cannot be reached: %s", endpoint, str(error) or type(error).__name__)
        state.failures += 1
        # An upstream that comes back may listen before it can answer.
        state.failing = state.asked
        state.doubt.set()
        pause_s = min(EJECT_FIRST_S * 2 ** min(state.failures - 1, 10), EJECT_MOST_S)
        state.ejected_until = self._clock.now() + pause_s

    def accepted(self, endpoint: Endpoint) -> None:
        """It has taken a connection."""
        state = self[endpoint]
        state.failures = 0
        state.ejected_until = 0.0

    def unavailable(self, endpoint: Endpoint) -> None:
        """It has answered 503: its health check, where it has one, may say more."""
        self[endpoint].doubt.set()

    def checked(self, endpoint: Endpoint, *, well: bool, failing: bool, asked: bool = True) -> None:
        """What its health check says; ``asked`` where it will be asked again. An endpoint that is not well is chosen
        only where no other is; to one whose check is ``failing`` nothing is sent that can wait.
        """
        state = self[endpoint]
        if state.unwell and well:
            log.info("%s is well again", endpoint)
        state.unwell, state.failing, state.asked = not well, failing, asked

    async def doubted(self, endpoint: Endpoint) -> None:
        """Wait until there is a reason to check the endpoint at once."""
        doubt = self[endpoint].doubt
        await doubt.wait()
        doubt.clear()


#: One lost answer is an accident.
BAD_ANSWERS = 2
#: From here on a status says that something is wrong.
BAD_STATUS = 400
#: Of an answer so much is read; what is longer is cut off.
MAX_ANSWER_BYTES = 64 * 1024
#: While a delivery waits for one that is not ready, it is asked again this often.
AGAIN_S = 0.25


class Connecting(Protocol):
    """What checks need of the pool."""

    endpoints: Endpoints

    async def open(self, endpoint: Endpoint) -> UpstreamConnection:
        """A connection that is not kept."""
        ...


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

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Connecting) -> None:
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


async def ask(pool: Connecting, endpoint: Endpoint, check: HealthCheck) -> int:
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
