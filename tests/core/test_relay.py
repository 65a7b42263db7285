"""One exchange as values: which event each state takes, how it ends, and conversations drawn by lot."""

from __future__ import annotations

import itertools
import random

import pytest

from proxy.config.keys import read_where
from proxy.core import record as of_record
from proxy.core import relay as relays
from proxy.core.addresses import Peer
from proxy.core.body import BodyGate
from proxy.core.content import NOTHING
from proxy.core.exchange import Admit, Reject
from proxy.core.handshakes import HandshakeAnswer
from proxy.core.keeping import KeepingRelay
from proxy.core.payload import PayloadRule
from proxy.core.policy import BodyMode
from proxy.core.record import TAKEN, Arrival, ExchangeRecord
from proxy.core.relay import CLAIM, DIAL, JUDGE, ON_LOOP_BYTES, Relay
from proxy.core.states import ANSWER_HEARS, REQUEST_HEARS, AnswerState, Event, IllegalMoveError, RequestState, Then
from proxy.reasons import Phase, Reason
from tests.core.relaying import ANSWERS, APP, PEER, REQUESTS, RULE, Spill, converse
from tests.core.relaying import Exchange as Drawn
from tests.examples import TIMES
from tests.net.dialogue import route

GOOD = next(one for one in REQUESTS if one[2] and one[1] and one[0].minor)
HEAD, BODY, _ = GOOD
FORGED = next(head for head, body, good in REQUESTS if not good and body == BODY and head.minor)
NOW = 1000.0


def begun(head=HEAD, **changed: object) -> Relay:
    """A relay whose head was admitted by a route with ``changed`` fields."""
    where = route(delivery_header=b"x-github-delivery", **{"body": BodyMode.TAIL} | changed)
    relay = Relay(
        ExchangeRecord("id", 0.0, "a", "a", keep_alive=True, delivery_id="d-1"), Arrival("a", secure=True), NOW
    )
    verification = where.signature.begin(head, 0.0) if where.signature else None
    relay.admitted(head, Admit(where, PEER, b"/hook", verification), Spill(10**9))
    return relay


def awaiting(**changed: object) -> Relay:
    """One whose request the upstream has."""
    relay = begun(**changed)
    relay.whole(BODY)
    relay.content_ended()
    relay.wishes = 0
    relay.connected(APP, "app", NOW)
    return relay


# -- the tables


def test_each_event_in_each_state_is_decided() -> None:
    assert set(REQUEST_HEARS) == set(RequestState)
    assert set(ANSWER_HEARS) == set(AnswerState)
    heard = frozenset().union(*REQUEST_HEARS.values(), *ANSWER_HEARS.values())
    assert heard == set(Event), "an event that no state takes"
    of_request = frozenset().union(*REQUEST_HEARS.values())
    assert not of_request & frozenset().union(*ANSWER_HEARS.values()), "an event belongs to one half"


CALLS = {
    Event.CONTENT: lambda relay: relay.content(b"x"),
    Event.VERDICT: lambda relay: relay.judged("s1"),
    Event.CLAIM: lambda relay: relay.claimed(),
    Event.CONNECTED: lambda relay: relay.connected(APP, "app", NOW),
    Event.TAKES: lambda relay: relay.upstream_takes(NOW),
    Event.ANSWER: lambda relay: relay.answered(ANSWERS[0], [], ended=True, now=NOW),
    Event.MORE: lambda relay: relay.more([], ended=True, now=NOW),
    Event.FAILED: lambda relay: relay.failed(Reason.UPSTREAM_RESET, "eof"),
    Event.RESOLVED: Relay.resolved,
    Event.STORED: KeepingRelay.stored,
}


def test_every_event_has_a_call() -> None:
    assert set(CALLS) == set(Event)


@pytest.mark.parametrize(("request_state", "event"), list(itertools.product(RequestState, Event)), ids=str)
def test_what_a_state_of_the_request_does_not_take_is_loud(request_state: RequestState, event: Event) -> None:
    relay = begun()
    relay.request = request_state
    relay.answer = AnswerState.CLOSED
    if event in REQUEST_HEARS[request_state]:
        return
    with pytest.raises(IllegalMoveError, match=event.value):
        CALLS[event](relay)


