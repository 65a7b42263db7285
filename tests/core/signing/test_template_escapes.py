"""Transformations give the same bytes however the body is cut."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing.scheme import BodyForm
from proxy.core.signing.template import escape_json, make_transform


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_escape_is_that_of_json(text):
    assert b'"' + escape_json(text.encode()) + b'"' == json.dumps(text, ensure_ascii=False).encode()


@pytest.mark.parametrize("form", [BodyForm.JSON_STRING, BodyForm.ASCII_JSON, BodyForm.CRC32])
@given(body=st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_cut_gives_the_same(form, body):
    def passed(size):
        transform = make_transform(form)
        pieces = [transform.feed(body[at : at + size]) for at in range(0, len(body), size)]
        return b"".join([*pieces, transform.finish()])

    assert passed(1) == passed(3) == passed(len(body) or 1)


def test_beyond_ascii():
    transform = make_transform(BodyForm.ASCII_JSON)
    assert transform.feed("ż🎉\x7f".encode()) + transform.finish() == b"\\u017c\\ud83c\\udf89\x7f"


def test_the_crc_is_decimal():
    transform = make_transform(BodyForm.CRC32)
    assert transform.feed(b"abc") == b""
    assert transform.finish() == str(zlib.crc32(b"abc")).encode()


def test_raw_needs_none():
    assert make_transform(BodyForm.RAW) is None


def test_half_a_character_at_the_end_is_replaced():
    transform = make_transform(BodyForm.ASCII_JSON)
    assert transform.feed(b"a\xc5") == b"a"
    assert transform.finish() == b"\\ufffd"


@given(st.text('\\xuzU0"\n~019a\x7f\x00\x80é一😀', max_size=30))
def test_text_is_written_as_json_writes_it(text):
    transform = make_transform(BodyForm.ASCII_JSON)
    written = transform.feed(text.encode()) + transform.finish()
    assert written == "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text).encode()
    assert escape_json(text.encode()) == json.dumps(text, ensure_ascii=False)[1:-1].encode()
