from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.record import read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, SPAN)),
        (f"01-{TRACE}-{SPAN}-01-what-will-be", (TRACE, SPAN)),
        (f"00-{TRACE}-{SPAN}-01-more", ("", "")),
        (f"ff-{TRACE}-{SPAN}-01", ("", "")),
        (f"00-{TRACE.upper()}-{SPAN}-01", ("", "")),
        (f"00-{'0' * 32}-{SPAN}-01", ("", "")),
        (f"00-{TRACE}-{'0' * 16}-01", ("", "")),
        (f"00-{TRACE}-{SPAN}-01\n", ("", "")),
        (f"00-{TRACE[1:]}-{SPAN}-01", ("", "")),
        ("", ("", "")),
    ],
)
def test_only_what_the_standard_knows(value: str, found: tuple[str, str]) -> None:
    assert read_traceparent(value.encode()) == found


@given(st.binary(max_size=80))
def test_nothing_else_gets_into_a_log(value: bytes) -> None:
    trace, span = read_traceparent(value)
    assert re.fullmatch(r"([0-9a-f]{32})?", trace)
    assert re.fullmatch(r"([0-9a-f]{16})?", span)
