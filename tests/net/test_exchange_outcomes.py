"""The sender has gone, the application is still at it: what becomes of the delivery."""

from __future__ import annotations

import pytest

from proxy.net import exchange
from proxy.reasons import Reason
from tests.net.dialogue import OK, World, route
from tests.net.test_duplicate_exchanges import BIG, DUPLICATE, FAILED, RULE, deliver, delivery, world

DELIVERED = Reason.DUPLICATE_DELIVERED


def gone(stage: World) -> None:
    """A sender that hangs up before its answer."""
    sender = stage.sender()
    sender >> delivery()
    stage.upstream << b"POST *"
    sender.vanish()
    assert stage.upstream.saw is None, "the application goes on"
    assert len(stage.site.outcomes) == 1


@pytest.mark.parametrize(
    "answer", [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\n\r\n"], ids=range(3)
)
def test_its_answer_still_counts(answer: bytes) -> None:
    stage = world()
    gone(stage)
    stage.upstream >> answer
    again = stage.sender()
    again >> delivery()
    again << DUPLICATE % b"200 OK"
    assert not stage.site.outcomes
    stage.over(Reason.SENDER_GONE, DELIVERED)


def test_who_sends_again_meanwhile_waits_for_it() -> None:
    stage = world()
    gone(stage)
    again = stage.sender()
    again >> delivery()
    again << b""
    stage.upstream >> OK
    again << DUPLICATE % b"200 OK"
    assert len(stage.upstreams) == 1
    stage.over(Reason.SENDER_GONE, DELIVERED)


@pytest.mark.parametrize("end", ["failed", "reset", "late", "worker"])
def test_without_a_2xx_the_next_one_is_delivered(end: str) -> None:
    stage = world(upstream_timeout_s=4.0)
    gone(stage)
    app = stage.upstream
    again = stage.sender()
    again >> delivery()
    if end == "failed":
        app >> FAILED
    elif end == "reset":
        app.vanish()
    elif end == "late":
        stage.later(5.0)
    else:
        for one in list(stage.site.outcomes):
            one.deadline_passed(0.0)
    stage.settle()
    stage.upstream << b"POST *"
    stage.upstream >> OK
    again << b"HTTP/1.1 200 OK*ok"
    assert not stage.site.outcomes
    stage.over(Reason.SENDER_GONE, Reason.DELIVERED)


def test_an_upstream_that_answered_whole_can_be_used_again() -> None:
    stage = world()
    gone(stage)
    stage.upstream >> OK
    deliver(stage, delivery(b"{2}", number=2))
    assert len(stage.upstreams) == 1
    stage.over(Reason.SENDER_GONE, Reason.DELIVERED)


def test_an_incomplete_request_has_no_outcome() -> None:
    stage = world()
    sender = stage.sender()
    sender >> delivery(BIG)[:-1]
    sender.vanish()
    assert stage.upstream.saw == "reset"
    assert not stage.site.outcomes
    deliver(stage, delivery(BIG))
    stage.over(Reason.SENDER_GONE, Reason.DELIVERED)


def test_where_nobody_looks_for_duplicates_there_is_none() -> None:
    stage = World(route(b"/hook"))
    sender = stage.sender()
    sender >> delivery()
    sender.vanish()
    assert stage.upstream.saw == "reset"
    assert not stage.site.outcomes
    stage.over(Reason.SENDER_GONE)


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_OUTCOMES", 1)
    stage = world()
    gone(stage)
    sender = stage.sender()
    sender >> delivery(b"{2}", number=2)
    sender.vanish()
    assert stage.upstream.saw == "reset"
    assert len(stage.site.outcomes) == 1
    stage.later(RULE.hold_s)
    stage.over(Reason.SENDER_GONE, Reason.SENDER_GONE)
