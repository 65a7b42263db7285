"""Deliveries of a day ago, signed again: the route admits them, of every provider whose side can be played."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from proxy.core.request_head import HeadLimits, read_request_head
from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind, needs_public_keys
from proxy.core.signing.scheme import Secret
from proxy.core.signing.signer import sign_anew
from proxy.http1 import RequestHead, write_request_head
from proxy.reasons import Reason
from tests.deliveries import NOW, ORIGIN, TOPICS, make
from tests.policies import route

DAY = 86400.0


def signable(slug: str) -> bool:
    scheme = PROVIDERS[slug].scheme
    return scheme is not None and not needs_public_keys(scheme)


@pytest.mark.parametrize("slug", sorted(filter(signable, PROVIDERS)))
def test_a_day_later_it_is_admitted_again(slug: str) -> None:
    made = make(slug)
    provider = PROVIDERS[slug]
    assert provider.scheme is not None
    secret = Secret("key-1", decode_secret(provider, made.secret))
    check = SignatureCheck(provider.scheme, (secret,), public_url=ORIGIN, topics=TOPICS)
    fields = [(name.encode(), value) for name, value in made.fields]
    now = NOW + DAY
    try:
        signed = sign_anew(
            route(name="a", provider=slug, signature=check),
            method=made.method,
            target=made.target,
            fields=fields,
            body=made.body,
            now=now,
        )
    except ValueError as error:
        pytest.skip(str(error))
    assert signed.secret == "key-1"
    begun = check.begin(head_of(made.method, signed.target, signed.fields), now)
    assert not isinstance(begun, Reason), begun
    assert begun.verify(signed.body) == "key-1"


def head_of(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    given = [pair for pair in fields if pair[0].lower() != b"host"]
    data = write_request_head(method, target, [(b"Host", b"hooks.example.com"), *given])
    parsed = read_request_head(data, HeadLimits(65536, 8192, 100))
    assert parsed is not None
    return parsed[0]


def test_all_but_the_proof_stays_as_it_came() -> None:
    scheme = PROVIDERS["github"].scheme
    assert scheme is not None
    old = [(b"X-Hub-Signature-256", b"sha256=00"), (b"x-hub-signature-256", b"sha256=01")]
    fields = [(b"accept", b"a"), old[0], (b"accept", b"b"), (b"X-Twice", b"1"), old[1], (b"X-Twice", b"1")]
    guard = route(provider="github", signature=SignatureCheck(scheme, (Secret("key", b"x" * 20),)))
    signed = sign_anew(guard, method=b"POST", target=b"/hook?a=1&&b", fields=fields, body=b"{}", now=NOW)
    assert [pair for pair in signed.fields if pair[0] != b"X-Hub-Signature-256"] == [
        pair for pair in fields if pair not in old
    ]
    [(at, proof)] = [one for one in enumerate(signed.fields) if one[1][0].lower() == b"x-hub-signature-256"]
    assert (at, proof in old) == (1, False)
    assert (signed.target, signed.body) == (b"/hook?a=1&&b", b"{}")


QUERY = TokenCheck(TokenKind.QUERY, b"token", (Secret("key", b"a/new one"),))
PATH = TokenCheck(TokenKind.PATH, b"/in/", (Secret("key", b"new"),))


@pytest.mark.parametrize(
    ("check", "target", "made"),
    [
        (QUERY, b"/hook", b"/hook?token=a%2Fnew%20one"),
        (QUERY, b"/hook?token=old", b"/hook?token=a%2Fnew%20one"),
        (QUERY, b"/hook?a=1&&%74oken=old&b", b"/hook?a=1&&b&token=a%2Fnew%20one"),
        (PATH, b"/in/old", b"/in/new"),
        (PATH, b"/in/", b"/in/new"),
        (PATH, b"/in/old/a/b?c=/in/old", b"/in/new/a/b?c=/in/old"),
    ],
)
def test_a_token_of_the_target_is_the_one_that_is_live(check: TokenCheck, target: bytes, made: bytes) -> None:
    guard = route(path=b"/in/" if check is PATH else b"/hook", token=check)
    signed = sign_anew(guard, method=b"POST", target=target, fields=[(b"a", b"b")], body=b"{}", now=NOW)
    assert (signed.target, signed.fields, signed.body, signed.secret) == (made, ((b"a", b"b"),), b"{}", "key")


def test_a_path_of_another_route_gets_no_token() -> None:
    with pytest.raises(ValueError, match="not one of this route's"):
        sign_anew(route(path=b"/in/", token=PATH), method=b"POST", target=b"/inn/a", fields=[], body=b"", now=NOW)


def test_what_has_no_live_secret_is_not_signed() -> None:
    provider = PROVIDERS["github"]
    assert provider.scheme is not None
    old = Secret("old", b"x" * 20, not_after=1.0)
    with pytest.raises(ValueError, match="no secret that is live"):
        sign_anew(
            route(name="a", provider="github", signature=SignatureCheck(provider.scheme, (old,))),
            method=b"POST",
            target=b"/",
            fields=[],
            body=b"",
            now=2.0,
        )


def test_what_proves_nothing_is_not_signed() -> None:
    with pytest.raises(ValueError, match="neither a signature nor a token"):
        sign_anew(route(name="a"), method=b"POST", target=b"/", fields=[], body=b"", now=2.0)
