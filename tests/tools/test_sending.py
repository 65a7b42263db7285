"""Deliveries of ``send``: every provider that signs with a secret is played, and what is spoilt is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.request_head import read_request_head
from proxy.core.schemes import PROVIDERS, Provider, decode_secret
from proxy.core.signing.proof import SignatureCheck, TokenCheck, needs_public_keys
from proxy.core.signing.scheme import Secret
from proxy.reasons import Reason
from proxy.tools.providers import make_secret
from proxy.tools.samples import choose
from proxy.tools.send import HOUR_S, TAMPERS, tampered
from proxy.tools.sending import Delivery, Order, compose
from tests.deliveries import NOW
from tests.policies import HEAD_LIMITS

PUBLIC = {slug for slug, p in PROVIDERS.items() if p.scheme is not None and needs_public_keys(p.scheme)}
PLAYED = [slug for slug in PROVIDERS if slug not in PUBLIC]
URL = "https://hooks.example.com/in?x=1"


def shown_secret(provider: Provider) -> str:
    if provider.scheme is not None and provider.scheme.two_part:
        return "first:second part"
    return make_secret(provider)


def order(slug: str, **changed: object) -> Order:
    provider = PROVIDERS[slug]
    secret = decode_secret(provider, shown_secret(provider).encode())
    return replace(Order(provider, secret, URL, choose(provider, None), NOW), **changed)


def judge(made: Order, delivery: Delivery) -> str | Reason:
    """What a route with the right secret says of it."""
    secret = Secret("s", made.secret)
    wire = delivery.wire()
    parsed = read_request_head(wire, HEAD_LIMITS)
    assert parsed is not None
    head, consumed = parsed
    assert head.content_length == len(wire) - consumed
    token, scheme = made.provider.token, made.provider.scheme
    if scheme is None:
        assert token is not None
        return TokenCheck(token.kind, token.name, (secret,)).check(head, NOW)
    begun = SignatureCheck(scheme, (secret,), None, made.public_url or "https://hooks.example.com").begin(head, NOW)
    return begun if isinstance(begun, Reason) else begun.verify(wire[consumed:])


@pytest.mark.parametrize("slug", PLAYED)
def test_every_provider_with_a_secret_is_played(slug: str):
    made = order(slug)
    delivery = compose(made)
    assert judge(made, delivery) == "s"
    assert made.secret.decode("latin-1") not in repr(delivery) + repr(made)


@pytest.mark.parametrize("slug", sorted(PUBLIC))
def test_a_private_key_is_the_provider_s_alone(slug: str):
    sample = choose(PROVIDERS[slug], None)
    with pytest.raises(ValueError, match="private key"):
        compose(Order(PROVIDERS[slug], b"id:k", URL, sample, NOW))


def test_it_looks_like_the_provider_s():
    delivery = compose(order("github"))
    fields = dict(delivery.fields)
    assert fields["X-GitHub-Event"] == b"push"
    assert fields["User-Agent"].startswith(b"GitHub-Hookshot/")
    assert len(fields["X-GitHub-Delivery"]) == 36
    assert dict(compose(order("gitlab")).fields)["X-Gitlab-Event"] == b"Push Hook"


def test_own_fields_replace_and_are_signed():
    made = order("sinch", extra=(("Content-Type", "text/x"), ("X-Mine", "1")), body=b"own")
    delivery = compose(made)
    assert delivery.body == b"own"
    assert [value for name, value in delivery.fields if name.lower() == "content-type"] == [b"text/x"]
    assert judge(made, delivery) == "s"


def test_another_url_is_signed_than_is_called():
    made = order("square", url="http://127.0.0.1:1/in?x=1", public_url="https://hooks.example.com")
    assert judge(made, compose(made)) == "s"


def test_parameters_and_headers_that_are_signed_are_added():
    delivery = compose(order("mercado_pago"))
    assert "data.id=" in delivery.url
    assert any(name == "X-Request-Id" for name, _ in delivery.fields)


EXPECTED = {
    "body": Reason.SIGNATURE_MISMATCH,
    "reencode": Reason.SIGNATURE_MISMATCH,
    "empty": Reason.SIGNATURE_MISMATCH,
    "secret": Reason.SIGNATURE_MISMATCH,
    "newline": Reason.SIGNATURE_MISMATCH,
    "signature": Reason.SIGNATURE_MISMATCH,
    "header": Reason.SIGNATURE_MISSING,
    "twice": Reason.SIGNATURE_MALFORMED,
    "timestamp": Reason.TIMESTAMP_TOO_OLD,
    "future": Reason.TIMESTAMP_IN_FUTURE,
}


@pytest.mark.parametrize("kind", TAMPERS)
@pytest.mark.parametrize("slug", ["slack", "stripe", "standard_webhooks", "github", "square", "shopify"])
def test_what_is_spoilt_is_refused(slug: str, kind: str):
    made = order(slug)
    verdict = judge(made, tampered(made, kind))
    if kind in ("timestamp", "future") and slug in ("github", "square", "shopify"):
        assert verdict == "s", "nothing of the time is signed"
    elif slug == "stripe" and kind == "twice":
        assert verdict is Reason.SIGNATURE_MALFORMED
    else:
        assert verdict is EXPECTED[kind]
    assert HOUR_S > 300


def test_every_way_has_an_expectation():
    assert set(EXPECTED) == set(TAMPERS)


@pytest.mark.parametrize(
    ("slug", "kind", "said"),
    [
        ("mailgun", "header", "in its body"),
        ("flexdeploy", "signature", "its URL"),
        ("github", "reencode", "only a body of JSON"),
    ],
)
def test_what_cannot_be_spoilt(slug: str, kind: str, said: str):
    with pytest.raises(ValueError, match=said):
        tampered(order(slug, body=b"no json" if slug == "github" else None), kind)


def test_nothing_to_change():
    with pytest.raises(ValueError, match="no body"):
        tampered(order("github", body=b""), "body")
