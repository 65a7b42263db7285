"""What order and coalescing go by."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.delivery import Deliver, DeliveryRule
from proxy.core.request_head import read_request_head
from proxy.queue.telling import ANY, order_of, same_of, value_at
from tests.policies import HEAD_LIMITS

STRICT = DeliveryRule(Deliver.QUEUE, strict=True)
PUSHES = DeliveryRule(Deliver.QUEUE, coalesce="ref")
MAIN = {"ref": "refs/heads/main", "repository": {"full_name": "a/b", "id": 7}}


def head(extra: bytes = b""):
    parsed = read_request_head(
        b"POST /hook HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + extra + b"\r\n", HEAD_LIMITS
    )
    assert parsed is not None
    return parsed[0]


def body(**changed: object) -> bytes:
    return json.dumps(MAIN | changed).encode()


def test_an_order_of_all() -> None:
    assert order_of(DeliveryRule(Deliver.QUEUE), head(), body()) == ""
    assert order_of(STRICT, head(), None) == ANY


def test_an_order_for_each_value() -> None:
    by_header = DeliveryRule(Deliver.QUEUE, strict=True, order_by="X-Repo")
    assert order_of(by_header, head(b"X-Repo: a\r\n"), None) == order_of(by_header, head(b"X-Repo: a\r\n"), body())
    assert order_of(by_header, head(b"X-Repo: a\r\n"), None) != order_of(by_header, head(b"X-Repo: b\r\n"), None)
    by_path = DeliveryRule(Deliver.QUEUE, strict=True, order_by="repository.full_name")
    other = body(repository={"full_name": "c/d"})
    assert order_of(by_path, head(), body()) != order_of(by_path, head(), other)
    assert order_of(by_path, head(), b"no json") == ANY


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
    first = same_of(PUSHES, {"event": "push", "path": "/hook"}, body())
    assert first
    assert same_of(PUSHES, {"event": event, "path": path}, content) != first


def test_what_is_the_same() -> None:
    facts = {"event": "push", "path": "/hook"}
    assert same_of(PUSHES, facts, body(after="1")) == same_of(PUSHES, facts, body(after="2"))


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"ref": null}', b'{"ref": {}}', b"[" * 100_000, b"\xff"])
def test_what_has_no_value_counts_in_any_case(content: bytes | None) -> None:
    assert same_of(PUSHES, {}, content) == ""


@given(st.binary(max_size=200), st.text(max_size=20))
def test_whatever_comes_a_word_comes_of_it(content: bytes, path: str) -> None:
    rule = DeliveryRule(Deliver.QUEUE, strict=True, order_by=path or "x", coalesce=path or "x")
    assert isinstance(order_of(rule, head(), content), str)
    assert isinstance(same_of(rule, {}, content), str)


@pytest.mark.parametrize(
    ("path", "value"),
    [("ref", "refs/heads/main"), ("repository.id", "7"), ("repository", None), ("repository.x", None), ("ref.x", None)],
)
def test_values(path: str, value: str | None) -> None:
    assert value_at(MAIN, path) == value
