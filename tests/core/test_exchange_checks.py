"""Endpoint checks among the other checks of ``decide``: what they are let off, and what holds for them as for all."""

from __future__ import annotations

import base64
import hmac
import json
from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.addresses import AddressSet, Peer
from proxy.core.body import BodyGate
from proxy.core.exchange import Admit, Reject, decide
from proxy.core.handshakes import MAX_BODY_BYTES
from proxy.core.policy import BodyMode, Route, RouteTable
from proxy.core.record import ExchangeRecord, note_decision, own_answer, provenance_value
from proxy.core.signing.proof import TokenCheck, TokenKind, Verification
from proxy.core.signing.scheme import Secret
from proxy.http1 import Piece, RequestHead
from proxy.reasons import Reason
from tests.core.handshaking import KEY, NOW, PATH, WORD, head, judge_whole, route
from tests.policies import policy

FRIEND, STRANGER = Peer.of("192.0.2.7"), Peer.of("198.51.100.7")
OFFICE = AddressSet.parse(["192.0.2.0/24"])
DROPBOX = f"{PATH}?challenge=abc"
META = f"{PATH}?hub.mode=subscribe&hub.challenge=1&hub.verify_token="
GOOD = META + WORD.decode()
IN_QUERY = TokenCheck(TokenKind.QUERY, b"token", (Secret("url", b"word"),))


def record(secret_name: str) -> ExchangeRecord:
    return ExchangeRecord("id", 0.0, "192.0.2.7", "192.0.2.7", secret_name=secret_name)


def ask(request: RequestHead, *routes: Route, peer: Peer = FRIEND) -> Admit | Reject:
    return decide(request, peer, policy(*routes), RouteTable(routes), NOW, trusted=False)


def admitted(request: RequestHead, *routes: Route, **more: Any) -> Admit:
    answer = ask(request, *routes, **more)
    assert isinstance(answer, Admit), answer
    return answer


def refused(request: RequestHead, *routes: Route, **more: Any) -> Reason:
    answer = ask(request, *routes, **more)
    assert isinstance(answer, Reject), answer
    return answer.reason


def test_a_check_passes_without_method_and_signature() -> None:
    admit = admitted(head("GET", DROPBOX), route("dropbox"))
    assert (admit.verification, admit.answer, admit.target) == (None, None, DROPBOX.encode())
    assert admit.check is not None


def test_it_is_not_said_to_be_verified() -> None:
    admit = admitted(head("GET", DROPBOX), route("dropbox"))
    assert provenance_value(admit, "s1", "") == b""
    token = admitted(head("GET", f"{DROPBOX}&token=word"), route("dropbox", token=IN_QUERY))
    assert provenance_value(token, "url", "") == b""


def test_all_else_of_that_method_stays_refused() -> None:
    one = route("dropbox")
    assert refused(head("GET", PATH), one) is Reason.METHOD_NOT_ALLOWED
    assert refused(head("GET", f"{DROPBOX}&x=1"), one) is Reason.METHOD_NOT_ALLOWED
    assert refused(head("GET", f"{PATH}/below?challenge=abc"), one) is Reason.METHOD_NOT_ALLOWED
    assert refused(head("GET", DROPBOX), route("dropbox", "refuse")) is Reason.METHOD_NOT_ALLOWED
    assert refused(head("GET", DROPBOX), route("github")) is Reason.METHOD_NOT_ALLOWED
    both = route("dropbox", "refuse", methods=frozenset({b"GET", b"POST"}))
    assert refused(head("GET", DROPBOX), both) is Reason.SIGNATURE_MISSING


def test_the_405_names_the_routes_own_methods() -> None:
    answer = ask(head("GET", PATH), route("dropbox"))
    assert isinstance(answer, Reject)
    assert answer.allow == (b"POST",)


@pytest.mark.parametrize("mode", ["forward", "answer"])
def test_the_address_holds(mode: str) -> None:
    one = route("dropbox", mode, allow=OFFICE)
    assert isinstance(ask(head("GET", DROPBOX), one), Admit)
    assert refused(head("GET", DROPBOX), one, peer=STRANGER) is Reason.ADDRESS_REFUSED


