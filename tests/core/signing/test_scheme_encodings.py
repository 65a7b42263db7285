"""One signature has one writing."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.signing.scheme import Encoding, decode, encode, encode_base64url

VALUE = bytes(range(20))


@pytest.mark.parametrize("encoding", Encoding)
@given(value=st.binary(min_size=1, max_size=70))
def test_what_is_encoded_is_decoded(encoding, value):
    assert decode(encoding, encode(encoding, value), None) == value


@pytest.mark.parametrize("encoding", Encoding)
@given(text=st.binary(max_size=60))
def test_what_decodes_is_the_only_writing(encoding, text):
    value = decode(encoding, text, None)
    if value is not None and encoding not in (Encoding.HEX_ANY_CASE, Encoding.HEX_OR_BASE64):
        assert encode(encoding, value) == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (Encoding.HEX, VALUE.hex().upper().encode().replace(b"0", b"A")),
        (Encoding.HEX_UPPER, b"ab" * 20),
        (Encoding.HEX, b" " + VALUE.hex().encode()),
        (Encoding.HEX, VALUE.hex().encode() + b"\n"),
        (Encoding.HEX, VALUE.hex().encode()[:-1]),
        (Encoding.HEX, b""),
        (Encoding.HEX, b"\xd9\xa0" * 40),
        (Encoding.BASE64, base64.b64encode(VALUE)[:-1]),
        (Encoding.BASE64, base64.b64encode(VALUE) + b"="),
        (Encoding.BASE64, base64.b64encode(VALUE) + b"\n"),
        (Encoding.BASE64, b"AAECAwQFBgcICQoLDA0ODxAREhN="),  # stray bits at the end
        (Encoding.BASE64, b"AAEC AwQFBgcICQoLDA0ODxAREhM="),
        (Encoding.BASE64, base64.urlsafe_b64encode(b"\xff" * 20)),
        (Encoding.BASE64URL, base64.b64encode(b"\xff" * 20)),
        (Encoding.BASE64URL, base64.urlsafe_b64encode(VALUE)),
        (Encoding.BASE64URL, b"\xff\xff"),
    ],
)
def test_other_writings_are_none(encoding, text):
    assert decode(encoding, text, 20) is None


def test_base64url_loses_its_padding_and_no_letter():
    assert [encode_base64url(value) for value in (b"\0\0\x17", b"\xff", b"\xfb\xff")] == [b"AAAX", b"_w", b"-_8"]


def test_the_size_counts():
    assert decode(Encoding.HEX, VALUE.hex().encode(), 20) == VALUE
    assert decode(Encoding.HEX, VALUE.hex().encode(), 32) is None


def test_hex_and_base64_are_told_apart_by_length():
    assert decode(Encoding.HEX_OR_BASE64, VALUE.hex().encode(), 20) == VALUE
    assert decode(Encoding.HEX_OR_BASE64, base64.b64encode(VALUE), 20) == VALUE
    assert decode(Encoding.HEX_OR_BASE64, VALUE.hex().upper().replace("0", "F").encode(), 20) is None
