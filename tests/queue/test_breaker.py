"""The breaker and the pace of a lane, as values."""

from __future__ import annotations

import pytest

from proxy.core.delivery import Pace
from proxy.queue.breaker import IN_A_ROW, MOVES, PAUSE_MOST_S, Breaker, BreakerState


def broken(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(IN_A_ROW):
        breaker.failed(now)
    return breaker


def test_each_state_is_left() -> None:
    assert set(MOVES) == set(BreakerState)
    assert all(MOVES.values())


def test_it_opens_after_some_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(IN_A_ROW - 1):
        breaker.failed(0.0)
    assert breaker.most(4, 0.0) == 4
    breaker.failed(0.0)
    assert breaker.most(4, 0.0) == 0
    assert breaker.closes_at == 1.0


def test_it_opens_by_the_share_of_failures() -> None:
    breaker = Breaker()
    for _ in range(6):
        breaker.succeeded(4)
        breaker.failed(0.0)
    assert breaker.state is BreakerState.CLOSED, "half are not more than half"
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.state is BreakerState.OPEN


def test_one_probe_at_a_time_and_a_ramp_after() -> None:
    breaker = broken()
    assert breaker.most(16, 0.9) == 0
    assert breaker.most(16, 1.0) == 1
    assert breaker.closes_at is None
    breaker.succeeded(16)
    seen = [breaker.most(16, 2.0)]
    while seen[-1] < 16:
        breaker.succeeded(16)
        seen.append(breaker.most(16, 2.0))
    assert seen == [2, 4, 8, 16]


def test_the_pause_doubles_and_has_an_end() -> None:
    breaker, now = broken(), 0.0
    pauses = []
    for _ in range(8):
        assert breaker.closes_at is not None
        pauses.append(breaker.closes_at - now)
        now = breaker.closes_at
        assert breaker.most(4, now) == 1
        breaker.failed(now)
    assert pauses == [1, 2, 4, 8, 16, PAUSE_MOST_S, PAUSE_MOST_S, PAUSE_MOST_S]


def test_what_was_out_before_says_nothing_more() -> None:
    breaker = broken()
    breaker.failed(0.5)
    breaker.succeeded(4)
    assert breaker.state is BreakerState.OPEN
    assert breaker.most(4, 0.9) == 0


@pytest.mark.parametrize("per_s", [1.0, 10.0, 1000.0])
def test_a_pace_is_kept(per_s: float) -> None:
    pace, now, gone = Pace(), 0.0, 0
    while now < 10.0:
        if wait := pace.wait_s(per_s, now):
            now += max(wait, 0.003)  # a timer of a busy loop
        else:
            pace.went(per_s, now)
            gone += 1
    assert 10 * per_s * 0.9 <= gone <= 10 * per_s * 1.1 + 1


def test_no_pace_is_no_wait() -> None:
    pace = Pace()
    for _ in range(100):
        assert pace.wait_s(0.0, 0.0) == 0.0
        pace.went(0.0, 0.0)