@pytest.mark.parametrize("mode", ["forward", "answer"])
def test_the_verify_token_holds(mode: str) -> None:
    one = route("whatsapp", mode, verify_token=WORD)
    assert isinstance(ask(head("GET", GOOD), one), Admit)
    assert refused(head("GET", f"{META}other"), one) is Reason.TOKEN_MISMATCH
    assert refused(head("GET", META), one) is Reason.TOKEN_MISSING


@pytest.mark.parametrize("mode", ["forward", "answer"])
def test_a_token_of_ones_own_holds_and_is_taken_out(mode: str) -> None:
    one = route("dropbox", mode, token=IN_QUERY)
    admit = admitted(head("GET", f"{PATH}?token=word&challenge=abc"), one)
    assert (admit.target, admit.secret_name) == (DROPBOX.encode(), "url")
    assert refused(head("GET", DROPBOX), one) is Reason.TOKEN_MISSING
    assert refused(head("GET", f"{DROPBOX}&token=other"), one) is Reason.TOKEN_MISMATCH


def test_okta_proves_itself_in_its_check_too() -> None:
    fields = {"X-Okta-Verification-Challenge": "abc"}
    one = route("okta", "answer")
    assert refused(head("GET", PATH, fields), one) is Reason.TOKEN_MISSING
    admit = admitted(head("GET", PATH, {**fields, "Authorization": "a consumer secret"}), one)
    assert admit.answer is not None
    assert admit.answer.content == b'{"verification":"abc"}'


def test_a_post_needs_a_length_and_no_content() -> None:
    one = route("microsoft_graph", body=BodyMode.HOLD)
    target = f"{PATH}?validationToken=abc"
    assert admitted(head("POST", target), one).check is not None
    bare = head("POST", target, {"Content-Length": "0"})
    bare.framing, bare.content_length = type(bare.framing).NONE, None
    assert refused(bare, one) is Reason.LENGTH_REQUIRED
    # With content it is a notification like any other, judged by its body.
    assert admitted(head("POST", target, {"Content-Length": "2"}), one).verification is not None


def test_event_types_do_not_speak_of_checks() -> None:
    one = route("dropbox", events=frozenset({"push"}), event_header=b"x-event")
    assert isinstance(ask(head("GET", DROPBOX), one), Admit)


def test_the_route_whose_token_it_is_takes_it() -> None:
    first = route("whatsapp", "answer", name="first", verify_token=b"another")
    second = route("whatsapp", "answer", name="second", verify_token=WORD)
    assert admitted(head("GET", GOOD), first, second).route.name == "second"


def test_the_secret_of_the_moment_answers() -> None:
    one = route("twitter", "answer")
    coming, present = Secret("next", b"n", not_before=NOW + 1), Secret("now", KEY, not_after=NOW + 1)

    def asked(*secrets: Secret) -> Admit | Reject:
        assert one.signature is not None
        signature = replace(one.signature, secrets=secrets)
        return ask(head("GET", f"{PATH}?crc_token=foo"), replace(one, signature=signature))

    answer = asked(coming, present)
    assert isinstance(answer, Admit)
    assert answer.answer is not None
    mac = base64.b64encode(hmac.digest(KEY, b"foo", "sha256"))
    assert answer.answer.content == b'{"response_token":"sha256=%b"}' % mac
    refusal = asked(coming)
    assert isinstance(refusal, Reject)
    assert refusal.reason is Reason.SIGNATURE_MISMATCH


class TestObserving:
    """A route that only observes passes on what it would have refused, and never answers it."""

    def test_unsigned(self) -> None:
        one = route("whatsapp", "answer", verify_token=WORD, allow=OFFICE, observe=True)
        admit = admitted(head("GET", META + "other"), one)
        assert (admit.observed, admit.answer) == (Reason.TOKEN_MISMATCH, None)
        assert refused(head("GET", GOOD), one, peer=STRANGER) is Reason.ADDRESS_REFUSED

    def test_what_holds_is_answered(self) -> None:
        one = route("whatsapp", "answer", verify_token=WORD, observe=True)
        assert admitted(head("GET", GOOD), one).answer is not None


