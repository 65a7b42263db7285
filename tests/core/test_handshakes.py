"""Endpoint checks: the documented shape and nothing beside it, and answers computed here once more by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.handshakes import (
    MAX_BODY_BYTES,
    EndpointCheck,
    HandshakeAnswer,
    body_answer,
    find_check,
    head_answer,
    refuse_check,
)
from proxy.core.policy import Route
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.reasons import Reason
from tests.core.handshaking import KEY, NOW, PATH, URL, WORD, Sent, head, route

JSON = b"application/json"
SENTENCE = "Validation: Testing client application reachability Request-Id: a6d5f8b0-2f2c-4a4e"
UUID = b"890e4665-4dfe-4ab1-b689-ed553bceeed0"
META = ["facebook_graph_api", "facebook_messenger", "instagram", "whatsapp"]


def mac(text: bytes) -> bytes:
    return hmac.new(KEY, text, hashlib.sha256).digest()


UNSIGNED = [
    *(
        Sent(slug, b"1158201444", query=f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={WORD.decode()}")
        for slug in META
    ),
    Sent("dropbox", b"abc123-_x", query="challenge=abc123-_x"),
    Sent("onfleet", b"4ec2f9", query="check=4ec2f9"),
    Sent(
        "twitter",
        b'{"response_token":"sha256=' + base64.b64encode(mac(b"Zm9vYmFy+/==")) + b'"}',
        JSON,
        query="crc_token=Zm9vYmFy%2B%2F%3D%3D&nonce=MTUw",
    ),
    Sent("worldline", b"3a1c9e2c-7e5e", fields={"X-GCS-Webhooks-Endpoint-Verification": "3a1c9e2c-7e5e"}),
    Sent("microsoft_graph", SENTENCE.encode(), method="POST", query="validationToken=" + quote(SENTENCE)),
    Sent(
        "ebay",
        json.dumps(
            {"challengeResponse": hashlib.sha256(b"71745723-d031" + WORD + URL.encode()).hexdigest()},
            separators=(",", ":"),
        ).encode(),
        JSON,
        query="challenge_code=71745723-d031",
    ),
    Sent(
        "linkedin",
        b'{"challengeCode":"%b","challengeResponse":"%b"}' % (UUID, mac(UUID).hex().encode()),
        JSON,
        query=f"challengeCode={UUID.decode()}&applicationId=4711",
    ),
    Sent(
        "okta",
        b'{"verification":"Me_rShK8JHsTnbyYr"}',
        JSON,
        fields={"X-Okta-Verification-Challenge": "Me_rShK8JHsTnbyYr"},
    ),
    Sent("trello", b"", b"", method="HEAD"),
    Sent("intercom", b"", b"", method="HEAD"),
    Sent("mailchimp", b"", b"", method="HEAD"),
    Sent("mailchimp_marketing", b"", b"", query="token=t"),
]
ASANA = Sent("asana", b"", method="POST", fields={"X-Hook-Secret": "b537207f20cb"})
IDS = [sent.slug for sent in UNSIGNED]


def answering(sent: Sent, mode: str = "answer", **changed: object) -> Route:
    """A route that can answer; eBay has no key here, but its URL."""
    one = route(sent.slug, mode, verify_token=WORD, **changed)
    if sent.slug == "ebay":
        github = PROVIDERS["github"].scheme
        assert github is not None
        one = replace(one, signature=SignatureCheck(github, (Secret("s1", KEY),), None, "https://hooks.example.com"))
    return one


def ask(sent: Sent, one: Route | None = None, **changed: Any) -> EndpointCheck | None:
    sent = replace(sent, **changed)
    return find_check(one or answering(sent), head(sent.method, sent.target, sent.fields))


def test_every_unsigned_check_is_in_the_table() -> None:
    unsigned = {p.slug for p in PROVIDERS.values() if p.handshake is not None and not p.handshake.signed}
    assert unsigned == {*IDS, "asana"}


@pytest.mark.parametrize("sent", UNSIGNED, ids=IDS)
def test_a_check_is_answered_as_documented(sent: Sent) -> None:
    one = answering(sent)
    request = head(sent.method, sent.target, sent.fields)
    check = find_check(one, request)
    assert check is not None
    assert refuse_check(one, check) is None
    assert head_answer(one, request, check, NOW) == HandshakeAnswer(sent.answer, sent.kind)


@pytest.mark.parametrize("sent", [*UNSIGNED, ASANA], ids=[*IDS, "asana"])
def test_the_same_check_is_known_where_it_is_passed_on(sent: Sent) -> None:
    assert ask(sent, answering(sent, "forward")) is not None
    assert ask(sent, answering(sent, "refuse")) is None


@pytest.mark.parametrize("sent", [*UNSIGNED, ASANA], ids=[*IDS, "asana"])
def test_what_is_not_exactly_the_shape_is_no_check(sent: Sent) -> None:
    other = {"GET": "POST", "HEAD": "GET", "POST": "GET"}[sent.method]
    assert ask(sent, method=other) is None
    assert ask(sent, method="PUT") is None
    assert ask(sent, query=f"{sent.query}&page=1".lstrip("&")) is None
    assert ask(sent, fields={**sent.fields, "Content-Length": "2"}) is None
    assert ask(sent, fields={**sent.fields, "Transfer-Encoding": "chunked"}) is None
    if sent.fields:
        assert ask(sent, fields={}) is None
        [(name, value)] = sent.fields.items()
        twice = head(sent.method, sent.target, sent.fields, extra=(f"{name}: {value}",))
        assert find_check(answering(sent), twice) is None
    for pair in sent.query.split("&") if sent.query else ():
        own = pair.startswith(("token=", "nonce=", "applicationId="))
        if not own:
            assert ask(sent, query="&".join(p for p in sent.query.split("&") if p != pair)) is None, pair
        if not pair.startswith("token="):
            assert ask(sent, query=f"{sent.query}&{pair}") is None, "given twice"


BAD = [
    pytest.param("", id="empty"),
    pytest.param("<script>alert(1)</script>", id="markup"),
    pytest.param('"><img src=x>', id="quote"),
    pytest.param("a;b", id="semicolon"),
    pytest.param("a\r\nSet-Cookie: x=1", id="line-end"),
    pytest.param("a\0b", id="nul"),
    pytest.param("caf\u00e9", id="not-ascii"),
    pytest.param("x" * 1025, id="too-long"),
    pytest.param('{"a":1}', id="json"),
    pytest.param("a\u202eb", id="direction"),
]


@pytest.mark.parametrize("challenge", BAD)
@pytest.mark.parametrize("sent", [one for one in UNSIGNED if one.query], ids=lambda one: one.slug)
def test_a_challenge_is_bounded_in_length_and_alphabet(sent: Sent, challenge: str) -> None:
    handshake = PROVIDERS[sent.slug].handshake
    assert handshake is not None
    if not handshake.query:
        return
    pairs = [pair for pair in sent.query.split("&") if not pair.startswith(f"{handshake.query}=")]
    query = "&".join([*pairs, f"{handshake.query}={quote(challenge, safe='')}"])
    assert ask(sent, query=query) is None


@pytest.mark.parametrize("value", ["<b>", "a b", "x" * 257, '"', "\xe9"])
@pytest.mark.parametrize("sent", [one for one in [*UNSIGNED, ASANA] if one.fields], ids=lambda one: one.slug)
def test_a_challenge_in_a_header_is_bounded_too(sent: Sent, value: str) -> None:
    assert ask(sent, fields=dict.fromkeys(sent.fields, value)) is None


@pytest.mark.parametrize(
    "text",
    [
        *("123", "-1", "1e9", "true", "null", "NaN", "Infinity", "-Infinity"),
        *("{}", ' {"a":1}', "a{", "a=b", "text=hi", "v0:1:x", "a.b", "x" * 129, "a===", "a b"),
    ],
)
@pytest.mark.parametrize("slug", ["twitter", "linkedin"])
def test_nothing_that_could_be_a_body_is_signed(slug: str, text: str) -> None:
    assert ask_for(slug, text, "answer") is None
    assert ask_for(slug, text, "forward") is None, "nor by the application"


@pytest.mark.parametrize("text", ["hmacsha256=", "delete_all=", "890e4665-4dfe", "word", UUID.decode()[:-1]])
def test_the_challenge_of_linkedin_is_a_uuid(text: str) -> None:
    assert ask_for("linkedin", text, "answer") is None
    assert ask_for("linkedin", text, "forward") is None
    assert ask_for("linkedin", UUID.decode().upper(), "answer") == EndpointCheck(UUID.decode().upper())


def ask_for(slug: str, text: str, mode: str) -> EndpointCheck | None:
    parameter = {"twitter": "crc_token", "linkedin": "challengeCode"}[slug]
    return ask(Sent(slug, b"", query=f"{parameter}={quote(text, safe='')}"), route(slug, mode))


class TestOtherReaders:
    """The application may read the query in another way than we do: no reading of it is signed."""

    @pytest.mark.parametrize("nonce", ["x;crc_token={}", "x%3Bcrc_token=%7B", "%7B%22a%22", "x&crc_token=y", "%00", ""])
    def test_what_may_stand_beside_the_challenge_is_as_narrow(self, nonce: str) -> None:
        assert ask(Sent("twitter", b"", query=f"crc_token=foo&nonce={nonce}")) is None

    def test_a_cookie_has_no_challenge(self) -> None:
        sent = Sent("twitter", b"", query="crc_token=foo", fields={"Cookie": 'crc_token={"a":1}'})
        assert ask(sent, route("twitter", "forward")) is None
        dropbox = Sent("dropbox", b"", query="challenge=foo", fields={"Cookie": "a=b"})
        assert ask(dropbox) is not None, "what is only given back is no secret"


class TestVerifyToken:
    SENT = UNSIGNED[0]

    def check(self, word: str, token: bytes | None = WORD) -> Reason | None:
        one = route("whatsapp", "answer", verify_token=token)
        query = f"hub.mode=subscribe&hub.verify_token={word}&hub.challenge=1"
        check = find_check(one, head("GET", f"{PATH}?{query}"))
        assert check is not None
        return refuse_check(one, check)

    def test_it_must_be_the_configured_one(self) -> None:
        assert self.check(WORD.decode()) is None
        assert self.check("verify%2D4711") is None, "decoded, as the application reads it"
        assert self.check("verify-4712") is Reason.TOKEN_MISMATCH
        assert self.check("") is Reason.TOKEN_MISSING
        assert self.check("%C3%A9") is Reason.TOKEN_MISMATCH

    def test_what_is_not_configured_is_the_applications_to_judge(self) -> None:
        assert self.check("anything", None) is None

    def test_another_mode_of_the_hub_is_no_check(self) -> None:
        assert ask(self.SENT, query=self.SENT.query.replace("subscribe", "unsubscribe")) is None


class TestWhere:
    """What is passed on unproved is passed on at the route's own path alone."""

    DROPBOX = "challenge=abc"

    @pytest.mark.parametrize(
        ("path", "found"),
        [("/in/here", True), ("/in/here/", True), ("/in/here/admin", False), ("/in/here/X", False), ("/in", False)],
    )
    def test_unproved(self, path: str, *, found: bool) -> None:
        one = route("dropbox")
        assert (find_check(one, head("GET", f"{path}?{self.DROPBOX}")) is not None) is found

    def test_the_letters_of_a_path_count(self) -> None:
        assert find_check(route("dropbox", path=b"/X"), head("GET", f"/X?{self.DROPBOX}")) is not None

    def test_the_root_is_not_everything(self) -> None:
        one = route("dropbox", path=b"/")
        assert find_check(one, head("GET", f"/?{self.DROPBOX}")) is not None
        assert find_check(one, head("GET", f"/private?{self.DROPBOX}")) is None

    def test_our_own_answer_shows_nothing(self) -> None:
        assert find_check(route("dropbox", "answer"), head("GET", f"{PATH}/below?{self.DROPBOX}")) is not None

    def test_a_token_proves_the_sender(self) -> None:
        token = TokenCheck(TokenKind.QUERY, b"token", (Secret("t", b"word"),))
        one = route("dropbox", token=token)
        assert find_check(one, head("GET", f"{PATH}/below?token=word&{self.DROPBOX}")) is not None
        meta = route("whatsapp", verify_token=WORD)
        query = "hub.mode=subscribe&hub.verify_token=x&hub.challenge=1"
        assert find_check(meta, head("GET", f"{PATH}/below?{query}")) is not None
        assert find_check(route("whatsapp"), head("GET", f"{PATH}/below?{query}")) is None


