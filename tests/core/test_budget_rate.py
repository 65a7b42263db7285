"""Token buckets: the rate in the long run, the burst at once, clocks that jump, and memory that stays bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.budget import RateLimiter, RateRule

RULE = RateRule(per_s=20.0, burst=4)
NOW = 1_780_000_000.0


def taken(limiter: RateLimiter, times: list[float], rule: RateRule = RULE) -> list[bool]:
    return [limiter.take("a", rule, now) == 0 for now in times]


def test_a_burst_and_then_the_rate():
    limiter = RateLimiter()
    assert taken(limiter, [NOW] * 6) == [True] * 4 + [False] * 2
    assert taken(limiter, [NOW + 0.05, NOW + 0.05, NOW + 0.1]) == [True, False, True]


def test_a_refusal_says_when_and_takes_nothing():
    limiter = RateLimiter()
    taken(limiter, [NOW] * 4)
    waits = [limiter.take("a", RULE, NOW) for _ in range(100)]
    assert waits == [pytest.approx(0.05, abs=1e-6)] * 100
    assert limiter.take("a", RULE, NOW + waits[0] + 1e-6) == 0


def test_a_rest_fills_the_bucket_and_never_more():
    limiter = RateLimiter()
    taken(limiter, [NOW] * 4)
    assert taken(limiter, [NOW + 3600] * 5) == [True] * 4 + [False]


def test_each_key_has_its_own():
    limiter = RateLimiter()
    taken(limiter, [NOW] * 5)
    assert limiter.take("b", RULE, NOW) == 0


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumps_costs_one_burst_at_most(jump):
    limiter = RateLimiter()
    taken(limiter, [NOW] * 4)
    later = NOW + jump
    taken(limiter, [later])
    assert taken(limiter, [later + 0.2] * 4)[0]


def test_a_clock_that_goes_back_leaves_an_empty_bucket_and_no_debt():
    limiter = RateLimiter()
    taken(limiter, [NOW] * 4)
    earlier = NOW - 3600
    assert limiter.take("a", RULE, earlier) == pytest.approx(0.05)
    assert taken(limiter, [earlier, earlier + 0.0501, earlier + 0.0502]) == [False, True, False]


def test_a_clock_may_begin_at_nought():
    limiter = RateLimiter()
    assert [limiter.take("a", RateRule(1.0, 1), now) == 0 for now in (0.0, 0.5, 1.0)] == [True, False, True]


def test_memory_is_bounded_and_the_oldest_go():
    limiter = RateLimiter(most=3)
    for key in range(100):
        limiter.take(key, RateRule(1.0, 1), NOW)
    assert len(limiter) == 3
    assert [limiter.take(key, RateRule(1.0, 1), NOW) == 0 for key in (99, 98, 97, 0)] == [False, False, False, True]


@given(st.floats(0.01, 1000), st.integers(1, 50), st.lists(st.floats(0, 10), min_size=1, max_size=80))
def test_never_more_than_burst_and_rate(per_s, burst, pauses):
    limiter, rule = RateLimiter(), RateRule(per_s, burst)
    now, passed = NOW, 0
    for pause in pauses:
        now += pause
        passed += limiter.take("a", rule, now) == 0
    # Seconds since 1970 as a float are exact to a quarter of a microsecond: that is the slack.
    assert passed <= burst + (now - NOW) * per_s + 1e-3 * len(pauses) + 1e-6 * per_s * len(pauses)
    assert passed >= 1
