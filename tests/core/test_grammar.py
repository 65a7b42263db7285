"""The shared pieces: what a byte or a line is called when it is wrong."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.grammar import FIELD_LINE, PLAIN_NAME_CHARS, flaw_in_bytes, flaw_in_field_line, index_lines


@pytest.mark.parametrize(
    ("part", "flaw"),
    [
        (b"", None),
        (b"a: \tb\r\nc\xff: d\r\n\r\n", None),
        (b"a\r", None),
        (b"a\n", "bare_lf"),
        (b"\n", "bare_lf"),
        (b"a\r\n\n", "bare_lf"),
        (b"a\rb", "bare_cr"),
        (b"a\r\r\n", "bare_cr"),
        (b"a\r\r", "bare_cr"),
        (b"a\0", "nul"),
        (b"a\x01", "control_byte"),
        (b"a\x0b", "control_byte"),
        (b"a\x0c", "control_byte"),
        (b"a\x1f", "control_byte"),
        (b"a\x7f", "control_byte"),
    ],
)
def test_flaws_in_bytes(part, flaw):
    assert flaw_in_bytes(part) == flaw


@given(st.text("a\r\n\x00\x01\t").map(str.encode))
def test_a_flaw_never_heals(part):
    flaws = [flaw_in_bytes(part[:end]) for end in range(len(part) + 1)]
    first = next((index for index, flaw in enumerate(flaws) if flaw), len(flaws))
    assert all(flaws[first:])


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (b" a: b", "obs_fold"),
        (b"\ta", "obs_fold"),
        (b"abc", "no_colon"),
        (b"", "no_colon"),
        (b"a : b", "space_before_colon"),
        (b"a\t: b", "space_before_colon"),
        (b": b", "bad_field_name"),
        (b"a b: c", "bad_field_name"),
        (b"a(b): c", "bad_field_name"),
        (b"\xc3\xa9: c", "bad_field_name"),
        (b"a\x0b: c", "bad_field_name"),
        (b"(X: c", "bad_field_name"),
        (b"a b: c : d", "bad_field_name"),
    ],
)
def test_flaws_in_field_lines(line, flaw):
    assert not FIELD_LINE.fullmatch(line)
    assert flaw_in_field_line(line) == flaw


def test_fields_are_found_by_name_and_those_that_come_again_are_known():
    lines = [b"A: 1: 2", b"b: 3", b"C: 4", b"a: 5", b"B: 6", b"a: 7"]
    names, values, repeated = index_lines(lines)
    assert names == [b"a", b"b", b"c", b"a", b"b", b"a"]
    assert values == {b"a": b"1: 2", b"b": b"3", b"c": b"4"}
    assert repeated == {b"a", b"b"}
    assert index_lines([]) == ([], {}, frozenset())


def test_token_characters_are_those_of_the_rfc():
    separators = set(b'"(),/:;<=>?@[\\]{}')
    token = {byte for byte in range(256) if FIELD_LINE.fullmatch(bytes([byte]) + b":")}
    assert token == set(range(0x21, 0x7F)) - separators


def test_plain_names_are_of_letters_digits_and_the_hyphen_alone():
    plain = {byte for byte in range(256) if re.fullmatch(b"[%b]" % PLAIN_NAME_CHARS, bytes([byte]))}
    assert plain == set(b"-" + (string.ascii_letters + string.digits).encode())
