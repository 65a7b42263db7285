"""Counters, gauges and histograms as plain objects, and their Prometheus text (exposition format 0.0.4).

What ends is counted from its ``ExchangeRecord`` in one call; gauges are set by whoever exposes them, shortly before.
Labels have a small range only (routes, providers, reasons, causes): never an address, a path or an event, which a
stranger could choose. Several workers are shown as one by adding their snapshots. This module never knows a socket,
a clock or a process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxy.core.record import ExchangeRecord

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds in seconds: from "answered from memory" to the longest time-outs of providers (10 s) and ours (90 s).
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)

#: name -> rendered labels -> value; a histogram's value is its counts per bucket (the last is +Inf), then its sum.
Snapshot = dict[str, dict[str, "float | list[float]"]]


@dataclass(frozen=True, slots=True)
class Family:
    """What is known of a metric before anything is counted. ``merge`` says how workers are put together."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    text: str
    labels: tuple[str, ...] = ()
    merge: str = "sum"  # or "max": what all workers share


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

    def dec(self, *labels: str, by: float = 1) -> None:
        """Take ``by`` from the series with these label values."""
        self.inc(*labels, by=-by)


class Histogram:
    """How often durations in seconds fell into each bucket of ``DURATION_BOUNDS``, per label values."""

    __slots__ = ("family", "values")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.values: dict[tuple[str, ...], list[float]] = {}

    def series(self, *labels: str) -> list[float]:
        """The counts per bucket and the sum: for callers that observe often and keep it."""
        return self.values.setdefault(labels, [0] * (len(DURATION_BOUNDS) + 2))

    def observe(self, value: float, *labels: str) -> None:
        """Count one value."""
        series = self.series(*labels)
        series[bisect_left(DURATION_BOUNDS, value)] += 1
        series[-1] += value

    def samples(self) -> dict[str, float | list[float]]:
        """Rendered labels -> counts and sum."""
        return {render_labels(self.family.labels, labels): list(value) for labels, value in self.values.items()}


EXCHANGES = Family(
    "hookward_exchanges_total",
    "counter",
    "Exchanges that have ended, by the word of their reason.",
    ("route", "provider", "reason", "status_class"),
)
DURATION = Family(
    "hookward_exchange_duration_seconds",
    "histogram",
    "From the first byte of the request to the last byte of the answer.",
    ("route",),
)
UPSTREAM_DURATION = Family(
    "hookward_upstream_duration_seconds",
    "histogram",
    "From the first byte sent to the upstream to the last byte of its answer.",
    ("route",),
)
REQUEST_BYTES = Family("hookward_request_bytes_total", "counter", "Content of requests, in bytes.", ("route",))
RESPONSE_BYTES = Family("hookward_response_bytes_total", "counter", "Content of answers, in bytes.", ("route",))
OBSERVED = Family(
    "hookward_observed_refusals_total",
    "counter",
    "Exchanges that were let pass because their route only observes.",
    ("route", "reason"),
)
DIAGNOSES = Family("hookward_diagnoses_total", "counter", "Causes of refusals that were found.", ("route", "diagnosis"))
IN_FLIGHT = Family("hookward_exchanges_in_flight", "gauge", "Exchanges that have begun and not ended.")
BUFFERED = Family("hookward_buffered_bytes", "gauge", "Bytes reserved of the buffer budget.")
BUDGET = Family("hookward_buffer_budget_bytes", "gauge", "The limit of hookward_buffered_bytes.")
WAITING = Family("hookward_buffer_waiting_exchanges", "gauge", "Exchanges that wait for a part of the buffer budget.")
DUPLICATES = Family(
    "hookward_duplicate_keys", "gauge", "Keys of deliveries that this process remembers or has in flight."
)
DUPLICATE_FAILURES = Family(
    "hookward_duplicate_store_failures_total", "counter", "Times that the store of duplicates could not be asked."
)
CONNECTIONS = Family("hookward_connections", "gauge", "Open connections.", ("state",))
ACCEPTED = Family("hookward_connections_accepted_total", "counter", "Connections that passed the checks at accept.")
ACCEPT_REFUSED = Family(
    "hookward_accept_refused_total", "counter", "Connections that were ended before their first request.", ("cause",)
)
ACCEPT_PAUSES = Family(
    "hookward_accept_pauses_total", "counter", "Times that the host had no descriptor or memory for a connection."
)
KERNEL_FILTERS = Family(
    "hookward_kernel_filters", "gauge", "Listening sockets whose kernel drops whom no list admits.", merge="max"
)
KERNEL_DROPPED = Family(
    "hookward_kernel_dropped_packets",
    "gauge",
    "Packets that the kernel has dropped at the listening sockets: by the kernel filter, or because a queue was full.",
    merge="max",
)
TCP_OPEN = Family("hookward_tcp_connections", "gauge", "Open pipes of a plain TCP forward.", ("forward",))
TCP_OPENED = Family("hookward_tcp_opened_total", "counter", "Pipes that were laid.", ("forward",))
TCP_FAILED = Family("hookward_tcp_dial_failures_total", "counter", "Pipes whose upstream refused.", ("forward",))
TCP_BYTES = Family("hookward_tcp_bytes_total", "counter", "Bytes that were piped.", ("forward", "direction"))
RELOADS = Family("hookward_reloads_total", "counter", "Reloads of the configuration.", ("result",))
RELOAD_GOOD = Family(
    "hookward_last_reload_successful", "gauge", "0 where the last reload was refused and the old configuration stays."
)
WORKERS = Family("hookward_workers", "gauge", "Worker processes, by what they do.", ("state",))
WORKER_EXITS = Family(
    "hookward_worker_exits_total", "counter", "Worker processes that ended though nobody had told them to.", ("cause",)
)
GENERATION = Family("hookward_policy_generation", "gauge", "Number of the configuration in force.", merge="max")
LOG_DROPPED = Family(
    "hookward_log_lines_dropped_total", "counter", "Lines of the access log that its sink did not take in time."
)
SET_AGE = Family(
    "hookward_address_set_age_seconds",
    "gauge",
    "Since the feed of a published address set was last known to say what is in force.",
    ("set",),
    "max",
)
SET_PREFIXES = Family(
    "hookward_address_set_prefixes", "gauge", "Prefixes of a published address set; 0 admits nobody.", ("set",), "max"
)
SET_REFRESHES = Family(
    "hookward_address_set_refreshes_total",
    "counter",
    "Times that a feed was asked, by what came of it.",
    ("set", "result"),
)
STARTED = Family("hookward_start_time_seconds", "gauge", "Start of the process since the epoch.", merge="max")
BUILD = Family("hookward_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python"), "max")

