"""Signed tokens: the algorithm is ours to choose, and nothing in them is believed before the signature."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.schemes import PROVIDERS
from proxy.core.signing.parsed import open_token
from proxy.reasons import Reason
from tests.deliveries import BODY, NOW, RAW, URL, Delivery, b64, b64url, check_for, head_of, jwt, keys, make, run

MALFORMED, MISMATCH = Reason.SIGNATURE_MALFORMED, Reason.SIGNATURE_MISMATCH
HEX = hashlib.sha256(BODY).hexdigest()


def vonage(claims, algorithm="HS256", now=NOW, body=BODY, **header):
    token = b"Bearer " + jwt(RAW, claims, algorithm, **header)
    return run(check_for(PROVIDERS["vonage"], RAW), Delivery([("Authorization", token)], body), now)


@pytest.mark.parametrize(
    ("claims", "algorithm", "header", "expected"),
    [
        ({"iat": NOW, "payload_hash": HEX}, "HS256", {}, "0"),
        ({"iat": NOW, "payload_hash": HEX}, "HS512", {}, MALFORMED),
        ({"iat": NOW, "payload_hash": HEX}, "none", {}, MALFORMED),
        ({"iat": NOW, "payload_hash": HEX}, "HS256", {"alg": "none"}, MALFORMED),
        ({"iat": NOW, "payload_hash": HEX}, "HS256", {"alg": ["HS256"]}, MALFORMED),
        ({"iat": NOW, "payload_hash": HEX}, "HS256", {"crit": ["exp"]}, MALFORMED),
        ({"iat": NOW, "payload_hash": HEX.upper()}, "HS256", {}, MALFORMED),
        ({"iat": NOW, "payload_hash": 1}, "HS256", {}, MALFORMED),
        ({"iat": NOW, "payload_hash": "\ud800"}, "HS256", {}, MALFORMED),
        ({"iat": NOW, "payload_hash": "ab"}, "HS256", {}, MALFORMED),
        ({"iat": NOW, "payload_hash": b64(hashlib.sha256(BODY).digest()).decode()}, "HS256", {}, MALFORMED),
        ({"iat": NOW}, "HS256", {}, MALFORMED),
        ({"payload_hash": HEX}, "HS256", {}, Reason.TIMESTAMP_MISSING),
        ({"iat": True, "payload_hash": HEX}, "HS256", {}, MALFORMED),
        ({"iat": "1", "payload_hash": HEX}, "HS256", {}, MALFORMED),
        ({"iat": 10**400, "payload_hash": HEX}, "HS256", {}, MALFORMED),
        ({"iat": NOW - 300, "payload_hash": HEX}, "HS256", {}, "0"),
        ({"iat": NOW - 301, "payload_hash": HEX}, "HS256", {}, Reason.TIMESTAMP_TOO_OLD),
        ({"iat": NOW + 301, "payload_hash": HEX}, "HS256", {}, Reason.TIMESTAMP_IN_FUTURE),
        ({"iat": NOW, "exp": 10**12 - 1, "payload_hash": HEX}, "HS256", {}, "0"),
        ({"iat": NOW, "exp": 10**12, "payload_hash": HEX}, "HS256", {}, MALFORMED),
        ({"iat": NOW, "exp": NOW - 6, "payload_hash": HEX}, "HS256", {}, Reason.TIMESTAMP_TOO_OLD),
        ({"iat": NOW, "exp": NOW - 5, "payload_hash": HEX}, "HS256", {}, "0"),
        ({"iat": NOW, "nbf": NOW + 5, "payload_hash": HEX}, "HS256", {}, "0"),
        ({"iat": NOW, "nbf": NOW + 6, "payload_hash": HEX}, "HS256", {}, Reason.TIMESTAMP_IN_FUTURE),
    ],
)
def test_claims(claims, algorithm, header, expected):
    assert vonage(claims, algorithm, **header) == expected


def test_the_token_stands_behind_its_scheme_in_one_line():
    check = check_for(PROVIDERS["vonage"], RAW)
    token = jwt(RAW, {"iat": NOW, "payload_hash": HEX})
    assert run(check, Delivery([("Authorization", b"Bearer " + token)])) == "0"
    assert run(check, Delivery([("Authorization", b"Basic X" + token)])) is MALFORMED
    assert run(check, Delivery([("Authorization", b"Bearer " + token)] * 2)) is MALFORMED
    assert run(check, Delivery([])) is Reason.SIGNATURE_MISSING


def test_a_public_key_is_no_hmac_key():
    """The old attack: a token signed with HMAC under the text of the public key."""
    token = jwt(keys().ec_jwk, {"iat": NOW, "request_body_sha256": HEX}, "HS256")
    check = check_for(PROVIDERS["plaid"], keys().ec_jwk)
    assert run(check, Delivery([("Plaid-Verification", token)])) is MALFORMED


def test_a_key_serves_its_own_algorithm_and_its_own_signatures_only():
    claim = {"request_body_sha256": b64(hashlib.sha256(BODY).digest()).decode()}
    ed25519 = keys().ed25519.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    owners = {"RS256": keys().rsa_pem, "ES256": keys().ec_spki, "EdDSA": b64(ed25519)}
    for algorithm, good in owners.items():
        token = jwt(b"", claim, algorithm)
        other = jwt(b"", claim | {"iat": NOW}, algorithm)
        forged = other.rpartition(b".")[0] + b"." + token.rpartition(b".")[2]
        for secret in owners.values():
            check = check_for(PROVIDERS["fusionauth_public_key"], secret)
            verdict = run(check, Delivery([("X-FusionAuth-Signature-JWT", token)]))
            assert verdict == ("0" if secret == good else MISMATCH)
            assert run(check, Delivery([("X-FusionAuth-Signature-JWT", forged)])) is MISMATCH


def test_messagebird_binds_the_url_and_an_empty_body():
    check = check_for(PROVIDERS["messagebird"], RAW)
    url_hash = hashlib.sha256(URL.encode()).hexdigest()
    times = {"exp": NOW + 60, "nbf": NOW, "iss": "MessageBird"}

    def verdict(claims, body=BODY):
        return run(check, Delivery([("MessageBird-Signature-JWT", jwt(RAW, times | claims))], body))

    assert verdict({"url_hash": url_hash, "payload_hash": HEX}) == "0"
    assert verdict({"url_hash": url_hash}, b"") == "0"
    assert verdict({"url_hash": url_hash}) is MISMATCH
    assert verdict({"url_hash": HEX, "payload_hash": HEX}) is MISMATCH
    assert verdict({"payload_hash": HEX}) is MISMATCH
    assert verdict({"url_hash": "\ud800", "payload_hash": HEX}) is MISMATCH
    token = jwt(RAW, times | {"url_hash": url_hash})
    empty = check.begin(head_of(Delivery([("MessageBird-Signature-JWT", token)], b"")), NOW)
    assert empty.verify(b"") == "0"
    assert empty.marks() == [hashlib.sha256(token.rpartition(b".")[0]).digest()]


def test_livekit_names_its_key():
    claims = {"iss": "other", "exp": NOW + 1, "sha256": b64(hashlib.sha256(BODY).digest()).decode()}
    check = check_for(PROVIDERS["livekit"], b"APIkey:" + RAW)
    assert run(check, Delivery([("Authorization", jwt(RAW, claims))])) is MISMATCH
    assert run(check, Delivery([("Authorization", jwt(RAW, claims | {"iss": "APIkey"}))])) == "0"


def test_kinde_has_the_token_for_a_body():
    check = check_for(PROVIDERS["kinde"], keys().rsa_pem)
    assert run(check, Delivery([], b"")) is Reason.SIGNATURE_MISSING
    assert run(check, Delivery([], b"{}")) is MALFORMED
    delivery = make("kinde")
    begun = check_for(PROVIDERS["kinde"], delivery.secret).begin(head_of(delivery), NOW)
    assert begun.verify(delivery.body) == "0"
    assert begun.marks() == [hashlib.sha256(delivery.body.rpartition(b".")[0]).digest()]


@pytest.mark.parametrize(
    "claims", [{}, {"type": "a"}, {"event_id": "e"}, {"type": "", "event_id": "e"}, {"type": 1, "event_id": "e"}]
)
def test_a_token_of_kinde_must_be_an_event(claims):
    """The same key signs the access tokens of every user."""
    check = check_for(PROVIDERS["kinde"], keys().rsa_pem)
    assert run(check, Delivery([], jwt(b"", {"sub": "kp_1", "aud": [], **claims}, "RS256"))) is MALFORMED


def test_the_name_of_a_token_is_its_mark():
    check = check_for(PROVIDERS["messagebird"], RAW)
    claims = {"exp": NOW + 60, "nbf": NOW, "iss": "MessageBird", "payload_hash": HEX}
    claims |= {"url_hash": hashlib.sha256(URL.encode()).hexdigest()}

    def mark(**more):
        begun = check.begin(head_of(Delivery([("MessageBird-Signature-JWT", jwt(RAW, claims | more))])), NOW)
        assert begun.verify(BODY) == "0"
        return begun.marks()

    assert mark(jti="a") == mark(jti="a", nbf=NOW - 1) != mark(jti="b")
    assert mark(nbf=NOW - 1) != mark()


def test_monday_names_its_endpoint():
    """Without a public_url, path and query of what the token is for are compared with those of the request."""
    check = replace(check_for(PROVIDERS["monday"], RAW), public_url=None)
    for audience, expected in (
        (URL, "0"),
        ("http://other.example/in/here?x=1&a=b%20c", "0"),
        ("https://hooks.example.com/in/here", MISMATCH),
        ("https://hooks.example.com/other?x=1&a=b%20c", MISMATCH),
        ("/in/here?x=1&a=b%20c", "0"),
        ("", MISMATCH),
        (None, MISMATCH),
    ):
        token = jwt(RAW, {"exp": NOW + 60, "aud": audience})
        assert run(check, Delivery([("Authorization", token)])) == expected


def test_a_token_for_a_body_is_judged_by_its_head_and_the_clock():
    provider = PROVIDERS["kinde"]
    scheme = replace(provider.scheme, claims=replace(provider.scheme.claims, url="url_hash"))
    check = check_for(replace(provider, scheme=scheme), keys().rsa_pem)
    dated = replace(check, secrets=tuple(replace(secret, not_after=NOW + 5) for secret in check.secrets))
    times = {"exp": NOW, "url_hash": hashlib.sha256(URL.encode()).hexdigest(), "type": "a", "event_id": "e"}
    delivery = Delivery([], jwt(b"", times, "RS256"))
    assert run(dated, delivery, NOW) == "0"
    assert run(dated, delivery, NOW + 5) is MISMATCH
    assert run(check, delivery, NOW + 5) == "0"
    assert run(check, delivery, NOW + 6) is Reason.TIMESTAMP_TOO_OLD
    assert run(check, replace(delivery, target=b"/elsewhere"), NOW) is MISMATCH


def test_an_id_of_a_key_that_is_no_text_is_nobody():
    claims = {"exp": NOW + 1, "sha256": b64(hashlib.sha256(BODY).digest()).decode()}
    check = check_for(PROVIDERS["livekit"], b"\xff:" + RAW)
    for issuer in ({}, {"iss": "\xff"}, {"iss": "x"}):
        assert run(check, Delivery([("Authorization", jwt(RAW, claims | issuer))])) is MISMATCH


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b".",
        b"..",
        b"a.b",
        b"e30.e30",
        b"e30.e30.AA",
        b64url(b'{"alg":1}') + b".e30.AA",
        b"e30=.e30.AA",
        b"e30.e30.AA.AA",
        b"W10.e30.AA",
    ],
)
def test_what_is_no_token(text):
    assert open_token(text) is None


def test_a_key_given_twice_is_no_claim():
    text = b64url(b'{"alg":"HS256"}') + b"." + b64url(b'{"a":1,"a":2}') + b".AA"
    assert open_token(text) is None


@given(st.binary(max_size=60))
def test_opening_never_raises(text):
    assert open_token(text) is None or open_token(text).algorithm
