"""What is to be sent of a kept delivery: as it came, edited around its masks, or signed again."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.kept import KeptExchange, Masking
from proxy.console.replay import ReplayOrder, difference, outcome, read_order, route_of
from proxy.core.signing.proof import TokenKind
from proxy.core.signing.signer import sign_anew
from proxy.errors import Mistake
from tests.console.kept import NOW, SECRET, keep, post, signed_route, token_route
from tests.policies import policy

ROUTE = signed_route()
MASKING = Masking(ROUTE)
BODY = b'{"n":1}'
PROOF = b"sha256=" + hmac.new(SECRET, BODY, hashlib.sha256).hexdigest().encode()


def kept(body: bytes = BODY, **more: Any) -> KeptExchange:
    fields = {b"X-Hub-Signature-256": PROOF, b"X-GitHub-Event": b"push", b"Connection": b"close"}
    return keep(*post(b"/hook?token=abcdefgh", fields, body), route=ROUTE, **more)


def read(how: dict[str, Any], one: KeptExchange | None = None) -> ReplayOrder:
    return read_order(how, one or kept(), MASKING, policy(ROUTE), NOW)


def test_as_it_came() -> None:
    order = read({})
    assert (order.method, order.target, order.body) == (b"POST", b"/hook?token=abcdefgh", BODY)
    assert dict(order.fields)[b"X-Hub-Signature-256"] == PROOF
    assert b"Connection" not in dict(order.fields)
    assert order.wire().endswith(b"Content-Length: 7\r\n\r\n" + BODY)
    assert difference(order, kept(), MASKING) == ""


def test_signed_again_as_of_now() -> None:
    order = read({"sign": "now", "edit": {"body": '{"n":2}'}})
    fresh = b"sha256=" + hmac.new(SECRET, b'{"n":2}', hashlib.sha256).hexdigest().encode()
    assert dict(order.fields)[b"X-Hub-Signature-256"] == fresh
    assert order.signed_with == "key-1"
    shown = difference(order, kept(), MASKING)
    assert '-{"n":1}' in shown
    assert fresh.decode()[10:] not in shown
    assert "signed again with key-1, edited" in outcome(order, {"status": 200, "reason": "delivered"})


def test_what_is_masked_stands_for_what_came() -> None:
    shown = [[name.decode(), value.decode()] for name, value in MASKING.fields(kept().head.fields)]
    order = read({"edit": {"target": "/hook?token=[masked, 8 bytes]", "fields": [*shown, ["X-New", "1"]]}})
    assert order.target == b"/hook?token=abcdefgh"
    assert dict(order.fields)[b"X-Hub-Signature-256"] == PROOF
    assert dict(order.fields)[b"X-New"] == b"1"


@pytest.mark.parametrize("sign", ["received", "now"])
def test_what_is_not_here_whole_is_not_sent(sign: str) -> None:
    with pytest.raises(Mistake, match="not all"):
        read({"sign": sign}, kept(b"x" * 100, room=10))
    with pytest.raises(Mistake, match="not all"):
        read({"sign": sign}, keep(None, b"no head"))


def test_what_no_route_took_cannot_be_signed() -> None:
    one = keep(*post())
    with pytest.raises(Mistake, match="no route"):
        read({"sign": "now"}, one)
    with pytest.raises(Mistake, match="no route"):
        route_of(one, policy(ROUTE))
    assert read({}, one).through_checks


@pytest.mark.parametrize(
    ("kind", "name", "target", "field"),
    [
        (TokenKind.HEADER, b"x-token", b"/hook", (b"x-token", SECRET)),
        (TokenKind.BEARER, b"", b"/hook", (b"authorization", b"Bearer " + SECRET)),
        (TokenKind.QUERY, b"token", b"/hook?token=a%20secret%20of%20some%20length", None),
    ],
)
def test_tokens_are_put_in_their_places(kind: TokenKind, name: bytes, target: bytes, field: Any) -> None:
    found = sign_anew(
        token_route(kind, name), method=b"POST", target=b"/hook", fields=[(b"X-A", b"1")], body=b"", now=NOW
    )
    assert found.target == target
    assert found.fields == ((b"X-A", b"1"), *([field] if field else []))


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["now", "[masked, 3 bytes]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["sign", "to", "duplicates", "edit", "dry_run"])
EDITS = st.dictionaries(st.sampled_from(["method", "target", "fields", "body", "encoding"]), JSONISH)


@given(st.dictionaries(WORDS, JSONISH | EDITS, max_size=5))
def test_any_order_is_read_or_its_mistake_is_said(how: dict[str, Any]) -> None:
    with suppress(Mistake):
        order = read(how)
        assert isinstance(order.body, bytes)
        assert all(b"\n" not in value and b"\r" not in value for _, value in order.fields)
