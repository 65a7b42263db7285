"""What one worker has counted and measured.

What they are is said in ``metric_families``; a new one takes a line there and one where it is counted. What ends is
counted from its ``ExchangeRecord`` in one call; gauges are set shortly before they are exposed. Labels have a small
range only (routes, providers, reasons, causes): never an address, a path or an event, which a client could choose.
Several workers are shown as one by adding their snapshots. Scrapers get them as text: Prometheus' format 0.0.4 or
OpenMetrics 1.0.0. This module never knows a socket, a clock or a process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import cast

from proxy.core.metric_families import (
    BUILD,
    BY_NAME,
    DELIVERIES,
    DURATION,
    DURATION_BOUNDS,
    EXCHANGES,
    FAMILIES,
    OBSERVED,
    RELOAD_GOOD,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    SECRET_USED,
    SECRET_USES,
    SENDER_BUDGET,
    UPSTREAM_DURATION,
    Family,
    Traits,
)
from proxy.core.record import ExchangeRecord
from proxy.values import mutable

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Beyond it no count can come; sums of it stay finite.
_MOST = float(1 << 62)

#: A histogram's sample is its counts per bucket (the last is +Inf), then its sum.
Sample = float | list[float]
#: The values of the family's labels, in their order.
Labels = tuple[str, ...]
#: By the names of the families.
Snapshot = dict[str, dict[Labels, Sample]]


def plain_snapshot(snapshot: Snapshot) -> dict[str, list[tuple[Labels, Sample]]]:
    """The snapshot as JSON can carry it to another process."""
    return {name: list(samples.items()) for name, samples in snapshot.items()}


def read_snapshot(value: object) -> Snapshot:
    """The snapshot in what another process has sent. ValueError where it is none that adds up with others: every family
    must be known, every number finite and small enough to be summed, and no counter below 0.
    """
    if isinstance(value, dict):
        return {name: _read_samples(BY_NAME.get(name), samples) for name, samples in value.items()}
    raise ValueError("no metrics")


def _read_samples(family: Family | None, samples: object) -> dict[Labels, Sample]:
    if family is None or not isinstance(samples, list):
        raise ValueError("an unknown metric")
    found: dict[Labels, Sample] = {}
    for pair in samples:
        labels, sample = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if not isinstance(labels, list) or len(labels) != len(family.labels) or not all(map(_is_text, labels)):
            raise ValueError("labels that are none")
        if not _is_sample(family, sample):
            raise ValueError("a sample that is none")
        found[tuple(labels)] = cast("Sample", sample)
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_sample(family: Family, sample: object) -> bool:
    if family.kind == "histogram":
        whole = isinstance(sample, list) and len(sample) == len(family.bounds) + 2
        *counts, total = cast("list[object]", sample) if whole else [None]
        return all(_is_number(one, 0) for one in counts) and _is_number(total, -_MOST)
    return _is_number(sample, 0 if family.kind == "counter" else -_MOST)


def _is_number(value: object, least: float) -> bool:
    # A comparison with what is no number (NaN) is false.
    return isinstance(value, int | float) and least <= value <= _MOST


def render(snapshot: Snapshot) -> bytes:
    """The Prometheus text (format 0.0.4) of a snapshot; families without a sample are left out."""
    return _render(snapshot, open_metrics=False)


def render_open_metrics(snapshot: Snapshot) -> bytes:
    """The OpenMetrics text (format 1.0.0) of a snapshot; families without a sample are left out."""
    return _render(snapshot, open_metrics=True)


def _render(snapshot: Snapshot, *, open_metrics: bool) -> bytes:
    lines: list[str] = []
    for family in FAMILIES:
        samples = snapshot.get(family.name)
        if not samples:
            continue
        # There a counter's family has the name without the ending that its samples have.
        name = family.name.removesuffix("_total") if open_metrics else family.name
        lines.append(f"# HELP {name} {family.text}")
        lines.append(f"# TYPE {name} {family.kind}")
        for values, value in samples.items():
            labels = _render_labels(family.labels, values)
            if isinstance(value, list):
                lines.extend(_histogram_lines(family, labels, value, open_metrics=open_metrics))
            else:
                lines.append(
                    f"{family.name}{{{labels}}} {_number(value)}" if labels else f"{family.name} {_number(value)}"
                )
    lines += ["# EOF", ""] if open_metrics else [""]
    return "\n".join(lines).encode("utf-8", "replace")


def _histogram_lines(family: Family, labels: str, value: list[float], *, open_metrics: bool) -> list[str]:
    lines: list[str] = []
    name = family.name
    total = 0.0
    before = f"{labels}," if labels else ""
    # OpenMetrics wants the bounds as floats ("1.0"), which the older format has always had as they are.
    bounds = [repr(float(bound)) if open_metrics else _number(bound) for bound in family.bounds] + ["+Inf"]
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


def _render_labels(names: Sequence[str], values: Sequence[str]) -> str:
    """``name="value",…`` with the three escapes of the format; "" without labels."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_SHARES = SENDER_BUDGET.bounds


_UNKNOWN = Traits()
#: Exchanges that have ended are counted together, so many at the most.
GATHERED = 64
#: Labels for deliveries whose event type is not among those that are known, or not named. A client chooses it.
OTHER_EVENT, NO_EVENT = "other", "none"