class TestKeys:
    HEAD = head("GET", f"{PATH}?crc_token=foo")

    def answer(self, *secrets: Secret) -> HandshakeAnswer | Reason:
        scheme = PROVIDERS["twitter"].scheme
        assert scheme is not None
        one = route("twitter", "answer", signature=SignatureCheck(scheme, secrets))
        return head_answer(one, self.HEAD, EndpointCheck("foo"), NOW)

    def test_the_newest_live_secret_answers(self) -> None:
        answer = self.answer(
            Secret("next", b"n", not_before=NOW + 1), Secret("new", KEY), Secret("old", b"o", not_after=NOW + 9)
        )
        assert isinstance(answer, HandshakeAnswer)
        assert json.loads(answer.content) == {"response_token": "sha256=" + base64.b64encode(mac(b"foo")).decode()}

    def test_no_live_secret_answers_nothing(self) -> None:
        assert self.answer(Secret("old", KEY, not_after=NOW)) is Reason.SIGNATURE_MISMATCH


# --- signed checks: slug, body, fields, answer

ZOOM = b'{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}'
TWITCH = {"Twitch-Eventsub-Message-Type": "webhook_callback_verification"}
XERO = b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3r4Nd0mt3xt"}'
SIGNED: dict[str, tuple[bytes, dict[str, str], bytes, bytes]] = {
    "slack": (b'{"challenge":"3eZbrw1aBm2r","type":"url_verification"}', {}, b"3eZbrw1aBm2r", b"text/plain"),
    "zoom": (
        ZOOM,
        {},
        b'{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"'
        + mac(b"qgg8vlvZRS6UYooatFL8Aw").hex().encode()
        + b'"}',
        JSON,
    ),
    "discord": (b'{"type":1,"id":"9"}', {}, b'{"type":1}', JSON),
    "twitch": (b'{"challenge":"pogchamp-kappa-360noscope","subscription":{}}', TWITCH, b"pogchamp-kappa-360noscope",
               b"text/plain"),
    "xero": (XERO, {}, b"", b""),
    "monday": (b'{"challenge":"3eZbrw1aBm2r"}', {}, b'{"challenge":"3eZbrw1aBm2r"}', JSON),
}  # fmt: skip


