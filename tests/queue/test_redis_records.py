"""What is read from Redis is a record, or an error of the queue; and what a courier may believe of what it took."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.queue.records import QueueError, Try
from proxy.queue.redis_records import (
    MARGIN,
    MOST_NAMES,
    CourierClaims,
    as_queue_error,
    read_kept,
    read_lane_count,
    read_taken,
    steady,
    text_of,
)

TRIED = text_of(Try(1.0, 200, "delivered")).encode()
texts = st.binary(max_size=20) | st.sampled_from([b"1", b"{}", b"2.5", b"[1]", TRIED])


@given(st.lists(texts, min_size=13, max_size=16), st.lists(texts, max_size=2))
def test_nothing_but_its_own_error(row: list[bytes], tries: list[bytes]) -> None:
    for read in (
        lambda: read_taken(row),
        lambda: read_kept(row, tries, with_body=True),
        lambda: read_lane_count([row[0], row[1:5], row[5:7], row[7:9]]),
    ):
        with suppress(QueueError), as_queue_error():
            read()


def test_a_try_is_read_as_it_was_written() -> None:
    last = Try(1.5, 503, "word", 'a "detail"', 0.25)
    row = [b"1", b"id", b"hook", b"2.5", b"2.5", b"1", b"", b"", b"0", b"3", b"9.5", b"{}", b"", b"head", b""]
    kept = read_kept(row, [text_of(last).encode()], with_body=False)
    assert kept.tries == (last,)
    with pytest.raises(QueueError), as_queue_error():
        read_taken(row[1:])


def test_what_was_taken_is_certain_until_the_lease_may_be_over() -> None:
    claims = CourierClaims(100.0)
    claims.add([1, 2])
    assert not claims.holds(1), "Redis has not said that it lives"
    claims.add([1])
    now = steady()
    claims.heard(now)
    assert claims.holds(1)
    claims.heard(now - 100.0 * (1 - MARGIN))
    assert not claims.holds(1)
    claims.heard(now)
    assert not claims.holds(1), "what was not sent in time is let go"
    assert claims.holds(2)
    claims.discard([2])
    assert not claims.knows(2)


def test_another_life_has_another_name_and_nothing() -> None:
    claims = CourierClaims(100.0)
    claims.add([1])
    claims.heard(steady())
    first = claims.name
    claims.renew()
    assert claims.name != first
    assert not claims.holds(1)
    assert f" {first} " in claims.names
    for _ in range(MOST_NAMES):
        claims.renew()
    assert f" {first} " not in claims.names
    assert len(claims.names.split()) == MOST_NAMES
