"""What went through each route in the last hour."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.console.history import History, merge, quantile, totals
from proxy.core.metric_families import DURATION_BOUNDS
from proxy.core.metrics import Metrics
from proxy.core.record import ExchangeRecord
from proxy.reasons import Reason


def ended(metrics: Metrics, route: str, reason: Reason, duration_s: float) -> None:
    record = ExchangeRecord("r", 0.0, "p", "c", reason=reason, route=route, status=200, duration_s=duration_s)
    metrics.exchange(record)


def test_an_hour_of_two_workers() -> None:
    workers = []
    loop = asyncio.new_event_loop()
    for number in range(2):
        metrics = Metrics()
        history = History(metrics, loop)
        history.begin(30.0)
        for _ in range(9):
            ended(metrics, "github", Reason.DELIVERED, 0.004)
        ended(metrics, "github", Reason.SIGNATURE_MISMATCH, 0.4)
        history._look(0)
        for _ in range(number + 1):
            ended(metrics, "github", Reason.DELIVERED, 0.004)
        workers.append(json.loads(json.dumps(history.plain(61.0))))
        history.close()
    loop.close()
    found: Any = merge(workers)["github"]
    assert (found["hour"]["requests"], found["hour"]["refused"]) == (23, 2)
    assert found["hour"]["reasons"] == {"delivered": 21, "signature_mismatch": 2}
    assert [(point["time"], point["requests"]) for point in found["points"]] == [(0, 20), (60, 3)]
    assert 0.0025 < found["hour"]["p50_s"] <= 0.005
    assert 0.25 < found["hour"]["p99_s"] <= 0.5


def test_no_more_than_an_hour_is_kept() -> None:
    loop = asyncio.new_event_loop()
    metrics = Metrics()
    history = History(metrics, loop)
    for minute in range(100):
        ended(metrics, "a", Reason.DELIVERED, 0.1)
        history._look(minute * 60)
        history.close()
    assert len(history.plain(6000.0)) == 61
    loop.close()


@pytest.mark.parametrize(
    ("buckets", "share", "low", "high"),
    [
        ({0: 10}, 0.5, 0.0, DURATION_BOUNDS[0]),
        ({3: 1, 5: 99}, 0.99, DURATION_BOUNDS[4], DURATION_BOUNDS[5]),
        ({len(DURATION_BOUNDS): 5}, 0.5, DURATION_BOUNDS[-1], DURATION_BOUNDS[-1]),
    ],
)
def test_quantiles_lie_in_their_bucket(buckets: dict[int, int], share: float, low: float, high: float) -> None:
    counts = [float(buckets.get(at, 0)) for at in range(len(DURATION_BOUNDS) + 1)]
    found = quantile(counts, share)
    assert found is not None
    assert low <= found <= high


def test_of_nothing_there_is_none() -> None:
    assert quantile([0.0, 0.0], 0.5) is None
    assert totals(Metrics().snapshot()) == {}