def body_ask(slug: str, body: bytes | None = None, fields: dict[str, str] | None = None) -> HandshakeAnswer | None:
    good, good_fields, _, _ = SIGNED[slug]
    given = good_fields if fields is None else fields
    return body_answer(route(slug, "answer"), head("POST", PATH, given), good if body is None else body, "s1")


def test_every_signed_check_is_in_the_table() -> None:
    signed = {p.slug for p in PROVIDERS.values() if p.handshake is not None and p.handshake.signed}
    assert signed == {*SIGNED, "sns"}


@pytest.mark.parametrize("slug", SIGNED)
def test_a_signed_check_is_answered_as_documented(slug: str) -> None:
    _, _, content, kind = SIGNED[slug]
    assert body_ask(slug) == HandshakeAnswer(content, kind)


@pytest.mark.parametrize("slug", SIGNED)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"type":"event_callback","challenge":"x"}'.replace(b"challenge", b"chal"),
        b'{"type":true}',
        b'{"type":1.0}',
        b'{"type":2}',
        b"[" * 60_000,
        b'{"events":[1],"firstEventSequence":0,"lastEventSequence":0}',
        b'{"type":"url_verification"}',
        b'{"event":"endpoint.url_validation","payload":"x"}',
    ],
)
def test_other_bodies_are_deliveries(slug: str, body: bytes) -> None:
    assert body_ask(slug, body) is None


