"""Bodies that are parsed: one reading, or none."""

from __future__ import annotations

import json
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.schemes import PROVIDERS
from proxy.core.signing.documents import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_FIELDS,
    FormPart,
    JsonPart,
    both_ports,
    contains,
    list_items,
    read_claims,
    read_form,
    read_json,
    scalar_text,
    sort_form,
    sorted_url,
    walk,
)
from proxy.core.signing.scheme import Document
from proxy.core.signing.template import Slot


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":1}x',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 200_000,
    ],
)
def test_what_is_not_read(body):
    assert read_json(body) is None
    assert read_claims(body) is None


def test_numbers_as_they_are_written():
    tree = read_json(b'{"a":1.50,"b":' + b"9" * 5000 + b',"c":true,"d":null}')
    assert scalar_text(tree["a"]) == b"1.50"
    assert scalar_text(tree["b"]) == b"9" * 5000
    assert scalar_text(tree["c"]) == b"true"
    assert scalar_text(tree["d"]) is None
    assert scalar_text(read_json(b'{"a":false}')["a"]) == b"false"
    assert read_claims(b'{"exp":12}') == {"exp": 12}


@given(st.binary(max_size=80))
def test_reading_never_raises(body):
    assert read_json(body) is None or isinstance(read_json(body), dict)
    assert isinstance(read_form(body), list)


def test_paths():
    tree = json.loads('{"a":{"b":"c"},"l":[{"i":{"x":"1"}},{"i":{"x":"2"}}],"m":[{}],"n":{}}')
    assert walk(tree, "a.b") == "c"
    assert walk(tree, "a.b.c") is None
    assert [item["x"] for item in list_items(tree, "l[].i")] == ["1", "2"]
    assert list_items(tree, "m[].i") == []
    assert list_items(tree, "n[].i") == []
    assert list_items(tree, "l[]") == tree["l"]
    for key in ("[]", "X"):
        assert list_items({"l": [{key: {"x": "1"}}]}, f"l[].{key}") == [{"x": "1"}]


def test_half_of_a_pair_is_text_that_no_key_and_no_word_has():
    """JSON can write what UTF-8 cannot: it is given as it is, for a signature to fail over, and raises nothing."""
    tree = read_json(b'{"Type":"\\ud800","Message":"\\udfff"}')
    assert scalar_text(tree["Type"]) == b"\xed\xa0\x80"
    document = PROVIDERS["sns"].scheme.document
    assert JsonPart(tree, document).slot(Slot("lines"), b"") is None


def test_the_lines_of_an_object_are_those_that_its_word_chooses():
    choice = (("x", ("a", "b", "c")), ("", ("a",)))
    document = Document("json", optional=frozenset({"b"}), lines_by="kind", lines=choice)
    fields = {"kind": "x", "a": "1", "c": "3"}

    def lines(**changed):
        return JsonPart(fields | changed, document).slot(Slot("lines"), b"")

    assert lines(b="2") == b"a\n1\nb\n2\nc\n3\n"
    assert lines() == b"a\n1\nc\n3\n"
    assert lines(c=None) is None
    assert lines(kind="y") is None
    assert lines(kind=None) == b"a\n1\n", "what is not there is the empty word"


@pytest.mark.parametrize("kind", ["body", "url", "lines"])
def test_a_form_has_no_other_slot(kind):
    assert FormPart([(b"a", b"1")], Document("form")).slot(Slot(kind), b"https://a/x?b=1") is None


