"""Liveness, pauses between dials, and sleep: values of time, tried without a clock."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.link import BACKOFF_FIRST_S, BACKOFF_MOST_S, REFUSED_S, Backoff, Sleep
from proxy.agent.talk import PING_S, SILENCE_S, Pulse


def test_a_ping_is_due_every_five_seconds() -> None:
    pulse = Pulse(100.0)
    due = [now for now in (100.0 + half / 2 for half in range(60)) if pulse.ping(now)]
    assert due == [100.0 + PING_S * n for n in range(1, 6)]


@given(st.lists(st.floats(0.0, 20.0), max_size=30))
def test_it_is_dead_exactly_when_nothing_came_for_the_silence(gaps: list[float]) -> None:
    now, heard = 0.0, 0.0
    pulse = Pulse(now)
    for gap in gaps:
        now += gap
        assert pulse.is_dead(now) == (now - heard >= SILENCE_S)
        pulse.heard(now)
        heard = now
        assert not pulse.is_dead(now)
        assert pulse.next_s(now) > 0


def test_an_end_that_dies_is_noticed_within_ten_seconds_of_its_last_word() -> None:
    """With looks a second apart, as both ends make them."""
    pulse = Pulse(0.0)
    assert next(now for now in range(20) if pulse.is_dead(float(now))) <= 10


def test_pings_and_answers_keep_two_ends_alive_over_a_slow_line() -> None:
    """300 ms each way, for an hour."""
    ends = [Pulse(0.0), Pulse(0.0)]
    on_the_way: list[tuple[float, int]] = []
    for tick in range(36_000):
        now = tick / 10
        for at, to in [one for one in on_the_way if one[0] <= now]:
            on_the_way.remove((at, to))
            ends[to].heard(now)
        for number, end in enumerate(ends):
            assert not end.is_dead(now)
            if end.ping(now):
                on_the_way.append((now + 0.3, 1 - number))


@given(st.integers(0, 2**32), st.lists(st.floats(0.0, 30.0), min_size=1, max_size=200))
def test_pauses_grow_at_random_to_their_bound_and_begin_anew(seed: int, gaps: list[float]) -> None:
    drawn: list[tuple[float, float]] = []
    dice = random.Random(seed)

    def uniform(least: float, most: float) -> float:
        drawn.append((least, most))
        return dice.uniform(least, most)

    backoff = Backoff(uniform)
    times = list(accumulate(gaps))
    pauses = [backoff.failed(began) for began in times]
    assert all(0 <= pause <= BACKOFF_MOST_S for pause in pauses)
    assert drawn[0] == (0.0, BACKOFF_FIRST_S)
    assert [most for _, most in drawn] == sorted(most for _, most in drawn)
    backoff.succeeded()
    assert backoff.failed(times[-1] + 1000.0) <= BACKOFF_FIRST_S
    assert REFUSED_S[0] <= backoff.refused() <= REFUSED_S[1]
    assert 1.0 <= backoff.between(1.0, 2.0) <= 2.0


@pytest.mark.parametrize("dial_s", [0.001, 4.0], ids=["refused", "no-answer"])
@pytest.mark.parametrize(("outage_s", "most_s"), [(10.0, 5.0), (60.0, 5.0), (90.0, 5.0), (3600.0, 15.0)])
def test_it_is_never_far_from_the_next_dial(dial_s: float, outage_s: float, most_s: float) -> None:
    """However dials fail: from any moment of an outage on, the next one begins within that time."""
    backoff = Backoff(lambda _least, most: most)
    now = 0.0
    while now < outage_s:
        ended = max(now + dial_s, now + backoff.failed(now))
        assert ended - now <= most_s + 1e-6
        now = ended


def test_the_bound_is_reached() -> None:
    backoff = Backoff(lambda _least, most: most)
    assert [backoff.failed(10.0 * number) for number in range(40)][-1] == BACKOFF_MOST_S


def test_a_sleep_is_noticed_by_either_clock_and_once() -> None:
    sleep = Sleep(0.0, 0.0)
    assert not sleep.slept(1.0, 1.0, 1.0)
    assert not sleep.slept(5.0, 5.0, 1.0), "a busy machine"
    assert sleep.slept(6.0, 66.0, 1.0), "suspended: the monotonic clock stood still"
    assert not sleep.slept(7.0, 67.0, 1.0)
    assert sleep.slept(67.0, 127.0, 1.0), "stopped by a signal"
    assert not sleep.slept(68.0, 128.0, 1.0)