@pytest.mark.parametrize("challenge", ["", "<b>x</b>", "a b", "x" * 257, "caf\u00e9", 'a"b'])
@pytest.mark.parametrize("slug", [slug for slug, row in SIGNED.items() if b"oken" in row[0] or b"challenge" in row[0]])
def test_a_signed_challenge_is_bounded_too(slug: str, challenge: str) -> None:
    tree = json.loads(SIGNED[slug][0])
    holder, key = (tree["payload"], "plainToken") if slug == "zoom" else (tree, "challenge")
    holder[key] = challenge
    assert body_ask(slug, json.dumps(tree).encode()) is None
    holder[key] = 5
    assert body_ask(slug, json.dumps(tree).encode()) is None


def test_a_large_body_is_not_parsed() -> None:
    start, end = b'{"type":"url_verification","challenge":"x","pad":"', b'"}'
    room = MAX_BODY_BYTES - len(start) - len(end)
    assert body_ask("slack", start + b"p" * room + end) is not None
    assert body_ask("slack", start + b"p" * (room + 1) + end) is None


def test_a_key_that_comes_twice_is_doubtful() -> None:
    assert body_ask("slack", b'{"type":"event","type":"url_verification","challenge":"x"}') is None


def test_twitch_says_it_in_a_header() -> None:
    assert body_ask("twitch", fields={}) is None
    assert body_ask("twitch", fields={"Twitch-Eventsub-Message-Type": "notification"}) is None
    twice = head("POST", PATH, TWITCH, extra=("Twitch-Eventsub-Message-Type: notification",))
    assert body_answer(route("twitch", "answer"), twice, SIGNED["twitch"][0], "s1") is None


