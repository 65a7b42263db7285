"""Endpoint checks as conversations: who is answered by whom, and what the upstream hears of it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest

from proxy.core.policy import BodyMode, Route
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Secret
from proxy.reasons import Phase, Reason
from tests.net.dialogue import KEY, OK, World, request
from tests.net.dialogue import route as make

ANSWERED, DELIVERED = Reason.HANDSHAKE_ANSWERED, Reason.DELIVERED
CHECK = request(method=b"GET", path=b"/hook?challenge=abc")
OWN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n*Content-Length: 3\r\n\r\nabc"
PING = b'{"type":"url_verification","challenge":"abc"}'
POST_ONLY = frozenset({b"POST"})


def dropbox(mode: str, **changed: object) -> Route:
    return make(
        provider="dropbox", methods=POST_ONLY, endpoint_check=PROVIDERS["dropbox"].handshake, handshake=mode, **changed
    )


def trello(mode: str) -> Route:
    return replace(dropbox(mode), provider="trello", endpoint_check=PROVIDERS["trello"].handshake)


def slack(mode: str = "answer", body: BodyMode = BodyMode.TAIL, **changed: object) -> Route:
    """Slack's check under GitHub's signature, which has no clock."""
    return make(provider="slack", body=body, endpoint_check=PROVIDERS["slack"].handshake, handshake=mode, **changed)


def test_an_unsigned_check_is_answered_by_the_application() -> None:
    world = World(dropbox("forward"))
    sender = world.sender()
    sender >> CHECK
    heard = world.upstream.hear()
    assert heard.startswith(b"GET /hook?challenge=abc HTTP/1.1\r\n")
    assert b"Webhook-Verified" not in heard
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*\r\n\r\nok"
    [record] = world.records
    assert (record.handshake, record.verdict, record.provider) == ("forwarded", "admitted", "dropbox")
    world.over(DELIVERED)


def test_an_unsigned_check_is_answered_here_and_the_connection_stays() -> None:
    world = World(dropbox("answer"))
    sender = world.sender()
    for _ in range(2):
        sender >> CHECK
        sender << OWN
    assert sender.saw is None
    assert world.upstreams == []
    record = world.records[0]
    assert (record.handshake, record.verdict, record.status) == ("answered", "admitted", 200)
    assert (record.phase, record.bytes_out, record.path) == (Phase.DONE, 3, "/hook")
    world.over(ANSWERED, ANSWERED)


def test_the_answer_has_date_and_id_and_may_close() -> None:
    world = World(dropbox("answer"))
    sender = world.sender()
    sender >> request(method=b"GET", path=b"/hook?challenge=abc", extra=b"Connection: close\r\n")
    sender << OWN.replace(b"nosniff\r\n*", b"nosniff\r\n*Date: *GMT\r\nX-Request-Id: test00000001\r\n*").replace(
        b"3\r\n", b"3\r\nConnection: close\r\n"
    )
    assert sender.saw == "fin"
    world.over(ANSWERED)


def test_checks_may_be_pipelined() -> None:
    world = World(dropbox("answer"))
    sender = world.sender()
    sender >> CHECK + CHECK + request(method=b"GET", path=b"/hook")
    sender << OWN + OWN + b"HTTP/1.1 405 *"
    world.over(ANSWERED, ANSWERED, Reason.METHOD_NOT_ALLOWED)


def test_who_has_closed_its_side_is_still_answered() -> None:
    world = World(dropbox("answer"))
    sender = world.sender()
    sender.transport.inbox.append(CHECK)
    sender.finish()
    assert b"abc" in sender.hear()
    world.over(ANSWERED)


@pytest.mark.parametrize("mode", ["forward", "answer"])
def test_head_is_answered_without_content(mode: str) -> None:
    world = World(trello(mode))
    sender = world.sender()
    sender >> request(method=b"HEAD")
    if mode == "forward":
        world.upstream << b"HEAD /hook HTTP/1.1\r\n*\r\n\r\n"
        world.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        sender << b"HTTP/1.1 200 OK\r\n*Content-Length: 5\r\n\r\n"
        world.over(DELIVERED)
    else:
        sender << b"HTTP/1.1 200 OK\r\nX-Content-Type-Options*Content-Length: 0\r\n\r\n"
        world.over(ANSWERED)


def test_a_held_route_passes_a_check_on() -> None:
    world = World(dropbox("forward", body=BodyMode.HOLD))
    sender = world.sender()
    sender >> CHECK
    world.upstream << b"GET /hook?challenge=abc HTTP/1.1\r\n*"
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*ok"
    world.over(DELIVERED)


def test_refused_is_refused() -> None:
    world = World(dropbox("refuse"))
    sender = world.sender()
    sender >> CHECK
    sender << b"HTTP/1.1 405 *Allow: POST\r\n*"
    assert world.records[0].handshake == ""
    world.over(Reason.METHOD_NOT_ALLOWED)


@pytest.mark.parametrize("body", [BodyMode.TAIL, BodyMode.HOLD])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [5, 1000])
def test_a_signed_check_is_answered_after_its_verdict(body: BodyMode, size: int, *, chunked: bool) -> None:
    world = World(slack(body=body))
    sender = world.sender()
    whole = request(PING, sign=PING, chunked=chunked)
    sender.say(*(whole[at : at + size] for at in range(0, len(whole), size)))
    sender << OWN
    assert world.upstreams == []
    assert sender.saw is None
    [record] = world.records
    assert (record.handshake, record.verdict, record.secret_name) == ("answered", "admitted", "s1")
    assert record.bytes_in == len(PING)
    world.over(ANSWERED)


def test_a_forged_check_is_refused_like_any_delivery() -> None:
    world = World(slack())
    sender = world.sender()
    sender >> request(PING, sign=b"other") + request(PING)
    heard = sender.hear()
    assert b"signature_mismatch" in heard
    assert b"signature_missing" in heard
    assert b"abc" not in heard
    world.over(Reason.SIGNATURE_MISMATCH, Reason.SIGNATURE_MISSING)


@pytest.mark.parametrize("body", [BodyMode.TAIL, BodyMode.HOLD])
@pytest.mark.parametrize("sent", [b'{"type":"event_callback"}', PING[:-1], b"", b" " * 70_000 + PING])
def test_what_is_no_check_is_delivered_to_the_byte(sent: bytes, body: BodyMode) -> None:
    world = World(slack(body=body))
    sender = world.sender()
    sender >> request(sent, sign=sent)
    assert world.upstream.hear().endswith(b"\r\n\r\n" + sent)
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*ok"
    world.over(DELIVERED)


def test_passed_on_it_is_a_delivery() -> None:
    world = World(slack("forward"))
    sender = world.sender()
    sender >> request(PING, sign=PING)
    world.upstream << b"POST /hook HTTP/1.1\r\n*Webhook-Verified: slack; secret=s1\r\n*" + PING
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*ok"
    world.over(DELIVERED)


def test_what_is_only_observed_is_never_signed() -> None:
    """Zoom's answer is made with the key: for a body whose signature is wrong it would be forgery to order."""
    scheme = PROVIDERS["github"].scheme
    assert scheme is not None
    one = make(
        provider="zoom",
        observe=True,
        endpoint_check=PROVIDERS["zoom"].handshake,
        handshake="answer",
        signature=SignatureCheck(scheme, (Secret("s1", KEY),)),
    )
    body = b'{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}'
    world = World(one)
    sender = world.sender()
    sender >> request(body, sign=b"other")
    assert world.upstream.hear().endswith(body)
    world.upstream >> OK
    sender << b"HTTP/1.1 200 OK\r\n*ok"
    sender >> request(body, sign=body)
    mac = hmac.new(KEY, b"abc", hashlib.sha256).hexdigest().encode()
    sender << b'HTTP/1.1 200 OK\r\n*{"plainToken":"abc","encryptedToken":"' + mac + b'"}'
    world.over(DELIVERED, ANSWERED)


def test_xero_is_refused_without_content() -> None:
    world = World(make(provider="xero", endpoint_check=PROVIDERS["xero"].handshake, refusal_status=401))
    sender = world.sender()
    sender >> request(b"{}", sign=b"other") + request(b"{}")
    bare = b"HTTP/1.1 401 Unauthorized\r\nX-Content-Type-Options*Content-Length: 0\r\n\r\n"
    sender << bare + bare
    sender >> request(b"{}", method=b"PUT")
    sender << b"HTTP/1.1 405 *Allow: GET, HEAD, POST\r\n*method_not_allowed *"
    world.over(Reason.SIGNATURE_MISMATCH, Reason.SIGNATURE_MISSING, Reason.METHOD_NOT_ALLOWED)


def test_while_draining_the_answer_is_the_last() -> None:
    world = World(slack())
    sender = world.sender()
    whole = request(PING, sign=PING)
    sender >> whole[:-5]
    world.site.start_drain()
    sender >> whole[-5:]
    sender << OWN.replace(b"3\r\n", b"3\r\nConnection: close\r\n")
    assert sender.saw == "fin"
    world.over(ANSWERED)
