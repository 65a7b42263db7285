"""Exchanges that wait for their turn before the application: what they hold meanwhile, and every way to end."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.delivery import Deliver, DeliveryRule, TurnRule
from proxy.core.policy import BodyMode
from proxy.net.keeping import KeepingExchange, PacedExchange, exchange_for
from proxy.reasons import Reason
from tests.net.dialogue import OK, End, World, forged, policy, request, route, signed
from tests.net.test_exchange import ANSWERED
from tests.net.test_keeping import APP, FakeQueue

BODY = b'{"n":1}'
ONE = TurnRule(concurrency=1)
FALLBACK = DeliveryRule(Deliver.FALLBACK)


def talk(rule: TurnRule = ONE, **more: Any) -> World:
    fields: dict[str, Any] = {"body": BodyMode.HOLD, "upstream": (APP,)}
    return World(route(turns=rule, **fields | more))


def keeping(**more: Any) -> tuple[World, FakeQueue]:
    world = talk(delivery=FALLBACK, **more)
    world.site.queue = queue = FakeQueue()
    return world, queue


def waiting(world: World) -> float:
    return sum(world.site.turnstiles.waiting().values())


def send(world: World) -> End:
    return world.sender() >> signed(BODY)


def test_each_route_has_its_kind() -> None:
    assert exchange_for(route(turns=ONE)) is PacedExchange
    assert exchange_for(route(turns=ONE, delivery=FALLBACK)) is KeepingExchange


def test_the_next_one_waits_without_a_connection() -> None:
    world = talk()
    first, second = send(world), send(world)
    assert (len(world.upstreams), waiting(world)) == (1, 1)
    world.later(2.0)
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.upstream << b"POST *" >> OK
    second << ANSWERED
    assert world.records[1].turn_s == pytest.approx(2.0, abs=0.1)
    assert world.records[0].turn_s == 0.0
    world.over(Reason.DELIVERED, Reason.DELIVERED)


def test_what_is_forged_takes_no_turn() -> None:
    world = talk()
    first = send(world)
    world.sender() >> forged(BODY) << b"HTTP/1.1 403 *"
    assert waiting(world) == 0
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.over(Reason.SIGNATURE_MISMATCH, Reason.DELIVERED)


def test_a_large_body_waits_whole() -> None:
    world = talk()
    large = bytes(range(256)) * 2000
    first = send(world)
    second = world.sender() >> signed(large)
    assert world.site.spill_space.used >= len(large)
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.upstream << b"POST *" + large >> OK
    second << ANSWERED
    world.over(Reason.DELIVERED, Reason.DELIVERED)


def test_a_body_that_proves_nothing_is_not_read_meanwhile() -> None:
    world = talk(body=BodyMode.FREE, signed=False)
    large = bytes(range(256)) * 4000
    first = world.sender() >> request(BODY)
    second = world.sender() >> request(large)
    assert waiting(world) == 1
    world.later(20.0)  # its sender is not blamed for it
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.upstream << b"POST *" + large >> OK
    second << ANSWERED
    world.over(Reason.DELIVERED, Reason.DELIVERED)


def test_a_sender_waits_no_longer_than_it_would() -> None:
    world = talk(answer_s=5.0)
    first, second = send(world), send(world)
    world.later(3.0)
    second << b""
    world.later(2.0)
    second << b"HTTP/1.1 503 *\r\nRetry-After: 5\r\n*overloaded *"
    assert (world.records[0].detail, world.records[0].turn_s > 3.5, waiting(world)) == ("turn", True, 0)
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.over(Reason.OVERLOADED, Reason.DELIVERED)


def test_without_a_provider_it_waits_as_long_as_a_request_may_take() -> None:
    world = talk(request_timeout_s=30.0, upstream_timeout_s=40.0)
    send(world)
    second = send(world)
    world.later(28.0)
    second << b""
    world.later(3.0)
    second << b"HTTP/1.1 503 *overloaded *"
    world.over(*world.reasons)
    assert sorted(map(str, world.reasons)) == ["Reason.OVERLOADED", "Reason.UPSTREAM_TIMEOUT"]


def test_what_has_no_place_is_told_when_to_come_back() -> None:
    world = talk(TurnRule(pace_per_s=0.05), answer_s=10.0)
    first = send(world)
    send(world) << b"HTTP/1.1 503 *\r\nRetry-After: 30\r\n*overloaded *"
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.over(Reason.OVERLOADED, Reason.DELIVERED)


def test_a_sender_that_goes_leaves_its_place() -> None:
    world = talk()
    first, second, third = send(world), send(world), send(world)
    second.vanish()
    world.settle()
    assert waiting(world) == 1
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.upstream << b"POST *" >> OK
    third << ANSWERED
    world.over(Reason.SENDER_GONE, Reason.DELIVERED, Reason.DELIVERED)


def test_a_sender_that_goes_while_it_has_its_turn_gives_it_back() -> None:
    world = talk()
    first, second = send(world), send(world)
    first.vanish()
    world.settle()
    world.upstream << b"POST *" >> OK
    second << ANSWERED
    world.over(Reason.SENDER_GONE, Reason.DELIVERED)


def test_an_application_that_cannot_be_reached_holds_no_turn() -> None:
    world = talk()
    world.pool.connects = False
    first, second = send(world), send(world)
    world.pool.refuse()
    first << b"HTTP/1.1 502 *"
    world.pool.refuse()
    second << b"HTTP/1.1 502 *"
    world.over(Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_UNREACHABLE)


def test_one_route_takes_no_turn_of_another() -> None:
    world = World(*(route(path, BodyMode.HOLD, turns=ONE, upstream=(APP,)) for path in (b"/hook", b"/other")))
    first = send(world)
    second = send(world)
    other = world.sender() >> signed(BODY, path=b"/other")
    world.upstream << b"POST /other *" >> OK
    other << ANSWERED
    world.upstreams[0] << b"POST /hook *" >> OK
    first << ANSWERED
    world.upstreams[0] << b"POST /hook *" >> OK
    second << ANSWERED
    world.over(Reason.DELIVERED, Reason.DELIVERED, Reason.DELIVERED)


def test_a_reload_lets_those_through_that_now_may() -> None:
    world = talk()
    first, second = send(world), send(world)
    world.site.use(policy(route(body=BodyMode.HOLD, upstream=(APP,)), generation=2))
    world.settle()
    assert len(world.upstreams) == 2
    for upstream, sender in zip(world.upstreams, (first, second), strict=True):
        upstream << b"POST *" >> OK
        sender << ANSWERED
    world.over(Reason.DELIVERED, Reason.DELIVERED)


def test_a_fallback_keeps_what_has_no_turn() -> None:
    world, queue = keeping(answer_s=5.0)
    first, second = send(world), send(world)
    world.later(5.0)
    assert len(queue.kept) == 1
    assert waiting(world) == 0
    queue.tell()
    second << b"HTTP/1.1 202 *"
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.over(Reason.ACCEPTED, Reason.DELIVERED)


def test_a_fallback_keeps_what_has_no_place() -> None:
    world, queue = keeping(rule=TurnRule(pace_per_s=0.05), answer_s=10.0)
    first = send(world)
    second = send(world)
    queue.tell()
    second << b"HTTP/1.1 202 *"
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    world.over(Reason.ACCEPTED, Reason.DELIVERED)


def test_a_fallback_that_is_kept_gives_its_turn_back() -> None:
    world, queue = keeping()
    world.pool.connects = False
    first, second = send(world), send(world)
    world.pool.refuse()
    world.settle()
    assert waiting(world) == 0
    world.pool.refuse()
    world.settle()
    queue.tell()
    queue.tell()
    first << b"HTTP/1.1 202 *"
    second << b"HTTP/1.1 202 *"
    world.over(Reason.ACCEPTED, Reason.ACCEPTED)


def test_a_pause_is_for_those_in_line_as_well() -> None:
    world, queue = keeping()
    first, second = send(world), send(world)
    world.later(0.5)
    queue.holding = True
    world.upstream << b"POST *" >> OK
    first << ANSWERED
    assert len(queue.kept) == 1
    queue.tell()
    second << b"HTTP/1.1 202 *"
    world.over(Reason.DELIVERED, Reason.ACCEPTED)
