"""What waited for a day is fresh again: official libraries of the providers say so."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import replace

import pytest

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.policy import Route
from proxy.core.request_head import read_request_head
from proxy.core.schemes import find
from proxy.core.signing.proof import SignatureCheck
from proxy.core.signing.scheme import Secret
from proxy.core.signing.signer import sign
from proxy.queue.attempt import sign_again
from tests.net.dialogue import route
from tests.policies import HEAD_LIMITS

NOW = float(int(time.time()))
DAY_S = 86400.0
BODY = b'{"type":"event_callback"}'
SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"
RULE = DeliveryRule(Deliver.QUEUE, resign=True)


def guarded(slug: str) -> Route:
    provider = find(slug)
    assert provider is not None
    assert provider.scheme is not None
    check = SignatureCheck(provider.scheme, (Secret("new", SECRET), Secret("old", b"another-secret-of-before")))
    return replace(route(), provider=slug, signature=check, delivery=RULE, delivery_header=provider.delivery_header)


def kept(slug: str, secret: bytes = SECRET) -> bytes:
    """A head as it is kept, signed a day ago."""
    provider = find(slug)
    assert provider is not None
    proof = sign(provider, secret, url="https://h/hook", body=BODY, now=NOW - DAY_S, message_id=b"msg_7")
    lines = [b"%b: %b" % (name.title(), value) for name, value in proof]
    head = [b"POST /hook HTTP/1.1", b"Host: h", *lines, b"Webhook-Verified: %b; secret=old" % slug.encode()]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(BODY), b"\r\n"])


def fields_of(head: bytes) -> dict[str, str]:
    parsed = read_request_head(head, HEAD_LIMITS)
    assert parsed is not None
    return {name.decode(): value.decode() for name, value in parsed[0].values.items()}


def test_slack_takes_it_a_day_later() -> None:
    verifier = pytest.importorskip("slack_sdk.signature").SignatureVerifier(SECRET.decode())
    late = kept("slack")
    assert not verifier.is_valid_request(BODY, fields_of(late)), "as it came it is too old"
    head, body = sign_again(late, guarded("slack"), BODY, time.time())
    assert verifier.is_valid_request(body, fields_of(head))
    assert fields_of(head)["webhook-verified"] == "slack; secret=old; resigned"


def test_standard_webhooks_takes_it_a_day_later() -> None:
    library = pytest.importorskip("standardwebhooks.webhooks")
    verifier = library.Webhook(f"whsec_{b64encode(SECRET).decode()}")
    late = kept("standard_webhooks")
    with pytest.raises(library.WebhookVerificationError):
        verifier.verify(BODY, fields_of(late))
    head, body = sign_again(late, guarded("standard_webhooks"), BODY, time.time())
    assert verifier.verify(body, fields_of(head)) == {"type": "event_callback"}
    assert fields_of(head)["webhook-id"] == "msg_7", "its id is the one it came with"


@pytest.mark.parametrize("slug", ["slack", "stripe", "standard_webhooks", "github", "shopify"])
def test_our_own_check_takes_it_with_the_newest_secret(slug: str) -> None:
    where = guarded(slug)
    assert where.signature is not None
    head, body = sign_again(kept(slug, b"another-secret-of-before"), where, BODY, NOW)
    parsed = read_request_head(head, HEAD_LIMITS)
    assert parsed is not None
    check = where.signature.begin(parsed[0], NOW)
    assert check is not None
    assert check.verify(body) == "new"


def test_what_cannot_be_signed_goes_as_it_came() -> None:
    late = kept("slack")
    assert sign_again(late, replace(route(), signature=None, token=None), BODY, NOW) == (late, BODY)


def test_a_secret_that_is_over_signs_nothing() -> None:
    where = guarded("slack")
    assert where.signature is not None
    over = replace(where.signature, secrets=(Secret("over", SECRET, not_after=NOW - 1),))
    late = kept("slack")
    assert sign_again(late, replace(where, signature=over), BODY, NOW) == (late, BODY)
