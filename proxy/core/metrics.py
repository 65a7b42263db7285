"""What one worker has counted and measured.

What they are is said in ``metric_families``; a new one takes a line there and one where it is counted. What ends is
counted from its ``ExchangeRecord`` in one call; gauges are set shortly before they are exposed. Labels have a small
range only (routes, providers, reasons, causes): never an address, a path or an event, which a client could choose.
Several workers are shown as one by adding their snapshots. This module never knows a socket, a clock or a process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import field

from proxy.core.exposition import Labels, Sample, Snapshot, render
from proxy.core.metric_families import (
    BUILD,
    BY_NAME,
    DURATION,
    DURATION_BOUNDS,
    EXCHANGES,
    FAMILIES,
    OBSERVED,
    RELOAD_GOOD,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    SENDER_BUDGET,
    UPSTREAM_DURATION,
    Family,
)
from proxy.core.record import ExchangeRecord
from proxy.values import mutable

_SHARES = SENDER_BUDGET.bounds


@mutable
class _Route:
    """The series of one route, found once."""

    duration: list[float]
    upstream: list[float]
    bytes_in: int = 0
    bytes_out: int = 0
    answer_s: float = 0.0  # how long the provider waits; 0 where that is not known
    budget: list[float] = field(default_factory=list)


@mutable
class _Outcome:
    """How often one outcome of one route was seen."""

    route: _Route
    count: int = 0


class Metrics:
    """All metrics of one worker: of each family the values by the values of its labels, in their order."""

    def __init__(self, version: str = "", python: str = "") -> None:
        self._values: dict[str, dict[Labels, float]] = {
            family.name: dict.fromkeys(family.known if family.labels else ((),), 0)
            for family in FAMILIES
            if family.kind != "histogram"
        }
        self._series: dict[str, dict[Labels, list[float]]] = {
            family.name: {} for family in FAMILIES if family.kind == "histogram"
        }
        self._routes: dict[str, _Route] = {}
        self._answer_s: dict[str, float] = {}
        self._outcomes: dict[tuple[str, str, str, int], _Outcome] = {}
        self.set(RELOAD_GOOD, 1)
        self.set(BUILD, 1, version, python)

    def inc(self, family: Family, *labels: str) -> None:
        """Count one more."""
        values = self._values[family.name]
        values[labels] = values.get(labels, 0) + 1

    def set(self, family: Family, value: float, *labels: str) -> None:
        """A gauge as it is found, or a counter's total that is counted elsewhere."""
        self._values[family.name][labels] = value

    def replace(self, family: Family, values: Mapping[Labels, float]) -> None:
        """All values of a gauge at once; what is not among them is no longer shown."""
        self._values[family.name] = dict(values)

    def values(self, family: Family) -> Mapping[Labels, float]:
        """What is known of a counter or gauge."""
        return self._values[family.name]

    def _histogram(self, family: Family, *labels: str) -> list[float]:
        """The counts per bucket and the sum: for those that observe often and keep it."""
        return self._series[family.name].setdefault(labels, [0] * (len(family.bounds) + 2))

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
            self.inc(OBSERVED, record.route, record.observed.word)

    def expect(self, answer_s: Mapping[str, float]) -> None:
        """Say how long the provider of each route waits for an answer; 0 where that is not known."""
        self._answer_s = dict(answer_s)
        for name, route in self._routes.items():
            self._measure_budget(name, route)

    def _measure_budget(self, name: str, route: _Route) -> None:
        route.answer_s = self._answer_s.get(name, 0.0)
        if route.answer_s:
            route.budget = self._histogram(SENDER_BUDGET, name)

    def _outcome(self, key: tuple[str, str, str, int]) -> _Outcome:
        name = key[0]
        route = self._routes.get(name)
        if route is None:
            route = _Route(self._histogram(DURATION, name), self._histogram(UPSTREAM_DURATION, name))
            self._routes[name] = route
            self._measure_budget(name, route)
        outcome = self._outcomes[key] = _Outcome(route)
        return outcome

    def snapshot(self) -> Snapshot:
        """All values now, as plain data that can be merged and rendered elsewhere."""
        values = self._values
        values[EXCHANGES.name] = {
            (route, provider, word, f"{hundreds}xx" if hundreds else "none"): outcome.count
            for (route, provider, word, hundreds), outcome in self._outcomes.items()
        }
        values[REQUEST_BYTES.name] = {(name,): route.bytes_in for name, route in self._routes.items()}
        values[RESPONSE_BYTES.name] = {(name,): route.bytes_out for name, route in self._routes.items()}
        found: Snapshot = {name: {**of_labels} for name, of_labels in values.items()}
        for name, series in self._series.items():
            found[name] = {labels: list(value) for labels, value in series.items()}
        return found

    def expose(self) -> bytes:
        """The Prometheus text of this worker alone."""
        return render(self.snapshot())


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Several workers as one: sums, and the greatest or the least of what all of them share."""
    merged: Snapshot = {}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            into = merged.setdefault(name, {})
            how = BY_NAME[name].merge
            for labels, value in samples.items():
                before = into.get(labels)
                into[labels] = value if before is None else _combine(how, before, value)
    return merged


def lasting(snapshot: Snapshot) -> Snapshot:
    """What still counts of a worker that is gone: its counters and histograms, not its gauges."""
    return {name: samples for name, samples in snapshot.items() if BY_NAME[name].kind != "gauge"}


def _combine(how: str, first: Sample, second: Sample) -> Sample:
    if isinstance(first, list) and isinstance(second, list):
        return [a + b for a, b in zip(first, second, strict=True)]
    assert not isinstance(first, list)
    assert not isinstance(second, list)
    if how == "sum":
        return first + second
    return max(first, second) if how == "max" else min(first, second)
