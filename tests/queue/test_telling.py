"""What order and coalescing go by."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.payload import Payload, Pointer, read_payload
from proxy.core.request_head import read_request_head
from proxy.queue.telling import ANY, order_of, same_of, value_at
from tests.policies import HEAD_LIMITS

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