@mutable
class _Use:
    """How often a secret admitted a delivery, and when that last began; 0 for not yet."""

    count: int = 0
    newest: float = 0.0


@mutable
class _Route:
    """The series of one route, found once."""

    duration: list[float]
    upstream: list[float]
    known: frozenset[str] = frozenset()  # types of events
    events: dict[str, int] = field(default_factory=dict)
    secrets: dict[str, _Use] = field(default_factory=dict)
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
        self._traits: dict[str, Traits] = {}
        self._outcomes: dict[tuple[str, str, str, int], _Outcome] = {}
        self._ended: list[ExchangeRecord] = []  # and not counted yet
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
        self._settle()
        return self._values[family.name]

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """Count a value of a histogram."""
        series = self._histogram(family, *labels)
        series[bisect_left(family.bounds, value)] += 1
        series[-1] += value

    def _histogram(self, family: Family, *labels: str) -> list[float]:
        """The counts per bucket and the sum: for those that observe often and keep it."""
        return self._series[family.name].setdefault(labels, [0] * (len(family.bounds) + 2))

    def exchange(self, record: ExchangeRecord) -> None:
        """Count an exchange that has ended, at the latest when it is asked for: in a row that costs half."""
        self._ended.append(record)
        if len(self._ended) >= GATHERED:
            self._settle()

    def _settle(self) -> None:
        """Count those that have ended since."""
        ended, self._ended = self._ended, []
        outcomes = self._outcomes
        for record in ended:
            # The reason's word and not the member: hashing an Enum member is a Python call, a str knows its hash.
            key = (record.route, record.provider, record.reason.word, record.status // 100)
            outcome = outcomes.get(key) or self._outcome(key)
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
            if record.verdict == "admitted":
                event = record.event
                label = event if event in route.known else OTHER_EVENT if event else NO_EVENT
                route.events[label] = route.events.get(label, 0) + 1
                use = route.secrets.get(record.secret_name)
                if use is not None:
                    use.count += 1
                    use.newest = record.started
            if record.observed is not None:
                self.inc(OBSERVED, record.route, record.observed.word)

    def expect(self, traits: Mapping[str, Traits]) -> None:
        """Say what is known of each route from now on. What was counted of others stays, but for their secrets."""
        self._settle()
        self._traits = dict(traits)
        for name, route in self._routes.items():
            self._learn(name, route)

    def _learn(self, name: str, route: _Route) -> None:
        traits = self._traits.get(name, _UNKNOWN)
        route.known = traits.events
        route.secrets = {secret: route.secrets.get(secret) or _Use() for secret in traits.secrets}
        route.answer_s = traits.answer_s
        if route.answer_s:
            route.budget = self._histogram(SENDER_BUDGET, name)

    def _outcome(self, key: tuple[str, str, str, int]) -> _Outcome:
        name = key[0]
        route = self._routes.get(name)
        if route is None:
            route = _Route(self._histogram(DURATION, name), self._histogram(UPSTREAM_DURATION, name))
            self._routes[name] = route
            self._learn(name, route)
        outcome = self._outcomes[key] = _Outcome(route)
        return outcome

    def _of_secrets(self) -> tuple[dict[Labels, float], dict[Labels, float]]:
        """How often, and when last, each secret was used."""
        # What has not been used is shown from the start: that a secret is not used is what one wants to know.
        uses: dict[Labels, float] = {
            (name, secret): 0 for name, traits in self._traits.items() for secret in traits.secrets
        }
        used: dict[Labels, float] = {}
        for name, secret, use in self._uses():
            uses[name, secret] = use.count
            if use.newest:
                used[name, secret] = use.newest
        return uses, used

    def snapshot(self) -> Snapshot:
        """All values now, as plain data that can be merged and rendered elsewhere."""
        self._settle()
        values = self._values
        values[EXCHANGES.name] = {
            (route, provider, word, f"{hundreds}xx" if hundreds else "none"): outcome.count
            for (route, provider, word, hundreds), outcome in self._outcomes.items()
        }
        values[REQUEST_BYTES.name] = {(name,): route.bytes_in for name, route in self._routes.items()}
        values[RESPONSE_BYTES.name] = {(name,): route.bytes_out for name, route in self._routes.items()}
        values[DELIVERIES.name] = {
            (name, event): count for name, route in self._routes.items() for event, count in route.events.items()
        }
        values[SECRET_USES.name], values[SECRET_USED.name] = self._of_secrets()
        found: Snapshot = {name: {**of_labels} for name, of_labels in values.items()}
        for name, series in self._series.items():
            found[name] = {labels: list(value) for labels, value in series.items()}
        return found

    def _uses(self) -> Iterator[tuple[str, str, _Use]]:
        return ((name, secret, use) for name, route in self._routes.items() for secret, use in route.secrets.items())

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
    """What still counts of a worker that is gone: its counters and histograms, and of its gauges those that last."""
    return {name: each for name, each in snapshot.items() if BY_NAME[name].kind != "gauge" or BY_NAME[name].lasts}


def _combine(how: str, first: Sample, second: Sample) -> Sample:
    if isinstance(first, list) and isinstance(second, list):
        return [a + b for a, b in zip(first, second, strict=True)]
    assert not isinstance(first, list)
    assert not isinstance(second, list)
    if how == "sum":
        return first + second
    return max(first, second) if how == "max" else min(first, second)
