"""What we sign as a provider is what our check accepts, and what the provider would have sent."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.signer import sign
from tests.deliveries import (
    BODY,
    BODY_ONLY,
    FORM,
    IN_LIST,
    NOW,
    OWN_HEADER,
    RAW,
    STANDARD,
    URL,
    Delivery,
    check_for,
    make,
    run,
)

NOT_OURS = {
    slug
    for slug, provider in PROVIDERS.items()
    if provider.scheme is not None
    and (
        provider.scheme.method.value in ("ed25519", "ecdsa", "rsa")
        or provider.scheme.secret.value == "public_key"
        or (provider.scheme.document is not None and provider.scheme.document.signature is not None)
    )
}
OURS = [slug for slug, provider in PROVIDERS.items() if provider.scheme is not None and slug not in NOT_OURS]
FORMS = {"twilio", "twilio_sha256", "mailchimp", "plivo"}


def signed(slug, secret, **more):
    provider = PROVIDERS[slug]
    body = urlencode(FORM).encode() if slug in FORMS else BODY
    given = [(b"X-Request-Id", b"req-9")]
    fields = sign(provider, decode_secret(provider, secret), url=URL, body=body, now=NOW, headers=given, **more)
    return body, fields, given


@pytest.mark.parametrize("slug", OURS)
def test_our_check_accepts_it(slug):
    genuine = make(slug)
    url_target = {"mercado_pago": b"/in?data.id=123abc"}.get(slug)
    provider = PROVIDERS[slug]
    url = URL if url_target is None else "https://hooks.example.com" + url_target.decode()
    body = urlencode(FORM).encode() if slug in FORMS else BODY
    given = [(b"X-Request-Id", b"req-9")]
    key = decode_secret(provider, genuine.secret)
    fields = sign(provider, key, url=url, body=body, now=NOW, message_id=b"msg_7", headers=given)
    delivery = Delivery([(name.decode(), value) for name, value in [*fields, *given]], body)
    if url_target is not None:
        delivery.target = url_target
    assert run(check_for(provider, genuine.secret), delivery) == "0"


@pytest.mark.parametrize("slug", [*BODY_ONLY, *IN_LIST, *OWN_HEADER, *STANDARD])
def test_it_is_what_the_provider_sends(slug):
    if slug in ("airwallex", "klaviyo", "mongodb", "recurly", "stripe", "workos", "worldpay"):
        return  # they write the same in more than one way
    genuine = make(slug)
    _, fields, _ = signed(slug, genuine.secret)
    assert fields == [(name.lower().encode(), value) for name, value in genuine.fields]


@pytest.mark.parametrize("slug", sorted(NOT_OURS))
def test_what_only_the_provider_can_sign(slug):
    with pytest.raises(ValueError, match=r"private key|into the body"):
        sign(PROVIDERS[slug], RAW, url=URL, body=BODY, now=NOW)


def test_tokens():
    assert sign(PROVIDERS["gitlab"], RAW, url=URL, body=BODY, now=NOW) == [(b"x-gitlab-token", RAW)]
    basic = sign(PROVIDERS["postmark"], b"user:word", url=URL, body=BODY, now=NOW)
    assert basic == [(b"authorization", b"Basic dXNlcjp3b3Jk")]
    with pytest.raises(ValueError, match="into the URL"):
        sign(PROVIDERS["flexdeploy"], RAW, url=URL, body=BODY, now=NOW)


def test_what_the_delivery_lacks():
    with pytest.raises(ValueError, match="not all that is signed"):
        sign(PROVIDERS["mercado_pago"], RAW, url="https://a.example/", body=BODY, now=NOW)
