"""Bodies that are parsed: one reading, or none."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing.documents import (
    both_ports,
    list_items,
    read_claims,
    read_form,
    read_json,
    scalar_text,
    sort_form,
    sorted_url,
    walk,
)


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


@given(st.lists(st.tuples(st.text(max_size=5).filter(bool), st.text(max_size=5)), max_size=8))
def test_forms_are_read_as_they_are_written(pairs):
    assume = [(key.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for key, value in pairs]
    assert read_form(urlencode(assume).encode()) == assume


def test_too_many_fields_are_not_sorted():
    assert read_form(b"a&" * 10_000) is None


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
    ],
)
def test_ports(url, bare, ported):
    assert both_ports(url) == [bare, ported]
