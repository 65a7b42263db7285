"""What the journal is told of causes: why a request was refused, and why connections came to nothing.

When and where the causes of refusals are looked for (``core.causes``): after the answer, in a thread, and not too
often. A flood of forgeries must not buy work with each of them, so each route has a few tries for each reason and then
one now and again; beyond that a refusal costs the comparison of a time. The body is asked for only after that. What is
found goes into the journal and the metrics, never to a client; the access log keeps its one line per exchange.

Connections that came to nothing are told of in few lines: the first of a cause at once, those that follow as one line a
minute. A scan can then neither fill the journal nor go unseen. The line of a minute names the addresses that came most.
What is remembered is bounded, of causes and of addresses: of many addresses, those that came least are forgotten first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from functools import lru_cache, partial
from json.encoder import encode_basestring_ascii as quote
from typing import Protocol

from proxy.core.causes import DIAGNOSABLE, Case, Diagnosis, diagnose
from proxy.core.metric_families import DIAGNOSES, DIAGNOSES_WITHHELD
from proxy.core.metrics import Metrics
from proxy.core.policy import Route
from proxy.core.record import ExchangeRecord
from proxy.core.setup_faults import SetupFault
from proxy.net.clock import Clock
from proxy.net.log_formats import printable
from proxy.net.site import EndedExchange
from proxy.values import mutable

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

    def look(self, over: EndedExchange, routes: tuple[Route, ...], done: Done) -> None:
        """Look for the cause of one refusal, later. ``done`` is given the record when the cause is in it, or at once
        where none is looked for; of ``close`` it is given what still waits.
        """
        reason, route, record = over.suspect, over.route, over.record
        if reason not in DIAGNOSABLE or route is None:
            done(record)
        elif not self._may(route.name, reason.word):
            self._site.metrics.inc(DIAGNOSES_WITHHELD, route.name)
            self._site.note(_too_many(route.name), record.client)
            done(record)
        else:
            case = Case(reason, over.head, over.body_in_memory(), route, routes, self._site.clock.wall())
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


MINUTE_S = 60.0
#: Causes that are told apart within a minute; OpenSSL knows some hundred, of which few are common.
MAX_FAULTS = 50
#: Addresses that are told apart for one cause.
MAX_ADDRESSES = 256
#: Those that a line names.
NAMED = 3

OTHERS = SetupFault("other", "connections failed for other causes", "see hookward_tls_failures_total for their kinds")


@mutable
class _Seen:
    """One cause within a minute, beyond the first, which has its line."""

    fault: SetupFault
    count: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0  # times that an address was forgotten, which may come again

    def note(self, address: str) -> None:
        """It happened once more."""
        self.count += 1
        self.addresses[address] += 1
        if len(self.addresses) > MAX_ADDRESSES:
            # What comes often is among the half that stays, in whatever order the others come.
            kept = Counter(dict(self.addresses.most_common(MAX_ADDRESSES // 2)))
            self.forgotten += len(self.addresses) - len(kept)
            self.addresses = kept

    def sum_up(self) -> str:
        """The line of the minute."""
        most = self.addresses.most_common(NAMED)
        named = ", ".join(f"{address} ({count})" for address, count in most)
        others = len(self.addresses) - len(most) + self.forgotten
        more = f" and {'over ' if self.forgotten else ''}{others} other address{'' if others == 1 else 'es'}"
        return f"{self.fault.said}: {self.count} more within a minute, from {named}{more if others else ''}"


class FaultDigest:
    """Counts causes, and tells them. ``tell`` is given a line for the journal."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._seen: dict[str, _Seen] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, fault: SetupFault, address: str) -> None:
        """It happened once more, to a connection from ``address``."""
        seen = self._seen.get(fault.said)
        if seen is None and len(self._seen) >= MAX_FAULTS:
            fault = OTHERS
            seen = self._seen.get(fault.said)
        if seen is not None:
            seen.note(address)
            return
        self._seen[fault.said] = _Seen(fault)
        self._tell(f"{fault.said} (from {address}): {fault.mend}")
        if self._timer is None:
            self._timer = self._loop.call_later(MINUTE_S, self._minute_over)

    def close(self) -> None:
        """Tell what was counted, and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sum_up()
        self._seen.clear()

    def _minute_over(self) -> None:
        self._sum_up()
        # What still happens goes on without a line of its own.
        self._seen = {said: _Seen(seen.fault) for said, seen in self._seen.items() if seen.count}
        self._timer = self._loop.call_later(MINUTE_S, self._minute_over) if self._seen else None

    def _sum_up(self) -> None:
        for seen in self._seen.values():
            if seen.count:
                self._tell(seen.sum_up())
