"""Brings the metrics of a queue up to date: what the store holds, and how its writing thread fares."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core import metric_families as of
from proxy.core.metrics import Metrics
from proxy.queue.group_commit import CommitStatistics
from proxy.queue.records import LaneCount


def measure_lanes(metrics: Metrics, counts: Iterable[LaneCount], now: float) -> None:
    """What each lane holds. ``now`` is in seconds since the epoch."""
    counts = list(counts)
    states: dict[tuple[str, ...], float] = {}
    for count in counts:
        states[count.lane, "waiting"] = count.live
        states[count.lane, "dead"] = count.dead
    metrics.replace(of.QUEUE_DELIVERIES, states)
    oldest = {count.lane: now if count.oldest is None else count.oldest for count in counts}
    metrics.replace(of.QUEUE_OLDEST, {(lane,): max(0.0, now - since) for lane, since in oldest.items()})
    metrics.replace(of.QUEUE_PAUSED, {(count.lane,): float(count.paused) for count in counts})
    metrics.set(of.QUEUE_BYTES, sum(count.bytes for count in counts))


def measure_commits(metrics: Metrics, statistics: CommitStatistics) -> None:
    """What the writing thread has done since it was looked at last."""
    metrics.set(of.QUEUE_FAILURES, statistics.failures)
    for waiting, family in ((statistics.durations, of.QUEUE_COMMIT), (statistics.sizes, of.QUEUE_BATCH)):
        for _ in range(len(waiting)):
            metrics.observe(family, waiting.popleft())
