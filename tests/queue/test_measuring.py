"""What the metrics say of a queue."""

from __future__ import annotations

from proxy.core import metric_families as of
from proxy.core.metrics import Metrics
from proxy.queue.group_commit import CommitStatistics
from proxy.queue.keeper import measure_commits, measure_lanes
from proxy.queue.records import LaneCount

NOW = 1_700_000_000.0


def test_what_each_lane_holds() -> None:
    metrics = Metrics()
    counts = [LaneCount("a", live=3, dead=1, bytes=100, oldest=NOW - 60), LaneCount("b", bytes=11, paused=True)]
    measure_lanes(metrics, counts, NOW)
    assert metrics.values(of.QUEUE_DELIVERIES) == {
        ("a", "waiting"): 3, ("a", "dead"): 1, ("b", "waiting"): 0, ("b", "dead"): 0,
    }  # fmt: skip
    assert metrics.values(of.QUEUE_OLDEST) == {("a",): 60, ("b",): 0}
    assert metrics.values(of.QUEUE_PAUSED) == {("a",): 0, ("b",): 1}
    assert metrics.values(of.QUEUE_BYTES) == {(): 111}


def test_commits_are_counted_once() -> None:
    metrics, statistics = Metrics(), CommitStatistics(failures=2)
    statistics.durations.extend([0.002, 0.2])
    statistics.sizes.extend([1, 30])
    for _ in range(2):
        measure_commits(metrics, statistics)
    text = metrics.expose().decode()
    assert "hookward_queue_commit_duration_seconds_count 2" in text
    assert "hookward_queue_commit_changes_sum 31" in text
    assert "hookward_queue_store_failures_total 2" in text
