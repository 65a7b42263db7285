"""The one-time code: it says what it carries, and anything else is no code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.keys import MAX_CODE, PREFIX, JoinCode, join_key, read_code
from proxy.errors import Mistake


def read(text: str) -> JoinCode | None:
    try:
        return read_code(text)
    except Mistake as mistake:
        told = str(mistake)
    assert text[len(PREFIX) :] not in told or len(text) < 20
    return None


NAMES = st.text("abcXYZ019._-", min_size=1, max_size=64)
ADDRESSES = st.sampled_from(["", "hooks.example.com:443", "192.0.2.7:8443", "[2001:db8::7]:443"])
CODES = st.builds(JoinCode, NAMES, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), ADDRESSES)


@given(CODES)
def test_it_says_what_it_carries(code: JoinCode) -> None:
    text = code.write()
    assert len(text) <= MAX_CODE
    assert " " not in text
    assert read_code(f" {text}\n") == code
    assert code.key() == join_key(code.secret, code.name)


@given(CODES, st.data())
def test_a_code_that_was_cut_or_changed_is_none(code: JoinCode, data: st.DataObject) -> None:
    text = code.write()
    at = data.draw(st.integers(len(PREFIX), len(text) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_"))
    for wrong in (text[:at], text[:at] + other + text[at + 1 :] if text[at] != other else text[:-1]):
        # The last character may have bits that count for nothing.
        assert read(wrong) in (None, code)


@given(st.text(max_size=200))
def test_nothing_but_its_own_error(text: str) -> None:
    for one in (text, PREFIX + text):
        with pytest.raises(Mistake):
            read_code(one)


@given(CODES, CODES)
def test_its_mark_tells_it_from_others_and_says_nothing(one: JoinCode, other: JoinCode) -> None:
    assert (one.mark() == other.mark()) == (one.secret == other.secret)
    assert one.secret.hex() not in one.mark()
    assert one.secret.hex() not in repr(one)


def test_the_key_depends_on_the_name() -> None:
    assert join_key(bytes(16), "a") != join_key(bytes(16), "b")
