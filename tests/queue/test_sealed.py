"""No password lies in a store that need not, and none is missing when the delivery is sent."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.policy import Route
from proxy.core.tokens import Secret, TokenCheck, TokenKind
from proxy.queue.sealed import attempt_lines, method_of, seal, unseal
from tests.net.dialogue import route

RULE = DeliveryRule(Deliver.QUEUE)
OLD, NEW = Secret("old", b"user:old-secret"), Secret("new", b"user:new-secret", not_before=100.0)
HEAD = (
    b"POST /hook?a=1 HTTP/1.1\r\nHost: h\r\nX-Token: user:old-secret\r\nAUTHORIZATION: Bearer other-secret\r\n"
    b"Cookie: session=other-secret\r\nX-Hub-Signature-256: sha256=ab\r\nContent-Length: 2\r\n\r\n"
)


def guarded(kind: TokenKind, name: bytes = b"", *, rule: DeliveryRule = RULE) -> Route:
    return replace(route(token=TokenCheck(kind, name, (NEW, OLD))), delivery=rule)


@pytest.mark.parametrize(
    ("kind", "name", "field", "value"),
    [
        (TokenKind.HEADER, b"x-token", b"X-Token", b"user:old-secret"),
        (TokenKind.BEARER, b"", b"AUTHORIZATION", b"Bearer user:old-secret"),
        (TokenKind.BASIC, b"", b"AUTHORIZATION", b"Basic " + base64.b64encode(b"user:old-secret")),
    ],
)
def test_the_token_is_taken_out_and_written_again(kind: TokenKind, name: bytes, field: bytes, value: bytes) -> None:
    where = guarded(kind, name)
    kept = seal(HEAD, where)
    assert (b"old-secret" in kept) == (kind is not TokenKind.HEADER), "a field that this route does not check"
    assert b"other-secret" not in kept
    assert field + b": \r\n" in kept
    sent = unseal(kept, where, "old", 50.0, [b"Webhook-Attempt: 1"])
    assert field + b": " + value + b"\r\n" in sent
    assert sent.endswith(b"\r\nWebhook-Attempt: 1\r\n\r\n")
    assert b"\r\nX-Hub-Signature-256: sha256=ab\r\n" in sent


def test_a_secret_that_is_gone_is_the_newest_live_one() -> None:
    where = guarded(TokenKind.HEADER, b"x-token")
    kept = seal(HEAD, where)
    assert b"X-Token: user:new-secret\r\n" in unseal(kept, where, "of another load", 200.0, [])
    assert b"X-Token: user:old-secret\r\n" in unseal(kept, where, "of another load", 50.0, [])


def test_other_credentials_are_kept_only_on_request() -> None:
    where = guarded(TokenKind.HEADER, b"x-token", rule=replace(RULE, keeps_authorization=True))
    kept = seal(HEAD, where)
    assert b"Bearer other-secret" in kept
    assert b"session=other-secret" in kept
    assert b"old-secret" not in kept
    assert b"Bearer other-secret" in unseal(kept, where, "old", 50.0, [])


def test_what_the_signature_is_read_from_stays() -> None:
    where = replace(route(), delivery=RULE)
    assert b"x-hub-signature-256" in where.signed_fields
    assert b"X-Hub-Signature-256: sha256=ab" in seal(HEAD, where)


def test_the_application_is_told_which_attempt_it_is() -> None:
    assert attempt_lines(3, 1_700_000_000.25) == [
        b"Webhook-Attempt: 3",
        b"Webhook-Accepted-At: 2023-11-14T22:13:20.250Z",
    ]
    assert method_of(HEAD) == b"POST"
