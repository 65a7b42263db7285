"""The exchange of a route that keeps: what is kept, when its sender is told, and conversations drawn by lot."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.exchange import Admit
from proxy.core.keeping import KeepingRelay
from proxy.core.policy import BodyMode
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.relay import DIAL
from proxy.core.states import AnswerState, IllegalMoveError, Then
from proxy.reasons import Reason
from tests.core.relaying import ANSWERS, APP, PEER, REQUESTS, WINDOW, Spill
from tests.examples import TIMES
from tests.net.dialogue import route

GOOD = [(head, body) for head, body, good in REQUESTS if good]
HEAD, BODY = next((head, body) for head, body in GOOD if body and head.minor)
FORGED = next(head for head, body, good in REQUESTS if not good and body == BODY and head.minor)
NOW = 1000.0
QUEUE = DeliveryRule(Deliver.QUEUE)
FALLBACK = DeliveryRule(Deliver.FALLBACK)
AMBIGUOUS = replace(FALLBACK, ambiguous=True)


def begun(rule: DeliveryRule, head=HEAD, *, observed: Reason | None = None, **changed: object) -> KeepingRelay:
    where = route(body=BodyMode.HOLD, delivery=rule, hold_window=WINDOW, upstream=(APP,), **changed)
    relay = KeepingRelay(ExchangeRecord("id", 0.0, "a", "a", keep_alive=True), Arrival("a", secure=True), NOW)
    assert where.signature is not None
    verification = None if observed is not None else where.signature.begin(head, 0.0)
    relay.admitted(head, Admit(where, PEER, b"/hook", verification, observed=observed), Spill(10**9))
    return relay


def test_a_queue_keeps_before_it_connects() -> None:
    relay = begun(QUEUE)
    relay.whole(BODY)
    relay.content_ended()
    assert relay.attempts == 0
    assert (relay.answer, relay.wishes, relay.then) == (AnswerState.STORING, 0, None)
    assert relay.body == BODY
    assert b"\r\nWebhook-Verified: " in relay.kept_head
    assert b"\r\nContent-Length: %d\r\n" % len(BODY) in relay.kept_head
    relay.stored()
    assert (relay.then, relay.record.reason, relay.record.status) == (Then.ANSWER, Reason.ACCEPTED, 202)
    assert relay.record.verdict == "admitted"


def test_the_sender_is_told_what_the_route_says() -> None:
    relay = begun(replace(QUEUE, accepted_status=200))
    relay.whole(BODY)
    relay.content_ended()
    relay.stored()
    assert relay.record.status == 200


@pytest.mark.parametrize("reason", [Reason.QUEUE_FULL, Reason.QUEUE_FAILED])
def test_what_is_not_stored_is_refused(reason: Reason) -> None:
    relay = begun(QUEUE)
    relay.whole(BODY)
    relay.content_ended()
    relay.not_stored(reason, "store")
    assert (relay.then, relay.record.reason, relay.record.status) == (Then.ANSWER, reason, 503)


def test_what_is_forged_is_never_kept() -> None:
    relay = begun(QUEUE, FORGED)
    relay.whole(BODY)
    relay.content_ended()
    assert relay.record.reason is Reason.SIGNATURE_MISMATCH
    assert relay.body == b""


def test_what_is_only_observed_goes_directly() -> None:
    relay = begun(QUEUE, observed=Reason.SIGNATURE_MISSING, observe=True)
    relay.whole(BODY)
    relay.content_ended()
    assert relay.wishes & DIAL
    relay.undelivered(Reason.UPSTREAM_UNREACHABLE, "")
    assert relay.record.reason is Reason.UPSTREAM_UNREACHABLE


def test_a_fallback_connects_first() -> None:
    relay = begun(FALLBACK)
    relay.whole(BODY)
    relay.content_ended()
    assert relay.wishes & DIAL
    relay.wishes = 0
    relay.undelivered(Reason.UPSTREAM_UNREACHABLE, "")
    assert relay.answer is AnswerState.STORING
    assert relay.body == BODY
    relay.stored()
    assert relay.record.reason is Reason.ACCEPTED


@pytest.mark.parametrize(("rule", "kept"), [(FALLBACK, False), (AMBIGUOUS, True)])
def test_what_was_sent_is_kept_only_where_the_route_says_so(rule: DeliveryRule, kept: bool) -> None:
    relay = begun(rule)
    relay.whole(BODY)
    relay.content_ended()
    relay.connected(APP, "app", NOW)
    relay.failed(Reason.UPSTREAM_RESET, "eof")
    assert (relay.answer is AnswerState.STORING) == kept
    assert relay.attempts == 1
    assert (relay.record.reason is Reason.UPSTREAM_RESET) == (not kept)


def test_an_answer_that_breaks_off_is_not_kept() -> None:
    relay = begun(AMBIGUOUS)
    relay.whole(BODY)
    relay.content_ended()
    relay.connected(APP, "app", NOW)
    relay.answered(ANSWERS[0], [], ended=False, now=NOW)
    relay.failed(Reason.UPSTREAM_RESET, "eof")
    assert relay.record.reason is Reason.UPSTREAM_RESET


def test_a_store_that_is_slow_is_told() -> None:
    relay = begun(QUEUE)
    relay.whole(BODY)
    relay.content_ended()
    relay.undelivered(Reason.UPSTREAM_TIMEOUT, "request_timeout")
    assert (relay.record.reason, relay.record.detail, relay.record.status) == (Reason.QUEUE_FAILED, "slow", 503)


@pytest.mark.parametrize("call", ["stored", "not_stored"])
def test_nothing_is_stored_that_was_not_to_be(call: str) -> None:
    relay = begun(FALLBACK)
    relay.whole(BODY)
    relay.content_ended()
    with pytest.raises(IllegalMoveError):
        relay.stored() if call == "stored" else relay.not_stored(Reason.QUEUE_FULL, "")


def drawn(rng: random.Random) -> None:
    """The sender hears 2xx of us only after ``stored``, and what is stored is the body to the byte."""
    head, body, good = rng.choice(REQUESTS)
    rule = rng.choice((QUEUE, FALLBACK, AMBIGUOUS))
    relay = begun(rule, head)
    given, stored = 0, False
    while relay.then is None:
        if rng.random() < 0.03:
            relay.client_gone(Reason.SENDER_GONE, owns=False)
        elif relay.request.value == "receiving":
            if given < len(body):
                piece = body[given : given + rng.choice((1, 100, WINDOW, 65_536))]
                given += len(piece)
                relay.content(piece)
            else:
                relay.content_ended()
        elif relay.request.value == "judging":
            relay.judged(relay.gate.finish())
        elif relay.answer is AnswerState.DIALING:
            if rng.random() < 0.5:
                relay.connected(APP, "app", NOW)
            else:
                relay.undelivered(Reason.UPSTREAM_UNREACHABLE, "")
        elif relay.answer is AnswerState.STORING:
            assert good, "what is forged is never kept"
            spilled = relay.gate.spilled()
            assert b"".join([*(spilled or ()), relay.body]) == body
            assert not relay.to_upstream
            stored = rng.random() < 0.7
            if stored:
                relay.stored()
            else:
                relay.not_stored(Reason.QUEUE_FAILED, "store")
        elif relay.may_relay:
            relay.relay_kept(b"date", persists=True)
        elif relay.spilled is not None and rng.random() < 0.7:
            relay.upstream_takes(NOW)
        elif relay.answer in (AnswerState.SENDING, AnswerState.AWAITING):
            if rng.random() < 0.5:
                relay.failed(Reason.UPSTREAM_RESET, "eof")
            else:
                relay.answered(ANSWERS[0], [b"answer"], ended=True, now=NOW)
        relay.to_upstream = []
        relay.wishes = 0
    assert (relay.record.reason is Reason.ACCEPTED) <= stored
    assert relay.answer is AnswerState.CLOSED


@pytest.mark.parametrize("seed", range(200 * TIMES))
def test_whatever_happens(seed: int) -> None:
    drawn(random.Random(seed))
