"""What a delivery says is read in one way alone, within bounds, and never with an exception."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.payload import MAX_VALUES, Payload, Pointer, media_type, read_payload
from proxy.core.request_head import read_request_head
from proxy.core.signing.documents import MAX_DEPTH, MAX_ELEMENTS, MAX_FIELDS
from proxy.http1 import RequestHead
from tests.policies import HEAD_LIMITS

FORM = "application/x-www-form-urlencoded"


def head(*types: str, fields: tuple[str, ...] = ()) -> RequestHead:
    lines = [f"Content-Type: {each}" for each in types] + list(fields)
    read = read_request_head("\r\n".join(["POST / HTTP/1.1", "Host: h", *lines, "", ""]).encode("latin-1"), HEAD_LIMITS)
    assert read is not None
    return read[0]


@pytest.mark.parametrize(
    ("types", "body", "document"),
    [
        (["application/json"], b'{"a": 1, "b": [true, null, 1.5]}', {"a": 1, "b": [True, None, 1.5]}),
        ([], b"[1, 2]", [1, 2]),
        (["text/plain"], b'"a"', "a"),
        ([FORM], b"a=1&b=x+y%21", {"a": "1", "b": "x y!"}),
        ([f"{FORM.upper()}; charset=utf-8"], b"a=1", {"a": "1"}),
        ([FORM], urlencode({"payload": '{"a": {"b": 1}}', "other": "x"}).encode(), {"a": {"b": 1}}),
    ],
)
def test_documents(types: list[str], body: bytes, document: object) -> None:
    assert read_payload(head(*types), body) == document


@pytest.mark.parametrize(
    ("types", "body"),
    [
        ([], b""),
        ([], b"{"),
        ([], b'{"a": 1, "a": 2}'),
        ([], b'{"b": {"a": 1, "\\u0061": 2}}'),
        ([], b'{"a": NaN}'),
        ([], b'{"a": ' + b"9" * 5000 + b"}"),
        ([], b'{"a": "\xff"}'),
        ([], b"\xef\xbb\xbf{}"),
        ([], b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)),
        ([], b"[" + b"1," * MAX_ELEMENTS + b"1]"),
        (["application/json", "application/json"], b"{}"),
        (["application/json", FORM], b"{}"),
        ([FORM], b"a=1&a=2"),
        ([FORM], b"a=1&%61=2"),
        ([FORM], b"a=%ff"),
        ([FORM], b"&".join(b"a%d=1" % number for number in range(MAX_FIELDS + 1))),
        ([FORM], b"payload=" + quote('{"a": 1, "a": 2}').encode()),
        ([FORM], b"payload=%7B%7D&payload=%7B%7D"),
    ],
)
def test_what_has_two_readings_or_none_is_no_document(types: list[str], body: bytes) -> None:
    assert read_payload(head(*types), body) is None


def test_what_is_compressed_is_not_read() -> None:
    assert read_payload(head(fields=("Content-Encoding: gzip",)), b"{}") is None


@given(st.sampled_from([(), (FORM,), ("application/json",), ("a", "b"), ("",)]), st.binary(max_size=300))
def test_no_bytes_raise(types: tuple[str, ...], body: bytes) -> None:
    read_payload(head(*types), body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=12,
)


@given(JSON)
def test_what_json_writes_is_read_again(document: object) -> None:
    text = json.dumps(document)
    assert read_payload(head(), text.encode()) == document
    assert read_payload(head(FORM), urlencode({"payload": text}).encode()) == document


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("a", [1]),
        ("b.c", ["x"]),
        ("b.missing", []),
        ("a.b", []),
        ("n", []),
        ("l[]", [1, 2]),
        ("l", [[1, 2]]),
        ("o[].name", ["p", "q"]),
        ("deep[][]", [1, 2, 3]),
        ("b[]", []),
    ],
)
def test_places(place: str, values: list[object]) -> None:
    document = {"a": 1, "b": {"c": "x"}, "n": None, "l": [1, 2], "deep": [[1], [2, 3], 4]}
    document["o"] = [{"name": "p"}, {"name": "q"}, {"other": 1}, 5, {"name": None}]
    assert Pointer.parse(place).values(Payload(document)) == values


def test_a_list_may_be_the_whole() -> None:
    assert Pointer.parse("[].type").values(Payload([{"type": "a"}, {}, {"type": "b"}])) == ["a", "b"]
    assert Pointer.parse("[]").values(Payload({"type": "a"})) == []


def test_too_many_values_are_not_looked_at() -> None:
    assert Pointer.parse("[]").values(Payload([1] * MAX_VALUES)) == [1] * MAX_VALUES
    assert Pointer.parse("[]").values(Payload([1] * (MAX_VALUES + 1))) is None
    assert Pointer.parse("[][]").values(Payload([[1] * 100] * 100)) is None


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a.[]", "a[", "a]", "a[]]", "a[0]"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        Pointer.parse(text)


@given(JSON, st.lists(st.sampled_from(["a", "b", "[]"]), min_size=1, max_size=4))
def test_any_document_has_values_anywhere(document: object, steps: list[str]) -> None:
    found = Pointer("", tuple(steps)).values(Payload(document))
    assert found is not None
    assert None not in found


def test_the_media_type() -> None:
    assert media_type(head("Text/HTML ;a=b")) == b"text/html"
    assert media_type(head()) == media_type(head("a/b", "a/b")) == b""


@pytest.mark.parametrize(
    ("document", "place", "ambiguous"),
    [
        ({"action": 1, "Action": 2}, "action", True),
        ({"Action": 1, "action": 2}, "Action", True),
        ({"action": 1, "Action": 2}, "other", False),
        ({"action": 1, "Other": 1, "other": 2}, "action", False),
        ({"a": {"b": 1, "B": 2}}, "a", False),
        ({"a": {"b": 1, "B": 2}}, "a.b", True),
        ({"a": [{"b": 1}, {"b": 1, "B": 2}]}, "a[].b", True),
        ({"stra\u00dfe": 1, "STRASSE": 2}, "STRASSE", True),
    ],
)
def test_keys_that_differ_in_case_alone(document: object, place: str, ambiguous: bool) -> None:
    for look in (Pointer.values, Pointer.of_all):
        payload = Payload(document)
        look(Pointer.parse(place), payload)
        assert payload.is_ambiguous is ambiguous
