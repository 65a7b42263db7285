"""Counters, gauges and histograms as plain objects, and their Prometheus text (exposition format 0.0.4).

What ends is counted from its ``ExchangeRecord`` in one call; gauges are set by whoever exposes them, shortly before.
Labels have a small range only (routes, providers, reasons, causes): never an address, a path or an event, which a
stranger could choose. Several workers are shown as one by adding their snapshots. This module never knows a socket,
a clock or a process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from proxy.core.exposition import CONTENT_TYPE, Snapshot, render, render_labels
from proxy.core.metric_families import (
    ACCEPT_PAUSES,
    ACCEPT_REFUSED,
    ACCEPTED,
    BUDGET,
    BUFFERED,
    BUILD,
    CERTIFICATE_EXPIRY,
    CONNECTIONS,
    DIAGNOSES,
    DUPLICATE_FAILURES,
    DUPLICATES,
    DURATION,
    DURATION_BOUNDS,
    EXCHANGES,
    FAMILIES,
    GENERATION,
    IN_FLIGHT,
    JOURNAL_DROPPED,
    KERNEL_DROPPED,
    KERNEL_FILTERS,
    LOG_DROPPED,
    LOG_WITHHELD,
    OBSERVED,
    RELOAD_GOOD,
    RELOADS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    SECRET_EXPIRY,
    SENDER_BUDGET,
    SET_AGE,
    SET_PREFIXES,
    SET_REFRESHES,
    STARTED,
    TCP_BYTES,
    TCP_FAILED,
    TCP_OPEN,
    TCP_OPENED,
    TLS_HANDSHAKES,
    UPSTREAM_DURATION,
    UPSTREAM_UP,
    UPSTREAM_WAITING,
    WAITING,
    WORKER_EXITS,
    WORKERS,
    Family,
)
from proxy.core.record import ExchangeRecord

__all__ = [
    "CONTENT_TYPE",
    "FAMILIES",
    "Counter",
    "Gauge",
    "Histogram",
    "Metrics",
    "Snapshot",
    "lasting",
    "merge",
    "render",
]


class Counter:
    """A sum per label values that only grows."""

    __slots__ = ("family", "values")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.values: dict[tuple[str, ...], float] = {}
        if not family.labels:
            self.values[()] = 0

    def inc(self, *labels: str, by: float = 1) -> None:
        """Add ``by`` to the series with these label values, in the order of the family's labels."""
        self.values[labels] = self.values.get(labels, 0) + by

    def declare(self, *labels: str) -> None:
        """Show the series at 0 before it is counted: a rate over a series that appears with its first event is lost."""
        self.values.setdefault(labels, 0)

    def reach(self, total: float, *labels: str) -> None:
        """Take over a total that is counted elsewhere."""
        self.values[labels] = total

    def samples(self) -> dict[str, float | list[float]]:
        """Rendered labels -> value."""
        return {render_labels(self.family.labels, labels): value for labels, value in self.values.items()}


class Gauge(Counter):
    """A value per label values that is set as it is found."""

    __slots__ = ()

    def set(self, value: float, *labels: str) -> None:
        """Set the series with these label values."""
        self.values[labels] = value


class Histogram:
    """How often values fell into each bucket of the family, per label values."""

    __slots__ = ("family", "values")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.values: dict[tuple[str, ...], list[float]] = {}

    def series(self, *labels: str) -> list[float]:
        """The counts per bucket and the sum: for callers that observe often and keep it."""
        return self.values.setdefault(labels, [0] * (len(self.family.bounds) + 2))

    def samples(self) -> dict[str, float | list[float]]:
        """Rendered labels -> counts and sum."""
        return {render_labels(self.family.labels, labels): list(value) for labels, value in self.values.items()}


_SHARES = SENDER_BUDGET.bounds


class _Route:
    """The series of one route, found once."""

    __slots__ = ("answer_s", "budget", "bytes_in", "bytes_out", "duration", "upstream")

    def __init__(self, duration: list[float], upstream: list[float]) -> None:
        self.duration = duration
        self.upstream = upstream
        self.bytes_in = 0
        self.bytes_out = 0
        self.answer_s = 0.0  # how long the provider waits; 0 where nobody knows
        self.budget: list[float] = []


class _Outcome:
    """How often one outcome of one route was seen."""

    __slots__ = ("count", "route")

    def __init__(self, route: _Route) -> None:
        self.count = 0
        self.route = route


