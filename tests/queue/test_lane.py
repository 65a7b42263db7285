"""A lane and its breaker, as values: what may go, and what becomes of what went."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.delivery import Deliver, DeliveryRule, Pace, RetryRule
from proxy.queue.lane import AHEAD, IN_A_ROW, MOST_HERE, MOVES, PAUSE_MOST_S, Breaker, BreakerState, Lane
from proxy.queue.records import Condition, Parcel, Settlement, Taken, Try

RULE = DeliveryRule(Deliver.QUEUE, concurrency=2, retry=RetryRule(first_s=10.0, most_s=100.0, for_s=1000.0))
WALL = 1_700_000_000.0


def taken(number: int, attempts: int = 0) -> Taken:
    return Taken(number, Parcel(f"d{number}", "hook", WALL, b"h", b"", 0), attempts, WALL)


def lane(count: int = 5, rule: DeliveryRule = RULE) -> Lane:
    one = Lane("hook", rule)
    one.fetching()
    one.fetched([taken(number) for number in range(count)], count + 1)
    return one


def end(one: Lane, what: Taken, status: int, *, now: float = 0.0, asked_s: float = 0.0) -> Settlement:
    return one.ended(what, Try(WALL, status, "word"), now=now, wall=WALL + now, chance=1.0, asked_s=asked_s)


def send(one: Lane, now: float = 0.0) -> Taken:
    assert one.may_send(now)
    return one.next(now)


def test_no_more_go_than_may() -> None:
    one = lane()
    first = send(one)
    send(one)
    assert not one.may_send(0.0)
    assert end(one, first, 200) == Settlement(0, None, Try(WALL, 200, "word"))
    assert send(one).number == 2


def test_what_fails_is_due_again_and_later_dead() -> None:
    one = lane()
    assert end(one, send(one), 500) == Settlement(0, Condition.WAITING, Try(WALL, 500, "word"), WALL + 10)
    assert one.next_due == WALL + 10
    assert end(one, send(one)._replace(attempts=9), 0).due == WALL + 100
    late = send(one)._replace(begun=WALL - 999)
    assert end(one, late, 500).condition is Condition.DEAD


def test_what_the_application_refuses_is_dead_at_once() -> None:
    one = lane()
    assert end(one, send(one), 404).condition is Condition.DEAD


def test_a_pause_that_is_asked_for_is_for_all() -> None:
    one = lane()
    first = send(one)
    assert end(one, first, 429, asked_s=30.0).due == WALL + 30
    assert not one.may_send(29.0)
    assert one.wakes_in(0.0, WALL) == 30.0
    send(one, 30.0)


def test_an_application_that_fails_is_left_alone() -> None:
    one = lane(20)
    for _ in range(5):
        end(one, send(one), 0)
    assert not one.may_send(0.5)
    assert one.wants(0.5, WALL) == 0
    assert one.wakes_in(0.5, WALL) == 0.5
    probe = send(one, 1.0)
    assert not one.may_send(1.0), "one probe at a time"
    end(one, probe, 200, now=1.0)
    send(one, 1.0)


@pytest.mark.parametrize("why", ["paused", "away"])
def test_nothing_goes_of_a_lane_that_rests(why: str) -> None:
    one = lane()
    for _ in range(5):
        end(one, one.ready.popleft(), 0)  # the breaker opens
    setattr(one, why, True)
    assert not one.may_send(99.0)
    assert one.wants(99.0, WALL + 99.0) == 0
    assert not one.is_idle
    assert one.wakes_in(99.0, WALL) is None, "only an event can change that"
    setattr(one, why, False)
    assert one.wakes_in(99.0, WALL) == 0.0


def test_it_fetches_ahead_and_no_more_than_that() -> None:
    one = Lane("hook", RULE)
    wanted = one.wants(0.0, WALL)
    assert wanted == RULE.concurrency + AHEAD
    one.fetched([taken(number) for number in range(wanted)], wanted)
    assert one.wants(0.0, WALL) == 0, "full"
    one.ready.clear()
    one.fetching()
    one.fetched([], wanted)
    assert one.wants(0.0, WALL) == 0, "there is no more"
    one.next_due = WALL + 5
    assert one.wants(0.0, WALL + 4) == 0
    assert one.wants(0.0, WALL + 5) > 0


def test_what_comes_while_the_store_is_asked_is_not_missed() -> None:
    one = Lane("hook", RULE)
    one.fetching()
    one.may_have_more = True  # something has come
    one.fetched([], 9)
    assert one.wants(0.0, WALL) > 0


def test_what_has_just_come_goes_first_only_where_nothing_waits() -> None:
    one = lane(0)
    assert one.is_idle
    one.may_have_more = True
    assert not one.is_idle
    assert not lane(0, replace(RULE, strict=True)).is_idle
    full = lane(AHEAD + RULE.concurrency)
    assert not full.is_idle
    one = lane(0)
    one.coming = MOST_HERE - 1
    assert one.is_idle
    one.coming = MOST_HERE
    assert not one.is_idle, "so many are in memory at most"


def test_what_was_not_sent_is_given_back() -> None:
    one = lane()
    send(one)
    assert [back.number for back in one.take_back()] == [1, 2, 3, 4]
    assert not one.may_send(0.0)


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