FAMILIES = (
    EXCHANGES,
    DURATION,
    UPSTREAM_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    OBSERVED,
    DIAGNOSES,
    IN_FLIGHT,
    BUFFERED,
    BUDGET,
    WAITING,
    DUPLICATES,
    DUPLICATE_FAILURES,
    CONNECTIONS,
    ACCEPTED,
    ACCEPT_REFUSED,
    ACCEPT_PAUSES,
    KERNEL_FILTERS,
    KERNEL_DROPPED,
    TCP_OPEN,
    TCP_OPENED,
    TCP_FAILED,
    TCP_BYTES,
    RELOADS,
    RELOAD_GOOD,
    WORKERS,
    WORKER_EXITS,
    GENERATION,
    LOG_DROPPED,
    SET_AGE,
    SET_PREFIXES,
    SET_REFRESHES,
    STARTED,
    BUILD,
)


class _Route:
    """The series of one route, found once."""

    __slots__ = ("bytes_in", "bytes_out", "duration", "upstream")

    def __init__(self, duration: list[float], upstream: list[float]) -> None:
        self.duration = duration
        self.upstream = upstream
        self.bytes_in = 0
        self.bytes_out = 0


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
        self.observed = Counter(OBSERVED)
        self.diagnoses = Counter(DIAGNOSES)
        self.in_flight = Gauge(IN_FLIGHT)
        self.buffered = Gauge(BUFFERED)
        self.budget = Gauge(BUDGET)
        self.waiting = Gauge(WAITING)
        self.duplicates = Gauge(DUPLICATES)
        self.duplicate_failures = Counter(DUPLICATE_FAILURES)
        self.connections = Gauge(CONNECTIONS)
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
        self.set_age = Gauge(SET_AGE)
        self.set_prefixes = Gauge(SET_PREFIXES)
        self.set_refreshes = Counter(SET_REFRESHES)
        self.started = Gauge(STARTED)
        self.build = Gauge(BUILD)
        self.build.set(1, version, python)
        self._routes: dict[str, _Route] = {}
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
        seconds = record.upstream_duration_s
        if seconds:
            series = route.upstream
            series[bisect_left(DURATION_BOUNDS, seconds)] += 1
            series[-1] += seconds
        if record.observed is not None:
            self.observed.inc(record.route, record.observed.word)

    def _outcome(self, key: tuple[str, str, str, int]) -> _Outcome:
        name = key[0]
        route = self._routes.get(name)
        if route is None:
            route = _Route(self.durations.series(name), self.upstream_durations.series(name))
            self._routes[name] = route
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
    return max(first, second) if how == "max" else first + second


def render(snapshot: Snapshot) -> bytes:
    """The Prometheus text (format 0.0.4) of a snapshot; families without a sample are left out."""
    lines: list[str] = []
    for family in FAMILIES:
        samples = snapshot.get(family.name)
        if not samples:
            continue
        lines.append(f"# HELP {family.name} {family.text}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in samples.items():
            if isinstance(value, list):
                lines.extend(_histogram_lines(family.name, labels, value))
            else:
                lines.append(
                    f"{family.name}{{{labels}}} {_number(value)}" if labels else f"{family.name} {_number(value)}"
                )
    lines.append("")
    return "\n".join(lines).encode("utf-8", "replace")


def _histogram_lines(name: str, labels: str, value: list[float]) -> list[str]:
    lines: list[str] = []
    total = 0.0
    before = f"{labels}," if labels else ""
    bounds = [_number(bound) for bound in DURATION_BOUNDS] + ["+Inf"]
    for bound, count in zip(bounds, value[:-1], strict=True):
        total += count
        lines.append(f'{name}_bucket{{{before}le="{bound}"}} {_number(total)}')
    after = f"{{{labels}}}" if labels else ""
    lines.append(f"{name}_sum{after} {_number(value[-1])}")
    lines.append(f"{name}_count{after} {_number(total)}")
    return lines


def _number(value: float) -> str:
    # Whole numbers without an exponent or ".0": they are counts, and a float's repr is exact for the rest.
    return str(int(value)) if value == int(value) else repr(value)


def _status_class(hundreds: int) -> str:
    return f"{hundreds}xx" if hundreds else "none"


def render_labels(names: Sequence[str], values: Sequence[str]) -> str:
    """``name="value",…`` with the three escapes of the format; "" without labels."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
