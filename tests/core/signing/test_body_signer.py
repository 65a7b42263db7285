"""Bodies that carry their signature: what we sign as a provider is what our check accepts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.signer import sign_inside, signs_inside
from proxy.reasons import Reason
from tests.deliveries import NOW, Delivery, check_for, make, run

BODIES = {
    "adyen_payments": b'{"notificationItems":[{"NotificationRequestItem":{"pspReference":"1","merchantAccountCode":"m",'
    b'"amount":{"value":100,"currency":"EUR"},"eventCode":"AUTHORISATION","success":"true"}}]}',
    "braintree": b"<notification/>",
    "mailgun": b'{"event-data":{"event":"opened"}}',
    "microsoft_graph": b'{"value":[{"changeType":"created"},{"changeType":"updated"}]}',
}


def test_these_are_all_that_can_be_played():
    inside = {slug for slug, provider in PROVIDERS.items() if signs_inside(provider)}
    assert inside == {*BODIES, "sns"}


@pytest.mark.parametrize("slug", BODIES)
def test_our_check_accepts_it(slug: str):
    shown = make(slug).secret
    provider = PROVIDERS[slug]
    body = sign_inside(provider, decode_secret(provider, shown), BODIES[slug], NOW)
    assert run(check_for(provider, shown), Delivery([], body)) == "0"


@pytest.mark.parametrize("slug", BODIES)
def test_another_secret_is_a_mismatch(slug: str):
    shown = make(slug).secret
    provider = PROVIDERS[slug]
    wrong = decode_secret(provider, shown)[:-1] + b"!"
    body = sign_inside(provider, wrong, BODIES[slug], NOW)
    assert run(check_for(provider, shown), Delivery([], body)) is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    ("slug", "body", "said"),
    [
        ("sns", b"{}", "private key"),
        ("github", b"{}", "no signature into the body"),
        ("mailgun", b"[]", "JSON object"),
        ("mailgun", b"{", "JSON object"),
        ("mailgun", b'{"signature":1}', "something else"),
        ("microsoft_graph", b"{}", "nothing to sign"),
        ("adyen_payments", b'{"notificationItems":[{"NotificationRequestItem":{}}]}', "not all that is signed"),
    ],
)
def test_what_cannot_be_signed(slug: str, body: bytes, said: str):
    with pytest.raises(ValueError, match=said):
        sign_inside(PROVIDERS[slug], b"k", body, NOW)


def test_what_else_is_in_the_body_stays():
    provider = PROVIDERS["mailgun"]
    body = sign_inside(provider, b"k", '{"a":{"b":"é"},"signature":{"x":1}}'.encode(), NOW, "tok")
    tree = json.loads(body)
    assert tree["a"] == {"b": "é"}
    assert (tree["signature"]["x"], tree["signature"]["token"]) == (1, "tok")
    assert tree["signature"]["timestamp"] == str(NOW)


def test_a_scheme_of_another_shape_is_refused():
    provider = PROVIDERS["mailgun"]
    assert provider.scheme is not None
    assert not signs_inside(replace(provider, scheme=replace(provider.scheme, document=None)))
