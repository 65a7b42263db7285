"""When and where causes are looked for (``core.diagnosis``): after the answer, in a thread, and not too often.

A flood of forgeries must not buy work with each of them, so each route has a few tries for each reason and then one now
and again; beyond that a refusal costs the comparison of a time. The body is asked for only after that. What is found
goes into the journal and the metrics, never to a client; the access log keeps its one line per exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from json.encoder import encode_basestring_ascii as quote

from proxy.core.diagnosis import DIAGNOSABLE, Case, Diagnosis, diagnose
from proxy.core.metric_families import DIAGNOSES
from proxy.core.metrics import Metrics
from proxy.core.policy import Route
from proxy.http1 import RequestHead
from proxy.net.clock import Clock
from proxy.net.log_formats import printable
from proxy.reasons import Reason

#: For one route and reason: so many at once, then one in so many seconds.
BURST = 5
INTERVAL_S = 2.0
#: For all of them together. One case takes 1 to 100 ms of the thread: a quarter of a processor at the worst.
BURST_OF_ALL = 20
INTERVAL_OF_ALL_S = 0.5
#: Cases that wait for the thread. Each may hold a body of 256 KiB.
MAX_WAITING = 8
#: Routes and reasons whose time is remembered; far more than a configuration has.
_MAX_KEPT = 8192


def _sentence(case: Case, found: Diagnosis, request_id: str) -> str:
    """What the operator reads. Nothing in it is a text of the client but its name for the request, made printable."""
    text = quote(found.sentence)[1:-1].replace('\\"', '"')
    about = f"{case.reason.word}, route {case.route.name}, request {printable(request_id)}"
    return f"why {found.word}: {text} ({about})"


class Diagnoser:
    """Looks for causes. ``note`` takes each finding as a line for the journal."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, metrics: Metrics, note: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._metrics = metrics
        self._note = note
        # One thread, made with the first case: what waits for it is bounded, and so is what it takes from the loop.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hookward-diagnosis")
        self._full_until: dict[tuple[str, str], float] = {}
        self._all_full_until = 0.0
        self._waiting = 0

    def look(
        self,
        reason: Reason,
        head: RequestHead,
        route: Route,
        *,
        routes: tuple[Route, ...],
        request_id: str,
        body: Callable[[], bytes | None],
    ) -> None:
        """Look for the cause of one refusal, later. ``body`` gives what is held of it whole, or None."""
        if reason not in DIAGNOSABLE or not self._may(route.name, reason.word):
            return
        case = Case(reason, head, body(), route, routes, self._clock.wall())
        self._waiting += 1
        future = self._loop.run_in_executor(self._executor, diagnose, case)
        future.add_done_callback(partial(self._found, case, request_id))

    def close(self) -> None:
        """Forget what waits, and end the thread; takes as long as one case at most."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _may(self, route: str, reason: str) -> bool:
        now = self._clock.now()
        key = (route, reason)
        # One number is a whole bucket: the time at which it will be full of tries again.
        full = self._full_until.get(key, 0.0)
        if full - now > (BURST - 1) * INTERVAL_S or self._waiting >= MAX_WAITING:
            return False
        if self._all_full_until - now > (BURST_OF_ALL - 1) * INTERVAL_OF_ALL_S:
            return False
        self._all_full_until = max(self._all_full_until, now) + INTERVAL_OF_ALL_S
        if len(self._full_until) >= _MAX_KEPT:
            self._full_until.clear()
        self._full_until[key] = max(full, now) + INTERVAL_S
        return True

    def _found(self, case: Case, request_id: str, future: asyncio.Future[Diagnosis | None]) -> None:
        self._waiting -= 1
        if future.cancelled():
            return
        bug = future.exception()
        if bug is not None:
            self._loop.call_exception_handler({"message": "a cause could not be looked for", "exception": bug})
            return
        found = future.result()
        if found is None:
            return
        self._metrics.inc(DIAGNOSES, case.route.name, found.word)
        self._note(_sentence(case, found, request_id))
