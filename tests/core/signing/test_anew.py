"""Deliveries of a day ago, signed again: the route admits them, of every provider whose side can be played."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from proxy.core.request_head import HeadLimits, read_request_head
from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.secrets import Secret
from proxy.core.signatures import SignatureCheck
from proxy.core.signing.anew import sign_anew
from proxy.core.signing.extras import needs_public_keys
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
