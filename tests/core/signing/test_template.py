"""Templates: what compiles, and that no border can be moved."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing.scheme import Scheme, Timestamp
from proxy.core.signing.template import Context, Slot, compile_template, single_param, split_at_body
from proxy.reasons import Reason
from tests.deliveries import Delivery, head_of


def render(text, scheme=None, fields=(), **more):
    head = head_of(Delivery(list(fields)))
    return Context(head, scheme or Scheme((b"x",)), **more).render(compile_template(text))


def test_the_parts_in_order():
    parts = compile_template("v0:{timestamp}:{body}{{}}")
    assert parts == (b"v0:", Slot("timestamp", "", b":"), b":", Slot("body", "", b"{"), b"{}")
    assert split_at_body(parts) == (parts[:3], parts[4:])
    assert compile_template("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "character 1"),
        ("a}b", "character 2"),
        ("{tiemstamp}", "not known"),
        ("{header}", "needs a name"),
        ("{body:x}", "not known"),
        ("{timestamp:x}", "not known"),
    ],
)
def test_what_is_no_template(text, message):
    with pytest.raises(ValueError, match=message):
        compile_template(text)


def test_a_body_passes_once():
    with pytest.raises(ValueError, match="twice"):
        split_at_body(compile_template("{body}.{body}"))


@given(st.text(max_size=30))
def test_compiling_raises_nothing_else(text):
    with contextlib.suppress(ValueError):
        assert isinstance(compile_template(text), tuple)


def test_every_slot_of_a_head():
    scheme = Scheme((b"x",), identity=b"x-id", nonce=b"x-nonce")
    fields = [("X-Id", b"i"), ("X-Nonce", b"n"), ("X-Other", b"o")]
    text = "{method} {path} {query} {target} {id} {nonce} {header:X-Other} {param:x} {url} {timestamp} {key_id}"
    values = {"url": b"U", "timestamp": b"T", "key_id": b"K"}
    assert render(text, scheme, fields, **values) == (b"POST /in/here x=1&a=b%20c /in/here?x=1&a=b%20c i n o 1 U T K")


def test_a_value_must_not_hold_the_literal_after_it():
    scheme = Scheme((b"x",), identity=b"x-id")
    assert render("{id}.{timestamp}", scheme, [("X-Id", b"a.b")]) is Reason.SIGNATURE_MALFORMED
    assert render("{timestamp}.{id}", scheme, [("X-Id", b"a.b")]) == b".a.b"


def test_a_signed_header_comes_once_and_is_not_empty():
    assert render("{header:a}") is Reason.SIGNATURE_MISSING
    assert render("{header:a}", fields=[("A", b"")]) is Reason.SIGNATURE_MISSING
    assert render("{header:a}", fields=[("A", b"1"), ("a", b"2")]) is Reason.SIGNATURE_MALFORMED


def test_a_parameter_comes_once():
    assert single_param(b"a=1&b=2", b"b") == b"2"
    assert single_param(b"a=1&a=2", b"a") is Reason.SIGNATURE_MALFORMED
    assert single_param(b"a=", b"a") is Reason.SIGNATURE_MISSING
    assert single_param(None, b"a") is Reason.SIGNATURE_MISSING


def test_items_may_be_escaped():
    assert render("{item:env}|{json_item:env}", items={b"env": b'a"b'}) == b'a"b|a\\"b'


LISTED = Scheme((b"x",), signed_headers=b"x-names", timestamp=Timestamp(header=b"x-time"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([("X-Names", b"x-time,x-b"), ("X-B", b"2")], b"x-b:2;x-time:1", id="sorted"),
        pytest.param([("X-Names", b"x-time,x-c")], b"x-c:;x-time:1", id="listed and absent"),
        pytest.param([("X-Names", b"x-time,x-time")], b"x-time:1", id="listed twice"),
        pytest.param([("X-Names", b"x-b"), ("X-B", b"2")], Reason.SIGNATURE_MALFORMED, id="the time is not listed"),
        pytest.param([("X-Names", b"X-Time")], Reason.SIGNATURE_MALFORMED, id="the time in capitals"),
        pytest.param([("X-Names", b"x-time,X-B")], Reason.SIGNATURE_MALFORMED, id="capitals"),
        pytest.param(
            [("X-Names", b"x-time,x-b"), ("X-B", b"2"), ("X-B", b"3")], Reason.SIGNATURE_MALFORMED, id="comes twice"
        ),
        pytest.param(
            [("X-Names", b"x-time,x-b"), ("X-B", b"2;x-c:3")], Reason.SIGNATURE_MALFORMED, id="one in another"
        ),
        pytest.param([("X-Names", b"x-time,x-b"), ("X-B", b"a/b; c=d:e")], b"x-b:a/b; c=d:e;x-time:1", id="parameters"),
        pytest.param([], Reason.SIGNATURE_MISSING, id="no list"),
        pytest.param([("X-Names", b"")], Reason.SIGNATURE_MISSING, id="empty list"),
    ],
)
def test_headers_that_a_header_lists(fields, expected):
    assert render("{signed_headers}", LISTED, [("X-Time", b"1"), *fields]) == expected


def test_without_a_time_any_list_will_do():
    scheme = Scheme((b"x",), signed_headers=b"x-names")
    assert render("{signed_headers}", scheme, [("X-Names", b"x-b"), ("X-B", b"2")]) == b"x-b:2"


def test_what_is_not_there_is_empty():
    head = head_of(Delivery([], target=b"/in/here"))
    context = Context(head, Scheme((b"x",)))
    assert context.render(compile_template("{path}|{query}|{item:x}|{encoded_target}")) == b"/in/here|||/in/here"


def test_the_query_is_escaped_twice():
    context = Context(head_of(Delivery([], target=b"/a?b=/c%20d")), Scheme((b"x",)))
    assert context.render(compile_template("{encoded_target}")) == b"/a?b%253D%252Fc%252520d"


def test_the_value_of_a_parameter_may_hold_equals_signs():
    assert single_param(b"a=b=c&d=", b"a") == b"b=c"
    assert single_param(b"", b"") is Reason.SIGNATURE_MISSING
    assert single_param(None, b"") is Reason.SIGNATURE_MISSING


@pytest.mark.parametrize("document", [None, {}, {("field", "other"): b"x"}])
def test_a_field_that_a_document_does_not_have_is_a_reason(document):
    assert render("{field:id}", document=document) is Reason.SIGNATURE_MALFORMED
    assert render("{field:other}", document={("field", "other"): b"x"}) == b"x"


def test_nothing_stops_the_last_value():
    assert render("{header:a}", fields=[("a", b"aXYZ.b")]) == b"aXYZ.b"
    assert compile_template("{id}") == (Slot("id"),)


def test_what_is_known_is_said():
    with pytest.raises(ValueError, match=r"known are \{body\}, .*\{url\}, \{header:NAME\}, \{item:NAME\}"):
        compile_template("{tiemstamp}")