def test_zoom_is_answered_with_the_secret_that_matched() -> None:
    scheme = PROVIDERS["zoom"].scheme
    assert scheme is not None
    check = SignatureCheck(scheme, (Secret("new", b"other"), Secret("old", KEY)))
    answer = body_answer(route("zoom", "answer", signature=check), head("POST", PATH), ZOOM, "old")
    assert answer is not None
    assert answer.content == SIGNED["zoom"][2]


def test_what_only_the_application_can_answer() -> None:
    body = b'{"Type":"SubscriptionConfirmation","SubscribeURL":"https://sns.example.com/"}'
    assert body_answer(route("sns", "answer"), head("POST", PATH), body, "s1") is None
    assert body_answer(route("github", "answer"), head("POST", PATH), body, "s1") is None
    assert body_answer(route("dropbox", "answer"), head("POST", PATH), b'{"challenge":"x"}', "s1") is None
    assert find_check(route("github"), head("GET", f"{PATH}?challenge=x")) is None
    assert find_check(route("slack"), head("GET", f"{PATH}?challenge=x")) is None


def test_an_answer_as_it_is_written() -> None:
    answer = HandshakeAnswer(b"abc", b"text/plain")
    assert answer.status == 200
    assert answer.write(b"id1", b"Sun, 06 Nov 1994 08:49:37 GMT", close=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Request-Id: id1\r\nContent-Length: 3\r\n\r\nabc"
    )
    closing = answer.write(b"id1", b"now", close=True, head_only=True)
    assert closing.endswith(b"Content-Length: 3\r\nConnection: close\r\n\r\n")
    assert b"\r\nContent-Type:" not in HandshakeAnswer(b"", b"").write(b"id1", b"now", close=False)


@given(st.binary(max_size=300), st.sampled_from(sorted(SIGNED)))
def test_no_body_raises(body: bytes, slug: str) -> None:
    answer = body_ask(slug, body)
    assert answer is None or isinstance(answer, HandshakeAnswer)


QUERY = st.text(alphabet="abc=&%+;.0123456789ABCDEF<>_challengenkodtur", max_size=80).filter(lambda t: "<" not in t)


@given(QUERY, st.sampled_from(UNSIGNED))
def test_no_query_raises_and_no_answer_holds_markup(query: str, sent: Sent) -> None:
    one = answering(sent)
    request = head(sent.method, f"{PATH}?{sent.query}&{query}".replace(">", ""), sent.fields)
    check = find_check(one, request)
    if check is not None:
        answer = head_answer(one, request, check, NOW)
        assert isinstance(answer, HandshakeAnswer)
        assert not set(b"<>&'\r\n") & set(answer.content)


def test_a_query_of_too_many_parts_is_no_check() -> None:
    request = head("HEAD", PATH)
    request.query = b"&" * 10_000
    assert find_check(route("trello"), request) is None
