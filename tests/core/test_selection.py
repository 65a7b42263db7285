"""What a route asks of payloads, asked of one body: after its verdict, and never of an endpoint check."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.config.keys import read_where
from proxy.core.addresses import Peer
from proxy.core.body import PASSED, BodyGate, selector_of
from proxy.core.exchange import Admit
from proxy.core.handshakes import find_check
from proxy.core.payload import PayloadRule, Pointer
from proxy.core.policy import BodyMode
from proxy.reasons import Reason
from tests import policies
from tests.core.handshaking import head, judge_whole, route

OPENED = PayloadRule(read_where({"action": "opened"}))
GOOD, BAD = b'{"action": "opened"}', b'{"action": "closed"}'


def gate(rule: PayloadRule | None, *, window: int = 100, mode: BodyMode = BodyMode.TAIL, **more: Any) -> BodyGate:
    admit = Admit(policies.route(payload=rule, **more), Peer.of("192.0.2.7"), b"/hook")
    return BodyGate(mode, window, None, None, selector_of(head("POST", "/hook"), admit))


@pytest.mark.parametrize("cut", [1, 7, 100])
@pytest.mark.parametrize(("body", "left_out"), [(GOOD, False), (BAD, True)])
def test_in_any_cut(body: bytes, cut: int, left_out: bool) -> None:
    whole, pieces = gate(OPENED), gate(OPENED)
    assert judge_whole(whole, body) is None
    for at in range(0, len(body), cut):
        assert pieces.feed(body[at : at + cut]) == []
    assert pieces.finish() is None
    assert whole.left_out is pieces.left_out is left_out
    assert whole.detail == pieces.detail == ("action" if left_out else "")
    assert b"".join(pieces.take()) == body


def test_a_body_that_is_kept_for_a_thread_is_judged_the_same() -> None:
    kept = gate(OPENED)
    kept.keep(BAD)
    assert kept.wants_whole
    assert kept.finish() is None
    assert kept.left_out


def test_what_does_not_fit_the_window_is_not_kept_and_refused_at_its_end() -> None:
    one = gate(OPENED, window=10)
    assert [one.feed(GOOD), one.feed(GOOD), one.held_bytes] == [[], [], 0]
    assert not one.streaming
    assert one.finish() is Reason.PAYLOAD_UNDECIDED
    assert one.detail == "hold_window"


def test_or_streams_where_the_route_passes_it() -> None:
    lenient = PayloadRule(OPENED.where, passes_undecided=True)
    one = gate(lenient, window=10)
    large = b"x" * 40_000
    assert one.feed(b"y" * 40_000) + one.feed(large) != []
    assert one.finish() is None
    assert not one.left_out


def test_whole_or_in_pieces_the_window_is_the_same() -> None:
    one = gate(OPENED, window=10)
    assert judge_whole(one, GOOD) is Reason.PAYLOAD_UNDECIDED


def test_a_forged_body_is_not_looked_at() -> None:
    class Unread(PayloadRule):
        def judge(self, *_: object) -> Any:
            raise AssertionError

    admit = Admit(policies.route(payload=Unread()), Peer.of("192.0.2.7"), b"/hook")
    select = selector_of(head("POST", "/hook"), admit)
    assert select is not None
    assert select(Reason.SIGNATURE_MISMATCH, gate(None)) is PASSED


def test_what_is_only_observed_is_selected_all_the_same() -> None:
    one = gate(OPENED, observe=True)
    assert judge_whole(one, BAD) is None
    assert one.left_out
    events = PayloadRule((), Pointer.parse("action"), frozenset({"closed"}))
    assert judge_whole(gate(events, observe=True), GOOD) is Reason.EVENT_REFUSED


def test_of_what_is_only_observed_not_a_byte_is_lost() -> None:
    events = PayloadRule((), Pointer.parse("action"), frozenset({"closed"}))
    one = gate(events, window=10, observe=True)
    body = [b"y" * 40_000, b"x" * 40_000]
    gone = [piece for each in body for piece in one.feed(each)]
    assert one.finish() is Reason.EVENT_REFUSED, "which the route passes on, and counts"
    assert b"".join(gone + one.take()) == b"".join(body)


def test_an_unsigned_check_is_never_left_out() -> None:
    asked = head("GET", "/hook?challenge=abc")
    dropbox = route("dropbox", payload=OPENED, path=b"/hook")
    admit = Admit(dropbox, Peer.of("192.0.2.7"), b"/hook", check=find_check(dropbox, asked))
    assert admit.check is not None
    assert selector_of(asked, admit) is None


def test_a_signed_check_is_never_left_out() -> None:
    slack = route("slack", payload=OPENED)
    body = json.dumps({"type": "url_verification", "challenge": "abc", "token": "t"}).encode()
    admit = Admit(slack, Peer.of("192.0.2.7"), b"/hook")
    one = BodyGate(BodyMode.TAIL, 1000, None, None, selector_of(head("POST", "/hook"), admit))
    assert judge_whole(one, body) is None
    assert not one.left_out
    other = BodyGate(BodyMode.TAIL, 1000, None, None, selector_of(head("POST", "/hook"), admit))
    judge_whole(other, body.replace(b"url_verification", b"event_callback"))
    assert other.left_out


def test_the_event_is_told_to_the_head() -> None:
    admit = Admit(policies.route(payload=PayloadRule((), Pointer.parse("type"))), Peer.of("192.0.2.7"), b"/hook")
    one = BodyGate(BodyMode.TAIL, 1000, None, None, selector_of(head("POST", "/hook"), admit))
    judge_whole(one, b'{"type": "paid"}')
    assert admit.event == "paid"
