"""What the courier may send of a lane, and what becomes of what it sent: values alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.delivery import Deliver, DeliveryRule, RetryRule
from proxy.queue.lane import AHEAD, MOST_HERE, Lane
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
