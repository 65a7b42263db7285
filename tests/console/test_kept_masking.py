"""What leaves the console has no credential in it, wherever it stood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.kept import Masking, Maskings, masked
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from tests import policies
from tests.console.kept import SECRET, head_of, post, signed_route, token_route

WORD = b"a-token-of-some-length"
LONG = b"0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (WORD, b"/in/{token}"),
        (WORD + b"/below", b"/in/{token}/below"),
        (WORD[:-1] + b"/below", b"/in/{token}"),
        (b"x/" + WORD, b"/in/{token}"),
        (b"", b"/in/"),
    ],
)
def test_a_token_in_the_path(path: bytes, shown: bytes) -> None:
    hides = policies.route(path=b"/in/", token=TokenCheck(TokenKind.PATH, b"/in/", (Secret("s1", WORD),)))
    assert Masking(hides).target(b"/in/" + path + b"?x=1") == shown + b"?x=1"
    assert Masking(hides).target(b"/elsewhere/" + LONG) == b"/elsewhere/" + LONG


@pytest.mark.parametrize(
    "name",
    [
        *(b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key", b"x-apikey"),
        *(b"x-gitlab-token", b"x-hub-signature", b"x-hub-signature-256", b"x-secret", b"x-amz-security-token"),
        *(b"x-auth", b"stripe-signature", b"x-csrf-token", b"x-session-id", b"x-password", b"signature"),
    ],
)
def test_fields_of_such_names_are_masked(name: bytes) -> None:
    assert LONG not in Masking(None).field(name, LONG)


@pytest.mark.parametrize("name", [b"user-agent", b"content-type", b"x-github-event", b"content-length", b"accept"])
def test_other_fields_stay(name: bytes) -> None:
    assert Masking(None).field(name, b"application/json") == b"application/json"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"sha256=" + LONG, b"sha256=[masked, 64 bytes]"),
        (b"Bearer " + LONG, b"Bearer [masked, 64 bytes]"),
        (b"c2VjcmV0=", b"[masked, 9 bytes]"),
        (b"abc def", b"[masked, 7 bytes]"),
        (b"", b""),
    ],
)
def test_a_word_before_the_proof_stays(value: bytes, shown: bytes) -> None:
    assert masked(value) == shown


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/hook?token=abcdefgh&x=1", b"/hook?token=[masked, 8 bytes]&x=1"),
        (b"/hook?%74oken=abcdefgh", b"/hook?%74oken=[masked, 8 bytes]"),
        (b"/hook?code=1&state=2", b"/hook?code=[masked, 1 bytes]&state=2"),
        (b"/hook?mine=abc", b"/hook?mine=[masked, 3 bytes]"),
        (b"/hook?a", b"/hook?a"),
        (b"/hook", b"/hook"),
    ],
)
def test_parameters_of_the_query(target: bytes, shown: bytes) -> None:
    assert Masking(token_route(TokenKind.QUERY, b"mine")).target(target) == shown


def test_the_routes_own_fields_and_secrets() -> None:
    masking = Masking(token_route(TokenKind.HEADER, b"x-odd"))
    assert masking.field(b"x-odd", b"anything") == b"[masked, 8 bytes]"
    for text in (b"/hook?next=" + SECRET, SECRET, b"a" + SECRET + b"b" + SECRET):
        assert SECRET not in masking.target(text)
        assert SECRET not in masking.body(text)
        assert SECRET not in masking.field(b"x-any", text)


@pytest.mark.parametrize("cut", [0, 5])
@pytest.mark.parametrize(
    ("slug", "body"),
    [("mailgun", b'{"signature": {"timestamp": "1", "token": "t", "signature" : "%b"}, "rest": 1}' % LONG)],
)
def test_a_signature_in_the_body(slug: str, body: bytes, cut: int) -> None:
    shown = Masking(signed_route(slug)).body(body[: len(body) - cut - 12])
    assert LONG not in shown
    assert b'"timestamp": "1"' in shown


def test_one_for_each_route() -> None:
    known, one, other = Maskings(), signed_route(), token_route(TokenKind.HEADER, b"x-odd")
    assert known.of(one) is known.of(one)
    assert known.of(one) is not known.of(other)
    assert known.of(None).body(SECRET) == SECRET


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_secret_is_left(before: bytes, after: bytes) -> None:
    masking = Masking(signed_route())
    text = before + SECRET + after
    for shown in (masking.body(text), masking.target(text), masking.text(text), masking.field(b"x-a", text)):
        assert SECRET not in shown


@given(st.binary(max_size=200))
def test_what_has_nothing_to_mask_stays_as_it_came(body: bytes) -> None:
    assert Masking(signed_route()).body(body) == body or SECRET in body


def test_every_field_of_a_head() -> None:
    head = head_of(post(b"/", {b"X-Hub-Signature-256": b"sha256=" + LONG, b"X-A": b"1"})[0])
    shown = dict(Masking(signed_route()).fields(head.fields))
    assert shown[b"X-Hub-Signature-256"] == b"sha256=[masked, 64 bytes]"
    assert shown[b"X-A"] == b"1"