class Metrics:
    """All metrics of one worker."""

    def __init__(self, version: str = "", python: str = "") -> None:
        self.durations = Histogram(DURATION)
        self.upstream_durations = Histogram(UPSTREAM_DURATION)
        self.sender_budget = Histogram(SENDER_BUDGET)
        self.observed = Counter(OBSERVED)
        self.diagnoses = Counter(DIAGNOSES)
        self.in_flight = Gauge(IN_FLIGHT)
        self.buffered = Gauge(BUFFERED)
        self.budget = Gauge(BUDGET)
        self.waiting = Gauge(WAITING)
        self.duplicates = Gauge(DUPLICATES)
        self.duplicate_failures = Counter(DUPLICATE_FAILURES)
        self.connections = Gauge(CONNECTIONS)
        self.upstream_waiting = Gauge(UPSTREAM_WAITING)
        self.upstream_up = Gauge(UPSTREAM_UP)
        self.tls_handshakes = Counter(TLS_HANDSHAKES)
        self.certificate_expiry = Gauge(CERTIFICATE_EXPIRY)
        self.secret_expiry = Gauge(SECRET_EXPIRY)
        self.accepted = Counter(ACCEPTED)
        self.accept_refused = Counter(ACCEPT_REFUSED)
        self.accept_pauses = Counter(ACCEPT_PAUSES)
        self.kernel_filters = Gauge(KERNEL_FILTERS)
        self.kernel_dropped = Gauge(KERNEL_DROPPED)
        self.tcp_open = Gauge(TCP_OPEN)
        self.tcp_opened = Counter(TCP_OPENED)
        self.tcp_failed = Counter(TCP_FAILED)
        self.tcp_bytes = Counter(TCP_BYTES)
        self.reloads = Counter(RELOADS)
        self.reload_good = Gauge(RELOAD_GOOD)
        self.reload_good.set(1)
        self.workers = Gauge(WORKERS)
        self.worker_exits = Counter(WORKER_EXITS)
        self.generation = Gauge(GENERATION)
        self.log_dropped = Counter(LOG_DROPPED)
        self.log_withheld = Counter(LOG_WITHHELD)
        self.journal_dropped = Counter(JOURNAL_DROPPED)
        self.set_age = Gauge(SET_AGE)
        self.set_prefixes = Gauge(SET_PREFIXES)
        self.set_refreshes = Counter(SET_REFRESHES)
        self.started = Gauge(STARTED)
        self.build = Gauge(BUILD)
        self.build.set(1, version, python)
        self._routes: dict[str, _Route] = {}
        self._answer_s: dict[str, float] = {}
        self._outcomes: dict[tuple[str, str, str, int], _Outcome] = {}
        self.accept_refused.declare("address")
        for result in ("done", "refused"):
            self.reloads.declare(result)

    def exchange(self, record: ExchangeRecord) -> None:
        """Count an exchange that has ended."""
        # The reason's word and not the member: hashing an Enum member is a Python call, a str knows its hash.
        key = (record.route, record.provider, record.reason.word, record.status // 100)
        outcome = self._outcomes.get(key)
        if outcome is None:
            outcome = self._outcome(key)
        outcome.count += 1
        route = outcome.route
        route.bytes_in += record.bytes_in
        route.bytes_out += record.bytes_out
        seconds = record.duration_s
        series = route.duration
        series[bisect_left(DURATION_BOUNDS, seconds)] += 1
        series[-1] += seconds
        if route.answer_s:
            series = route.budget
            share = seconds / route.answer_s
            series[bisect_left(_SHARES, share)] += 1
            series[-1] += share
        seconds = record.upstream_duration_s
        if seconds:
            series = route.upstream
            series[bisect_left(DURATION_BOUNDS, seconds)] += 1
            series[-1] += seconds
        if record.observed is not None:
            self.observed.inc(record.route, record.observed.word)

    def expect(self, answer_s: Mapping[str, float]) -> None:
        """Say how long the provider of each route waits for an answer; 0 where that is not known."""
        self._answer_s = dict(answer_s)
        for name, route in self._routes.items():
            self._measure_budget(name, route)

    def _measure_budget(self, name: str, route: _Route) -> None:
        route.answer_s = self._answer_s.get(name, 0.0)
        if route.answer_s:
            route.budget = self.sender_budget.series(name)

    def _outcome(self, key: tuple[str, str, str, int]) -> _Outcome:
        name = key[0]
        route = self._routes.get(name)
        if route is None:
            route = _Route(self.durations.series(name), self.upstream_durations.series(name))
            self._routes[name] = route
            self._measure_budget(name, route)
        outcome = self._outcomes[key] = _Outcome(route)
        return outcome

    def snapshot(self) -> Snapshot:
        """All values now, as plain data (it survives ``json``) that can be merged and rendered elsewhere."""
        found: Snapshot = {
            EXCHANGES.name: {
                render_labels(EXCHANGES.labels, (route, provider, word, _status_class(hundreds))): outcome.count
                for (route, provider, word, hundreds), outcome in self._outcomes.items()
            },
            REQUEST_BYTES.name: {render_labels(("route",), (n,)): r.bytes_in for n, r in self._routes.items()},
            RESPONSE_BYTES.name: {render_labels(("route",), (n,)): r.bytes_out for n, r in self._routes.items()},
        }
        for metric in vars(self).values():
            if isinstance(metric, Counter | Histogram):
                found[metric.family.name] = metric.samples()
        return found

    def expose(self) -> bytes:
        """The Prometheus text of this worker alone."""
        return render(self.snapshot())


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Several workers as one: sums, and the greatest of what all of them share."""
    merged: Snapshot = {}
    how = {family.name: family.merge for family in FAMILIES}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            into = merged.setdefault(name, {})
            for labels, value in samples.items():
                before = into.get(labels)
                into[labels] = value if before is None else _combine(how.get(name, "sum"), before, value)
    return merged


def lasting(snapshot: Snapshot) -> Snapshot:
    """What still counts of a worker that is gone: its counters and histograms, not its gauges."""
    kinds = {family.name: family.kind for family in FAMILIES}
    return {name: samples for name, samples in snapshot.items() if kinds.get(name) != "gauge"}


def _combine(how: str, first: float | list[float], second: float | list[float]) -> float | list[float]:
    if isinstance(first, list) and isinstance(second, list):
        return [a + b for a, b in zip(first, second, strict=True)]
    assert not isinstance(first, list)
    assert not isinstance(second, list)
    if how == "sum":
        return first + second
    return max(first, second) if how == "max" else min(first, second)


def _status_class(hundreds: int) -> str:
    return f"{hundreds}xx" if hundreds else "none"