@pytest.mark.parametrize(("answer_state", "event"), list(itertools.product(AnswerState, Event)), ids=str)
def test_what_a_state_of_the_answer_does_not_take_is_loud(answer_state: AnswerState, event: Event) -> None:
    relay = begun()
    relay.answer = answer_state
    relay.request = RequestState.CLOSED
    if event in ANSWER_HEARS[answer_state]:
        return
    with pytest.raises(IllegalMoveError, match=event.value):
        CALLS[event](relay)


# -- by lot


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_it_ends_once_and_keeps_its_promises(seed: int) -> None:
    seen, ends, _ = converse(random.Random(seed), 20_000 * TIMES)
    assert set(seen) == {name.removeprefix("on_") for name in vars(Drawn) if name.startswith("on_")}
    assert len(ends) > 8


def test_other_conversations_each_time() -> None:
    converse(random.Random(), 10_000 * TIMES)


def _spoil_early_answers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Relay, "may_relay", property(lambda self: self.answer is relays.KEPT))


def _spoil_the_verdict(patch: pytest.MonkeyPatch) -> None:
    judge = Relay._judge
    patch.setattr(Relay, "_judge", lambda self, verdict: judge(self, "s1" if isinstance(verdict, Reason) else verdict))


def _spoil_the_gate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BodyGate, "_hold_end", lambda self, piece: [*self.take(), piece])


def _spoil_the_claim_of_a_verdict(patch: pytest.MonkeyPatch) -> None:
    value = of_record.verified_value
    patch.setattr(of_record, "verified_value", lambda admit, record, *, judged: value(admit, record, judged=True))


def _spoil_the_choice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BodyGate, "left_out", property(lambda _: False))


def _spoil_what_cannot_be_decided(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BodyGate, "_choose", lambda self, select, verdict: select(verdict, self) and verdict)


def _spoil_the_end(patch: pytest.MonkeyPatch) -> None:
    refuse = Relay.refuse

    def refused(self: Relay, reason: Reason, detail: str = "", *, status: int = 0) -> None:
        refuse(self, reason, detail, status=status)
        self.then = Then.ANSWER

    patch.setattr(Relay, "refuse", refused)


