"""When and where causes are looked for (``core.causes``): after the answer, in a thread, and not too often.

A flood of forgeries must not buy work with each of them, so each route has a few tries for each reason and then one now
and again; beyond that a refusal costs the comparison of a time. The body is asked for only after that. What is found
goes into the journal and the metrics, never to a client; the access log keeps its one line per exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from json.encoder import encode_basestring_ascii as quote
from typing import Protocol

from proxy.core.causes import DIAGNOSABLE, Case, Diagnosis, diagnose
from proxy.core.metric_families import DIAGNOSES, DIAGNOSES_WITHHELD
from proxy.core.metrics import Metrics
from proxy.core.policy import Route
from proxy.core.record import ExchangeRecord
from proxy.core.relay import Relay
from proxy.core.setup_faults import SetupFault
from proxy.net.clock import Clock
from proxy.net.log_formats import printable

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
    about = f"{case.reason.word}, route {case.route.name}, request {printable(request_id)}"
    return f"why {found.word}: {_plain(found.sentence)} ({about})"


def _plain(text: str) -> str:
    """``text`` as printable ASCII."""
    return quote(text)[1:-1].replace('\\"', '"')


@lru_cache(maxsize=_MAX_KEPT)
def _too_many(route_name: str) -> SetupFault:
    often = f"{BURST} at once for each reason, then one in {INTERVAL_S:g} s"
    return SetupFault(
        "withheld",
        f"why: route {route_name} refuses more than causes are looked for ({often})",
        "see those that were found; `hookward explain` looks into a saved delivery",
    )


Done = Callable[[ExchangeRecord], None]


class Surroundings(Protocol):
    """What a diagnoser needs of the site; ``note`` is told of what is withheld."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    metrics: Metrics
    note: Callable[[SetupFault, str], None]


class Diagnoser:
    """Looks for causes. ``tell`` takes each finding as a line for the journal."""

    def __init__(self, site: Surroundings, tell: Callable[[str], None]) -> None:
        self._site = site
        self._tell = tell
        # One thread, made with the first case: what waits for it is bounded, and so is what it takes from the loop.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hookward-diagnosis")
        self._full_until: dict[tuple[str, str], float] = {}
        self._all_full_until = 0.0
        self._waiting: dict[int, tuple[ExchangeRecord, Done]] = {}
        self._asked = 0

    def look(self, relay: Relay, routes: tuple[Route, ...], done: Done) -> None:
        """Look for the cause of one refusal, later. ``done`` is given the record when the cause is in it, or at once
        where none is looked for; of ``close`` it is given what still waits.
        """
        reason, route, record = relay.suspect, relay.route, relay.record
        if reason not in DIAGNOSABLE or route is None:
            done(record)
        elif not self._may(route.name, reason.word):
            self._site.metrics.inc(DIAGNOSES_WITHHELD, route.name)
            self._site.note(_too_many(route.name), record.client)
            done(record)
        else:
            case = Case(reason, relay.head, relay.body_in_memory(), route, routes, self._site.clock.wall())
            self._asked += 1
            self._waiting[self._asked] = record, done
            future = self._site.loop.run_in_executor(self._executor, diagnose, case)
            future.add_done_callback(partial(self._found, case, self._asked))

    def close(self) -> None:
        """Forget what waits, and end the thread; takes as long as one case at most."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for number in list(self._waiting):
            self._finish(number)

    def _may(self, route: str, reason: str) -> bool:
        now = self._site.clock.now()
        key = (route, reason)
        # One number is a whole bucket: the time at which it will be full of tries again.
        full = self._full_until.get(key, 0.0)
        if full - now > (BURST - 1) * INTERVAL_S or len(self._waiting) >= MAX_WAITING:
            return False
        if self._all_full_until - now > (BURST_OF_ALL - 1) * INTERVAL_OF_ALL_S:
            return False
        self._all_full_until = max(self._all_full_until, now) + INTERVAL_OF_ALL_S
        if len(self._full_until) >= _MAX_KEPT:
            self._full_until.clear()
        self._full_until[key] = max(full, now) + INTERVAL_S
        return True

    def _found(self, case: Case, number: int, future: asyncio.Future[Diagnosis | None]) -> None:
        if number not in self._waiting:
            return  # closed meanwhile
        found, bug = None, None if future.cancelled() else future.exception()
        if bug is not None:
            self._site.loop.call_exception_handler({"message": "a cause could not be looked for", "exception": bug})
        elif not future.cancelled():
            found = future.result()
        record, _ = self._waiting[number]
        if found is not None:
            record.explain(found.word, found.said, found.mend)
            self._site.metrics.inc(DIAGNOSES, case.route.name, found.word)
            self._tell(_sentence(case, found, record.request_id))
        self._finish(number)

    def _finish(self, number: int) -> None:
        record, done = self._waiting.pop(number)
        done(record)