class FakeVerification(Verification):
    def update(self, chunk: Piece) -> None:
        pass

    def finish(self) -> str:
        return "s1"

    def verify(self, body: bytes) -> str:
        return "s1"

    def marks(self) -> list[bytes]:
        return []


class TestSigned:
    """``own_answer``: after the verdict, for what is here whole."""

    BODY = b'{"type":"url_verification","challenge":"abc"}'

    def answer(self, *, window: int = 1000, mode: str = "answer", pieces: int = 1, **changed: object) -> bytes | None:
        one = route("slack", mode)
        verification = FakeVerification()
        admit = replace(Admit(one, FRIEND, PATH.encode(), verification), **changed)
        gate = BodyGate(BodyMode.TAIL, window, verification, None)
        size = -(-len(self.BODY) // pieces)
        for at in range(0, len(self.BODY), size):
            gate.feed(self.BODY[at : at + size])
        answer = own_answer(head("POST", PATH), admit, gate, record("s1"))
        held = deque(gate.take())
        assert answer is None or b"".join(held) == self.BODY, "looking takes nothing away"
        return None if answer is None else answer.content

    def test_answered_in_any_cut(self) -> None:
        assert {self.answer(pieces=pieces) for pieces in (1, 2, 7, 45)} == {b"abc"}

    def test_not_answered(self) -> None:
        assert self.answer(mode="forward") is None
        assert self.answer(observed=Reason.SIGNATURE_MISMATCH) is None
        assert self.answer(verification=None) is None

    def test_not_answered_where_a_part_has_left(self) -> None:
        verification = FakeVerification()
        gate = BodyGate(BodyMode.TAIL, 10, verification, None)
        gate.feed(b" " * 20_000)
        gate.feed(self.BODY)
        assert gate.whole_body() is None
        admit = Admit(route("slack", "answer"), FRIEND, PATH.encode(), verification)
        assert own_answer(head("POST", PATH), admit, gate, record("s1")) is None

    def test_a_check_is_no_larger_than_this(self) -> None:
        for more, content in ((0, b"abc"), (1, None)):
            gate = BodyGate(BodyMode.HOLD, 1 << 20, FakeVerification(), None)
            judge_whole(gate, self.BODY + b" " * (MAX_BODY_BYTES - len(self.BODY) + more))
            admit = Admit(route("slack", "answer"), FRIEND, PATH.encode(), FakeVerification())
            answer = own_answer(head("POST", PATH), admit, gate, record("s1"))
            assert (None if answer is None else answer.content) == content

    def test_the_secret_that_matched_answers(self) -> None:
        one = route("zoom", "answer")
        assert one.signature is not None
        both = replace(one.signature, secrets=(Secret("new", b"other"), Secret("old", KEY)))
        gate = BodyGate(BodyMode.HOLD, 1000, FakeVerification(), None)
        judge_whole(gate, b'{"payload":{"plainToken":"abc"},"event":"endpoint.url_validation"}')
        admit = Admit(replace(one, signature=both), FRIEND, PATH.encode(), FakeVerification())
        answer = own_answer(head("POST", PATH), admit, gate, record("old"))
        assert answer is not None
        assert json.loads(answer.content)["encryptedToken"] == hmac.digest(KEY, b"abc", "sha256").hex()


def test_the_record_tells_a_check() -> None:
    record = ExchangeRecord("id", NOW, "192.0.2.7", "192.0.2.7")
    request = head("GET", DROPBOX, {"User-Agent": "DropboxWebhooks/1.0"})
    note_decision(record, request, admitted(request, route("dropbox")))
    assert (record.method, record.path, record.handshake, record.route) == ("GET", PATH, "forwarded", "dropbox")
    record.answer_handshake(200, 3)
    assert (record.reason, record.verdict, record.handshake) == (Reason.HANDSHAKE_ANSWERED, "admitted", "answered")
    assert (record.status, record.bytes_out) == (200, 3)