@given(st.lists(st.tuples(st.text(max_size=5).filter(bool), st.text(max_size=5)), max_size=8))
def test_forms_are_read_as_they_are_written(pairs):
    assume = [(key.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for key, value in pairs]
    assert read_form(urlencode(assume).encode()) == assume


def test_a_value_may_hold_what_ends_a_key():
    assert read_form(b"a=b=c&=d&e") == [(b"a", b"b=c"), (b"", b"d"), (b"e", b"")]


def test_too_many_fields_are_not_sorted():
    assert len(read_form(b"&".join([b"a"] * MAX_FIELDS))) == MAX_FIELDS
    assert read_form(b"a&" * MAX_FIELDS) is None


@given(st.lists(st.sampled_from([b"%", b"%4", b"%41", b"a", b"+", b"%zz", b"%%"]), max_size=30), st.integers(0, 4))
def test_long_fields_are_decoded_as_short_ones(pieces, at):
    text = b"x" * (8192 - at) + b"".join(pieces) * 300
    assert read_form(b"k=" + text) == [(b"k", unquote_to_bytes(text.replace(b"+", b" ")))]


@pytest.mark.parametrize("before", [0, 1, 2**20 - 2, 2**20 - 1, 2**20, 2**21 - 1])
def test_what_stands_between_two_slices_is_found(before):
    assert contains(b"x" * before + b"abc", b"abc")
    assert not contains(b"x" * before + b"ab", b"abc")


@pytest.mark.parametrize("at", [0, 2**20 - 1, 2**20, 2**20 + 9])
def test_every_slice_of_a_signed_field_keeps_to_its_alphabet(at):
    document = PROVIDERS["braintree"].scheme.document
    value = b"A" * (2**20 + 10)
    for byte, expected in ((b"=", True), (b"|", False), (b"\r", False)):
        text = value[:at] + byte + value[at + 1 :]
        found = FormPart([(b"bt_payload", text)], document).slot(Slot("field", "bt_payload"), b"")
        assert found == (text if expected else None)


@pytest.mark.parametrize("reader", [read_json, read_claims])
@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"a":[' + b",".join([b"1"] * (MAX_ELEMENTS - 4)) + b"]}", True),
        (b'{"a":[' + b",".join([b"1"] * (MAX_ELEMENTS - 3)) + b"]}", False),
        (b'{"a":[' + b"{}," * MAX_ELEMENTS + b"{}]}", False),
        (b'{"a":"' + b"{}[],:" * MAX_ELEMENTS + b'"}', True),
        (b'{"a":"' + b'{\\\\{\\"' * MAX_ELEMENTS + b'"}', True),
        (b'{"a":"' + b"\\\\" * 9000 + b'","b":[' + b"{}," * MAX_ELEMENTS + b"{}]}", False),
        (b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}", True),
        (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", False),
        (b'{"a":[' + b"[]," * MAX_DEPTH + b"[]]}", True),
        (b'{"a":"' + b"[" * (2 * MAX_DEPTH) + b'"}', True),
        (b'"' * (3 * MAX_ELEMENTS), False),
    ],
)
def test_json_of_many_or_deep_elements_is_not_built(reader, body, read):
    assert (reader(body) is not None) is read


@given(st.text('\\"[{,:x\n', max_size=60), st.integers(0, 3))
def test_what_stands_in_strings_is_no_element(tail, at):
    text = "y" * (8192 - at) + tail * 100
    body = json.dumps({"a": text, "b": [[text]]}).encode()
    assert read_json(body) == {"a": text, "b": [[text]]}


def test_repeated_keys():
    form = [(b"b", b"2"), (b"a", b"z"), (b"a", b"y"), (b"a", b"z")]
    assert sort_form(form, "as_sent") == [(b"a", b"z"), (b"a", b"y"), (b"a", b"z"), (b"b", b"2")]
    assert sort_form(form, "sorted") == [(b"a", b"y"), (b"a", b"z"), (b"a", b"z"), (b"b", b"2")]
    assert sort_form(form, "distinct") == [(b"a", b"y"), (b"a", b"z"), (b"b", b"2")]


@pytest.mark.parametrize(
    ("url", "form_follows", "expected"),
    [
        (b"https://a/x?b=2&a=1%20", True, b"https://a/x?a=1 &b=2."),
        (b"https://a/x", True, b"https://a/x?"),
        (b"https://a/x?b=2&a=1", False, b"https://a/x?a=1&b=2"),
        (b"https://a/x", False, b"https://a/x"),
    ],
)
def test_sorted_urls(url, form_follows, expected):
    assert sorted_url(url, form_follows=form_follows) == expected


@pytest.mark.parametrize(
    ("url", "bare", "ported"),
    [
        (b"https://a.b/x?y", b"https://a.b/x?y", b"https://a.b:443/x?y"),
        (b"http://a.b/x", b"http://a.b/x", b"http://a.b:80/x"),
        (b"https://a.b:8443/x", b"https://a.b/x", b"https://a.b:8443/x"),
        (b"https://[::1]/x", b"https://[::1]/x", b"https://[::1]:443/x"),
        (b"https://[::1]:8443/x", b"https://[::1]/x", b"https://[::1]:8443/x"),
        (b"https://a.b:/x", b"https://a.b/x", b"https://a.b:443/x"),
        (b"https://a.b?x:1", b"https://a.b?x:1", b"https://a.b:443?x:1"),
        (b"HTTP://A.b/x?", b"HTTP://A.b/x?", b"HTTP://A.b:80/x?"),
        (b"https://a.b/x://c:1/?d//e", b"https://a.b/x://c:1/?d//e", b"https://a.b:443/x://c:1/?d//e"),
    ],
)
def test_ports(url, bare, ported):
    assert both_ports(url) == [bare, ported]


def test_what_is_no_url_has_no_ports():
    assert both_ports(b"/x") == [b"/x"]
