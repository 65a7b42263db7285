"""What a courier may still believe of what it took."""

from __future__ import annotations

from proxy.queue.redis_claims import MARGIN, MOST_NAMES, CourierClaims, steady


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
