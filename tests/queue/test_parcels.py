"""What a delivery is told by; and no password lies in a store that need not, and none is missing when it is sent."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.payload import Payload, Pointer, read_payload
from proxy.core.policy import Route
from proxy.core.request_head import read_request_head
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.queue.parcels import ANY, attempt_lines, method_of, order_of, same_of, seal, unseal, value_at
from tests.net.dialogue import route
from tests.policies import HEAD_LIMITS

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


STRICT = DeliveryRule(Deliver.QUEUE, strict=True)
PUSHES = DeliveryRule(Deliver.QUEUE, coalesce=Pointer.parse("ref"))
MAIN = {"ref": "refs/heads/main", "repository": {"full_name": "a/b", "id": 7}}
PUSH = {"event": "push", "path": "/hook"}


def head(extra: bytes = b""):
    parsed = read_request_head(
        b"POST /hook HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + extra + b"\r\n", HEAD_LIMITS
    )
    assert parsed is not None
    return parsed[0]


def read(content: bytes, extra: bytes = b"") -> Payload | None:
    root = read_payload(head(extra), content)
    return None if root is None else Payload(root)


def body(**changed: object) -> bytes:
    return json.dumps(MAIN | changed).encode()


def strict(place: str) -> DeliveryRule:
    return DeliveryRule(Deliver.QUEUE, strict=True, order_by=Pointer.parse(place))


def test_an_order_of_all() -> None:
    assert order_of(DeliveryRule(Deliver.QUEUE), head(), read(body())) == ""
    assert order_of(STRICT, head(), None) == ANY


def test_an_order_for_each_value() -> None:
    by_header = strict("X-Repo")
    first = order_of(by_header, head(b"X-Repo: a\r\n"), None)
    assert first == order_of(by_header, head(b"X-Repo: a\r\n"), read(body()))
    assert first != order_of(by_header, head(b"X-Repo: b\r\n"), None)
    by_path = strict("repository.full_name")
    other = read(body(repository={"full_name": "c/d"}))
    assert order_of(by_path, head(), read(body())) != order_of(by_path, head(), other)
    assert order_of(by_path, head(), None) == ANY


@pytest.mark.parametrize(
    ("event", "path", "content"),
    [
        ("push", "/hook", body(ref="refs/heads/dev")),
        ("push", "/hook", body(repository={"full_name": "c/d", "id": 8})),
        ("ping", "/hook", body()),
        ("push", "/other", body()),
    ],
)
def test_what_is_not_the_same(event: str, path: str, content: bytes) -> None:
    first = same_of(PUSHES, PUSH, read(body()))
    assert first
    assert same_of(PUSHES, {"event": event, "path": path}, read(content)) != first


def test_what_is_the_same() -> None:
    assert same_of(PUSHES, PUSH, read(body(after="1"))) == same_of(PUSHES, PUSH, read(body(after="2")))


def test_a_form_with_a_document_is_read_as_where_reads_it() -> None:
    """GitHub sends one, where the webhook is set up so."""
    form = b"payload=" + body().replace(b" ", b"+")
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
    assert same_of(PUSHES, PUSH, read(form, kind)) == same_of(PUSHES, PUSH, read(body())) != ""


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b'{"ref": null}', b'{"ref": {}}', b"[" * 100_000, b"\xff", b"[%b0]" % (b"[]," * 30_000)),
        *(b'{"ref": "a", "ref": "b"}', b'{"ref": "a", "Ref": "b"}'),
    ],
)
def test_what_has_no_value_counts_in_any_case(content: bytes) -> None:
    assert same_of(PUSHES, {}, read(content)) == ""


@given(st.binary(max_size=200), st.lists(st.text("abX-_", min_size=1), min_size=1, max_size=4))
def test_whatever_comes_a_word_comes_of_it(content: bytes, steps: list[str]) -> None:
    place = Pointer.parse(".".join(steps))
    rule = DeliveryRule(Deliver.QUEUE, strict=True, order_by=place, coalesce=place)
    assert isinstance(order_of(rule, head(), read(content)), str)
    assert isinstance(same_of(rule, {}, read(content)), str)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("ref", "refs/heads/main"), ("repository.id", "7"), ("repository", None), ("repository.x", None)),
        *(("ref.x", None), ("both[]", None), ("one[]", "true"), ("absent", None)),
    ],
)
def test_values(place: str, value: str | None) -> None:
    document = Payload(MAIN | {"both": ["a", "b"], "one": [True]})
    assert value_at(document, Pointer.parse(place)) == value
