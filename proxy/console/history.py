"""What went through each route in the last hour, minute by minute, of one worker; and several workers as one.

Each minute the totals that are counted anyway are looked at, so that a delivery costs nothing more. What is kept is the
difference to the minute before: requests, refusals by reason, and how long they took, in the buckets of the metrics.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import field
from itertools import accumulate, chain
from typing import Any

from proxy.console.kept import Json
from proxy.core.metric_families import DURATION, DURATION_BOUNDS, EXCHANGES
from proxy.core.metrics import Metrics, Snapshot
from proxy.reasons import GOOD
from proxy.values import mutable

STEP_S = 60
POINTS = 60
#: The words of ends that are no refusal.
GOOD_WORDS = frozenset(reason.word for reason in GOOD)


@mutable
class Totals:
    """Of one route: how exchanges ended, by reason, and how many fell into each bucket of duration."""

    reasons: Counter[str] = field(default_factory=Counter)
    buckets: list[float] = field(default_factory=lambda: [0.0] * (len(DURATION_BOUNDS) + 1))

    def less(self, before: Totals | None) -> Totals:
        """What has come since."""
        if before is None:
            return self
        gone = [now - then for now, then in zip(self.buckets, before.buckets, strict=True)]
        return Totals(self.reasons - before.reasons, gone)

    def add(self, other: Totals) -> None:
        """Take another worker's, or another minute's, to it."""
        self.reasons.update(other.reasons)
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def plain(self) -> Json:
        """As JSON carries it to another worker."""
        return {"reasons": dict(self.reasons), "buckets": self.buckets}

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.reasons.total()

    @property
    def refusals(self) -> Counter[str]:
        """The reasons that are refusals or failures."""
        return Counter({word: count for word, count in self.reasons.items() if word not in GOOD_WORDS})

    def figures(self) -> Json:
        """As it is shown: counts, and the times that a half and 99 % stayed under, in seconds."""
        return {
            "requests": self.requests,
            "refused": self.refusals.total(),
            "reasons": dict(self.reasons.most_common()),
            "p50_s": quantile(self.buckets, 0.5),
            "p99_s": quantile(self.buckets, 0.99),
        }


class History:
    """One worker's. ``begin`` looks at the totals each minute until ``close``."""

    def __init__(self, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._metrics = metrics
        self._loop = loop
        self._last: dict[str, Totals] = {}
        self._points: deque[tuple[int, dict[str, Totals]]] = deque(maxlen=POINTS)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, wall: float) -> None:
        """``wall`` is now, in seconds since the epoch: points stand on whole minutes, the same in all workers."""
        self._timer = self._loop.call_later(STEP_S - wall % STEP_S, self._look, int(wall) // STEP_S * STEP_S)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, minute: int) -> None:
        self._points.append((minute, self._since_last(keep=True)))
        self._timer = self._loop.call_later(STEP_S, self._look, minute + STEP_S)

    def _since_last(self, *, keep: bool) -> dict[str, Totals]:
        now = totals(self._metrics.snapshot())
        gone = {route: one.less(self._last.get(route)) for route, one in now.items()}
        self._last = now if keep else self._last
        return {route: one for route, one in gone.items() if one.reasons}

    def plain(self, wall: float) -> list[Json]:
        """All points and the minute that is under way, as JSON carries them."""
        points = [*self._points, (int(wall) // STEP_S * STEP_S, self._since_last(keep=False))]
        return [{"time": at, "routes": {name: one.plain() for name, one in routes.items()}} for at, routes in points]


def totals(snapshot: Snapshot) -> dict[str, Totals]:
    """What has been counted of each route since the start."""
    found: dict[str, Totals] = {}
    for (route, _, word, _), count in snapshot.get(EXCHANGES.name, {}).items():
        assert not isinstance(count, list)
        found.setdefault(route, Totals()).reasons[word] += int(count)
    for (route,), series in snapshot.get(DURATION.name, {}).items():
        assert isinstance(series, list)
        found.setdefault(route, Totals()).buckets = list(series[:-1])
    return found


def merge(workers: Iterable[list[Any]]) -> dict[str, Json]:
    """Of each route the last hour and its points, of all workers' ``History.plain``."""
    points: dict[str, dict[int, Totals]] = {}
    for point in chain(*workers):
        for name, one in point["routes"].items():
            into = points.setdefault(name, {}).setdefault(point["time"], Totals())
            into.add(Totals(Counter(one["reasons"]), one["buckets"]))
    return {name: _shown(of_route) for name, of_route in points.items()}


def _shown(points: Mapping[int, Totals]) -> Json:
    hour = Totals()
    for one in points.values():
        hour.add(one)
    return {"hour": hour.figures(), "points": [{"time": at, **points[at].figures()} for at in sorted(points)]}


def quantile(buckets: list[float], share: float) -> float | None:
    """The time, in seconds, that a share of what fell into the buckets stayed under; None of nothing."""
    sums = list(accumulate(buckets))
    if not sums or not sums[-1]:
        return None
    wanted = share * sums[-1]
    at = bisect_right(sums, wanted) if sums[-1] > wanted else len(sums) - 1
    if at >= len(DURATION_BOUNDS):
        return DURATION_BOUNDS[-1]
    low = DURATION_BOUNDS[at - 1] if at else 0.0
    below = sums[at - 1] if at else 0.0
    inside = (wanted - below) / buckets[at] if buckets[at] else 0.0
    return round(low + (DURATION_BOUNDS[at] - low) * inside, 6)