@pytest.mark.parametrize(
    "spoil",
    [
        _spoil_early_answers,
        _spoil_the_verdict,
        _spoil_the_gate,
        _spoil_the_claim_of_a_verdict,
        _spoil_the_choice,
        _spoil_what_cannot_be_decided,
        _spoil_the_end,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_relay_that_breaks_a_promise_is_noticed(spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    with pytest.raises((AssertionError, IllegalMoveError)):
        converse(random.Random(1), 50_000)


# -- one by one


def test_a_delivery_from_its_head_to_its_record() -> None:
    relay = begun()
    relay.whole(BODY)
    relay.content_ended()
    assert relay.wishes == DIAL
    assert (relay.request, relay.answer) == (RequestState.ADMITTED, AnswerState.DIALING)
    relay.wishes = 0
    relay.connected(APP, "app", NOW + 1)
    head, *rest = relay.to_upstream
    assert b"Webhook-Verified: github; secret=s1; id=d-1\r\n" in head
    assert rest == [BODY]
    relay.answered(ANSWERS[0], [b"answer"], ended=True, now=NOW + 3)
    assert relay.to_client == []
    assert relay.may_relay
    relay.relay_kept(b"now", persists=True)
    assert b"".join(relay.to_client).endswith(b"\r\n\r\nanswer")
    assert relay.then is Then.GO_ON
    record = relay.record
    assert (record.reason, record.phase, record.status) == (Reason.DELIVERED, Phase.DONE, 200)
    assert (record.verdict, record.secret_name, record.upstream) == ("admitted", "s1", "app")
    assert (record.bytes_in, record.bytes_out, record.upstream_duration_s) == (len(BODY), 6, 2.0)


def test_a_forgery_wishes_for_its_cause_alone() -> None:
    relay = begun(FORGED)
    relay.whole(BODY)
    relay.content_ended()
    assert (relay.then, relay.wishes, relay.suspect) == (Then.ANSWER, 0, Reason.SIGNATURE_MISMATCH)
    assert relay.body_in_memory() == BODY
    assert relay.request_read
    assert (relay.record.reason, relay.record.status) == (Reason.SIGNATURE_MISMATCH, 403)


def test_an_observed_forgery_goes_on_and_is_explained() -> None:
    relay = begun(FORGED, observe=True)
    relay.whole(BODY)
    relay.content_ended()
    assert relay.wishes == DIAL
    assert relay.body_in_memory() == BODY
    assert (relay.record.verdict, relay.record.observed) == ("observed", Reason.SIGNATURE_MISMATCH)
    relay.connected(APP, "app", NOW)
    assert b"Webhook-Verified" not in relay.to_upstream[0]


@pytest.mark.parametrize(("size", "kept"), [(ON_LOOP_BYTES, True), (ON_LOOP_BYTES + 1, False)])
def test_what_an_observed_forgery_keeps_for_its_cause_is_small(size: int, *, kept: bool) -> None:
    relay = begun(FORGED, observe=True, hold_window=1 << 20)
    relay.whole(bytes(size))
    relay.content_ended()
    relay.connected(APP, "app", NOW)
    assert relay.gate.held_bytes == 0, "the budget no longer knows of it"
    assert (relay.body_in_memory() is not None) is kept


def test_a_duplicate_is_asked_for_after_the_verdict() -> None:
    relay = begun(duplicates=RULE)
    relay.whole(BODY)
    relay.content_ended()
    assert (relay.wishes, relay.request) == (CLAIM, RequestState.CLAIMING)
    assert relay.keys
    relay.wishes = 0
    relay.duplicate(Reason.DUPLICATE_DELIVERED, 202)
    assert (relay.then, relay.record.status, relay.record.verdict) == (Then.ANSWER, 202, "admitted")
    assert not relay.wishes


@pytest.mark.parametrize("reason", [Reason.OVERLOADED, Reason.INTERNAL_ERROR])
def test_where_none_can_tell_it_is_refused(reason: Reason) -> None:
    relay = begun(duplicates=RULE)
    relay.whole(BODY)
    relay.content_ended()
    relay.duplicate(reason, reason.status or 0)
    assert (relay.record.verdict, relay.record.status) == ("refused", reason.status)
    assert relay.record.detail == ("duplicates_store" if reason is Reason.OVERLOADED else "")


def test_a_refused_head() -> None:
    relay = Relay(ExchangeRecord("id", 0.0, "a", "a"), Arrival("a", secure=False), NOW)
    where = route()
    reject = Reject(Reason.RATE_LIMITED, Peer.of("192.0.2.1"), where, retry_s=7.0)
    relay.refused(HEAD, reject)
    assert (relay.then, relay.reject, relay.record.status) == (Then.ANSWER, reject, 429)
    assert (relay.suspect, relay.route) == (Reason.RATE_LIMITED, where)
    assert not relay.request_read
    assert relay.body_in_memory() is None
    relay.skipped(b"body")
    assert relay.request_read
    assert relay.body_in_memory() == b"body"


def test_bytes_that_are_no_head() -> None:
    relay = Relay(ExchangeRecord("id", 0.0, "a", "a"), Arrival("a", secure=False), NOW)
    relay.refused(None, Reject(Reason.BAD_REQUEST, PEER, detail="bare_lf"))
    assert (relay.record.status, relay.record.detail, relay.suspect) == (400, "bare_lf", None)


def test_a_check_that_we_answer() -> None:
    relay = Relay(ExchangeRecord("id", 0.0, "a", "a"), Arrival("a", secure=False), NOW)
    answer = HandshakeAnswer(b"challenge", b"text/plain")
    relay.record.answer_handshake(answer.status, len(answer.content))
    relay.answered_here(answer)
    assert (relay.then, relay.own, relay.request_read) == (Then.ANSWER, answer, True)
    assert (relay.record.reason, relay.record.bytes_out) == (Reason.HANDSHAKE_ANSWERED, 9)


@pytest.mark.parametrize("observed", [None, Reason.TOKEN_MISSING])
def test_a_delivery_that_is_left_out_is_answered_and_dials_nothing(observed: Reason | None) -> None:
    rule = PayloadRule(read_where({"a": "!x"}))
    where = route(b"/hook", BodyMode.FREE, signed=False, payload=rule, duplicates=RULE)
    relay = Relay(ExchangeRecord("id", 0.0, "a", "a", keep_alive=True), Arrival("a", secure=False), NOW)
    relay.admitted(HEAD, Admit(where, PEER, b"/hook", observed=observed), None)
    assert not relay.gate.is_free
    body = b'{"a": "x"}' + b" " * ON_LOOP_BYTES
    relay.whole(body)
    relay.content_ended()
    assert relay.wishes & JUDGE, "beside the loop, where it is large"
    relay.judged(relay.gate.finish())
    record = relay.record
    assert (relay.then, relay.own, relay.request_read, relay.wishes) == (Then.ANSWER, TAKEN, True, 0)
    assert (record.reason, record.status, record.detail, record.phase) == (Reason.FILTERED, 200, "a", Phase.DONE)
    assert (record.verdict, record.observed) == ("observed" if observed else "admitted", observed)
    assert (record.bytes_in, relay.to_upstream) == (len(body), [])


def test_a_refusal_once_the_answer_has_begun_cuts_it() -> None:
    relay = awaiting()
    relay.answered(ANSWERS[0], [b"ans"], ended=False, now=NOW)
    relay.relay_kept(b"now", persists=True)
    relay.failed(Reason.UPSTREAM_RESET, "eof")
    assert relay.then is Then.CUT
    assert (relay.record.status, relay.record.reason) == (200, Reason.UPSTREAM_RESET)


def test_what_is_over_holds_nothing_of_its_messages() -> None:
    relay = begun(FORGED, observe=True)
    relay.whole(BODY)
    relay.content_ended()
    relay.refuse(Reason.UPSTREAM_UNREACHABLE)
    assert relay.body_in_memory() == BODY, "for its cause alone"
    assert (relay._there.waiting(), relay._back.waiting()) == (b"", b"")
    relay = awaiting()
    relay.answered(ANSWERS[0], [b"answer"], ended=False, now=NOW)
    relay.refuse(Reason.UPSTREAM_TIMEOUT)
    assert (relay._there.waiting(), relay._back.waiting()) == (b"", b"")
    assert (NOTHING.size, NOTHING.waiting()) == (0, b"")


@pytest.mark.parametrize("owns", [True, False])
def test_a_client_that_goes_leaves_an_outcome_behind_where_the_delivery_was_claimed(owns: bool) -> None:
    relay = awaiting()
    relay.client_gone(Reason.SENDER_GONE, owns=owns)
    assert (relay.then, relay.record.reason) == (Then.GONE, Reason.SENDER_GONE)
    assert relay.answer is (AnswerState.OUTCOME if owns else AnswerState.CLOSED)
    if owns:
        relay.resolved()
        assert relay.answer is AnswerState.CLOSED
        assert relay.record.reason is Reason.SENDER_GONE


@pytest.mark.parametrize(("persists", "then"), [(True, Then.GO_ON), (False, Then.CLOSE)])
def test_the_connection_stays_where_it_may(persists: bool, then: Then) -> None:
    relay = awaiting()
    relay.answered(ANSWERS[0], [b"answer"], ended=True, now=NOW)
    relay.relay_kept(b"now", persists=persists)
    assert relay.then is then
    assert (b"\r\nConnection: close\r\n" in relay.to_client[0]) is not persists


def test_its_repr_has_no_byte_of_the_request() -> None:
    relay = awaiting()
    assert repr(relay) == "<Relay id: request admitted, answer awaiting>"
