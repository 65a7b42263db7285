"""The exchange of a route that keeps, with its shell: what is asked of the queue, and what is given back when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.delivery import Deliver, DeliveryRule, DuplicateRule
from proxy.core.keeping import KeepingRelay
from proxy.core.policy import BodyMode, Endpoint, Route
from proxy.net.keeping import Exchange, KeepingExchange, exchange_for
from proxy.net.large_bodies import SpillFile
from proxy.reasons import Reason
from tests.net.dialogue import OK, World, forged, request, route, signed
from tests.net.test_exchange import ANSWERED

Told = Callable[[Reason | None, str], None]
APP = Endpoint("127.0.0.1", 8000)
BODY = b'{"n":1}'
RULE = DuplicateRule(True, 3600.0, patience_s=9.0, hold_s=92.0)
QUEUE = DeliveryRule(Deliver.QUEUE)
FALLBACK = DeliveryRule(Deliver.FALLBACK)


class FakeQueue:
    """Keeps when it is told to."""

    folder: str | None = None
    failure = ""

    def __init__(self) -> None:
        self.kept: list[tuple[KeepingRelay, SpillFile | None, Told]] = []
        self.holding = False
        self.tries: list[bool] = []
        self.copied: list[tuple[list[str], SpillFile | None]] = []

    def keep(self, relay: KeepingRelay, spill: SpillFile | None, told: Told) -> None:
        self.kept.append((relay, spill, told))

    def copy(self, relay: KeepingRelay, spill: SpillFile | None) -> None:
        self.copied.append(([name.name for name, _ in relay.copies()], spill))

    def holds(self, route: Route) -> bool:
        del route
        return self.holding

    def tried(self, route: Route, *, well: bool) -> None:
        del route
        self.tries.append(well)

    def measure(self) -> None:
        """Nothing is to be measured."""

    def tell(self, reason: Reason | None = None, detail: str = "") -> None:
        self.kept.pop(0)[2](reason, detail)


def talk(rule: DeliveryRule, **more: Any) -> tuple[World, FakeQueue]:
    world = World(route(body=BodyMode.HOLD, delivery=rule, upstream=(APP,), **more))
    world.site.queue = queue = FakeQueue()
    return world, queue


def test_each_route_has_its_kind() -> None:
    assert exchange_for(route()) is Exchange
    assert exchange_for(route(delivery=QUEUE)) is KeepingExchange


def test_the_answer_waits_for_the_store() -> None:
    world, queue = talk(QUEUE)
    sender = world.sender() >> signed(BODY)
    sender << b""
    [(relay, spill, _)] = queue.kept
    assert (relay.body, spill) == (BODY, None)
    queue.tell()
    sender << b"HTTP/1.1 202 Accepted\r\n*\r\n\r\naccepted *\n"
    sender >> signed(BODY)
    queue.tell()
    sender << b"HTTP/1.1 202 *"
    assert world.upstreams == []
    world.over(Reason.ACCEPTED, Reason.ACCEPTED)


@pytest.mark.parametrize("reason", [Reason.QUEUE_FULL, Reason.QUEUE_FAILED])
def test_what_is_not_kept_is_told(reason: Reason) -> None:
    world, queue = talk(QUEUE)
    sender = world.sender() >> signed(BODY)
    queue.tell(reason, "store")
    sender << b"HTTP/1.1 503 *\r\nRetry-After: 5\r\n*"
    world.over(reason)


def test_without_a_queue_nothing_is_promised() -> None:
    world, _ = talk(QUEUE)
    world.site.queue = None
    world.sender() >> signed(BODY) << b"HTTP/1.1 503 *queue_failed *"
    world.over(Reason.QUEUE_FAILED)


def test_what_is_forged_never_reaches_the_queue() -> None:
    world, queue = talk(QUEUE)
    world.sender() >> forged(BODY) << b"HTTP/1.1 403 *"
    assert queue.kept == []
    world.over(Reason.SIGNATURE_MISMATCH)


def test_what_asks_is_not_kept() -> None:
    world, queue = talk(QUEUE, signed=False)
    sender = world.sender() >> request(method=b"GET")
    assert queue.kept == []
    world.upstream << b"GET *" >> OK
    sender << ANSWERED
    world.over(Reason.DELIVERED)


def test_a_large_body_comes_with_its_file() -> None:
    world, queue = talk(QUEUE)
    large = bytes(range(256)) * 2000
    sender = world.sender() >> signed(large)
    [(relay, spill, _)] = queue.kept
    assert spill is not None
    assert (b"".join(spill.pieces()), relay.body) == (large, b"")
    queue.tell()
    sender << b"HTTP/1.1 202 *"
    world.over(Reason.ACCEPTED)


def test_a_fallback_that_can_be_had_is_direct() -> None:
    world, queue = talk(FALLBACK)
    sender = world.sender() >> signed(BODY)
    world.upstream << b"POST *" >> OK
    sender << ANSWERED
    assert (queue.kept, queue.tries) == ([], [True])
    world.over(Reason.DELIVERED)


def test_a_fallback_keeps_what_finds_no_upstream() -> None:
    world, queue = talk(FALLBACK)
    world.pool.connects = False
    sender = world.sender() >> signed(BODY)
    world.pool.refuse()
    world.settle()
    assert queue.tries == [False]
    queue.tell()
    sender << b"HTTP/1.1 202 *"
    world.over(Reason.ACCEPTED)


def test_a_fallback_that_is_held_back_does_not_connect() -> None:
    world, queue = talk(FALLBACK)
    queue.holding = True
    sender = world.sender() >> signed(BODY)
    assert (len(queue.kept), world.pool.waiting) == (1, [])
    queue.tell()
    sender << b"HTTP/1.1 202 *"
    world.over(Reason.ACCEPTED)


def test_a_fallback_waits_no_longer_than_its_sender() -> None:
    world, queue = talk(FALLBACK, answer_s=5.0)
    world.pool.connects = False
    sender = world.sender() >> signed(BODY)
    world.later(3.0)
    assert queue.kept == []
    world.later(3.0)
    assert len(queue.kept) == 1
    world.pool.connect()  # too late: it goes to the pool
    queue.tell()
    sender << b"HTTP/1.1 202 *"
    world.over(Reason.ACCEPTED)


@pytest.mark.parametrize("ambiguous", [False, True])
def test_what_was_sent_and_not_answered(ambiguous: bool) -> None:
    world, queue = talk(replace(FALLBACK, ambiguous=ambiguous))
    sender = world.sender() >> signed(BODY)
    world.upstream << b"POST *"
    world.upstream.vanish()
    if ambiguous:
        queue.tell()
        sender << b"HTTP/1.1 202 *"
        world.over(Reason.ACCEPTED)
    else:
        sender << b"HTTP/1.1 502 *"
        world.over(Reason.UPSTREAM_RESET)


def test_what_is_being_kept_outlives_its_sender() -> None:
    world, queue = talk(QUEUE)
    large = bytes(range(256)) * 2000
    sender = world.sender() >> signed(large)
    sender.vanish()
    assert world.reasons == [Reason.SENDER_GONE]
    [(_, spill, _)] = queue.kept
    assert spill is not None
    assert b"".join(spill.pieces()) == large, "it is still there for the store"
    queue.tell()
    world.over(Reason.SENDER_GONE)


@pytest.mark.parametrize("kept", [False, True])
def test_a_claim_outlives_its_sender(kept: bool) -> None:
    world, queue = talk(QUEUE, duplicates=RULE)
    world.sender().say(signed(BODY)).vanish()
    queue.tell(None if kept else Reason.QUEUE_FAILED)
    sender = world.sender() >> signed(BODY)
    if kept:
        sender << b"HTTP/1.1 202 *\r\nWebhook-Duplicate: delivered\r\n*"
    else:
        queue.tell()
        sender << b"HTTP/1.1 202 *accepted *"


def test_a_store_that_does_not_answer_is_not_waited_for() -> None:
    world, queue = talk(QUEUE, request_timeout_s=5.0)
    sender = world.sender() >> signed(BODY)
    world.later(7.0)
    sender << b"HTTP/1.1 503 *queue_failed *"
    queue.tell()
    world.over(Reason.QUEUE_FAILED)
